"""The ONNX embedder against an independent forward pass in numpy."""

from __future__ import annotations

import copy
import math
import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from sage.common.errors import ConfigError, DataError
from sage.libs.embedding import DEFAULT_MODEL, OnnxEmbedder, load_embedder, load_tokenizer
from sage.libs.embedding.bert_embedder import Output
from sage.libs.embedding.onnx_bert import _session
from sage.libs.embedding.safetensors import read_safetensors
from sage.libs.embedding.tokenizer import beginning
from sage.libs.embedding.weights import resolve

TEXTS = [
    "Water boils at 100 degrees Celsius at sea level.",
    "cat",
    "",
    "Streams are processed record by record. " * 9,
    "水在一百度沸腾。",
]


@pytest.fixture(scope="module")
def embedder() -> OnnxEmbedder:
    return OnnxEmbedder()


def norm(x: Any, scale: Any, shift: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * scale + shift


def numpy_bert(weights: dict[str, Any], ids: list[int]) -> Any:
    """One text through BERT in float64, written from the paper and not from the graph."""
    w = {name: value.astype(np.float64) for name, value in weights.items() if value.size < 10**6}
    words = weights["embeddings.word_embeddings.weight"][ids].astype(np.float64)
    x = words + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = x + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"])
    erf = np.vectorize(math.erf)
    for layer in range(6):
        p = f"encoder.layer.{layer}."

        def dense(name: str, value: Any, p: str = p) -> Any:
            return value @ w[f"{p}{name}.weight"].T + w[f"{p}{name}.bias"]

        heads = []
        q, k, v = (dense(f"attention.self.{n}", x) for n in ("query", "key", "value"))
        for head in range(12):
            part = slice(32 * head, 32 * head + 32)
            scores = q[:, part] @ k[:, part].T / math.sqrt(32)
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(scores / scores.sum(-1, keepdims=True) @ v[:, part])
        x = norm(
            x + dense("attention.output.dense", np.concatenate(heads, axis=1)),
            w[f"{p}attention.output.LayerNorm.weight"],
            w[f"{p}attention.output.LayerNorm.bias"],
        )
        inner = dense("intermediate.dense", x)
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
        x = norm(
            x + dense("output.dense", inner),
            w[f"{p}output.LayerNorm.weight"],
            w[f"{p}output.LayerNorm.bias"],
        )
    pooled = x.mean(0)
    return pooled / np.linalg.norm(pooled)


def test_agrees_with_numpy(embedder: OnnxEmbedder) -> None:
    """A batch of mixed lengths gives what a plain forward pass gives for each text alone."""
    weights = read_safetensors(resolve(DEFAULT_MODEL) / "model.safetensors")
    tokenizer = load_tokenizer()
    vectors = embedder.embed(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        expected = numpy_bert(weights, tokenizer.encode(text).ids)
        assert float(vector @ expected) > 0.99999, text


def test_shape_order_and_length(embedder: OnnxEmbedder) -> None:
    """Rows are unit float32 vectors in the order of the texts, whatever the batches were."""
    vectors = embedder.embed(TEXTS * 3)
    assert vectors.shape == (15, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    one_by_one = np.concatenate([embedder.embed([text]) for text in TEXTS * 3])
    np.testing.assert_allclose(vectors, one_by_one, atol=1e-5)


def test_no_texts(embedder: OnnxEmbedder) -> None:
    """No texts give no rows, with the right width."""
    assert embedder.embed([]).shape == (0, 384)


def test_token_vectors(embedder: OnnxEmbedder) -> None:
    """Each token has a unit row, alone and in a batch the same, and none stands for padding."""
    vectors = embedder.embed_tokens(TEXTS)
    for text, tokens in zip(TEXTS, vectors, strict=True):
        count = len(load_tokenizer().encode(text, add_special_tokens=False))
        assert tokens.shape == (count, 384), text
        np.testing.assert_allclose(np.linalg.norm(tokens, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(tokens, embedder.embed_tokens([text])[0], atol=1e-4)
    assert OnnxEmbedder(max_tokens=8).embed_tokens(["one " * 20])[0].shape == (6, 384)


def test_truncates_at_max_tokens() -> None:
    """What stands after max_tokens has no influence, what stands before it has."""
    short = OnnxEmbedder(max_tokens=8)
    kept = "one two three four five six"  # and the two special tokens
    same, longer, other = short.embed([kept, kept + " seven", "one two three four five SEVEN"])
    np.testing.assert_allclose(same, longer, atol=1e-5)
    assert float(same @ other) < 0.999


def test_a_huge_text_has_the_vector_of_its_beginning(embedder: OnnxEmbedder) -> None:
    """A text of megabytes is read as far as max_tokens goes, over any number of blanks."""
    words = " ".join(f"number{n}" for n in range(200_000))
    huge, begun, late, cat = embedder.embed([words, words[:9000], " " * 200_000 + "cat", "cat"])
    np.testing.assert_allclose(huge, begun, atol=1e-5)
    np.testing.assert_allclose(late, cat, atol=1e-5)
    assert len(beginning(embedder.model, words, embedder.max_tokens)) < 50_000


def test_refuses_what_is_no_list_of_texts(embedder: OnnxEmbedder) -> None:
    """A single string and a number among the texts are named, not embedded letter by letter."""
    with pytest.raises(DataError, match="list of texts"):
        embedder.embed("a text")
    with pytest.raises(DataError, match="got int: 3"):
        embedder.embed(["a", 3])  # type: ignore[list-item]


def test_lone_surrogates_are_survived(embedder: OnnxEmbedder) -> None:
    """A text with half a surrogate pair, as broken files hold, is embedded all the same."""
    assert embedder.embed(["broken \ud800 text"]).shape == (1, 384)


def test_one_session_per_process(embedder: OnnxEmbedder) -> None:
    """Copies, pickles and second embedders of a model share the session, and the vectors."""
    before = _session.cache_info().misses
    embedder.embed(["a"])
    for other in (copy.deepcopy(embedder), pickle.loads(pickle.dumps(embedder)), OnnxEmbedder()):
        np.testing.assert_array_equal(other.embed(["a"]), embedder.embed(["a"]))
    assert _session.cache_info().misses <= before + 1
    assert load_embedder(DEFAULT_MODEL) is load_embedder(DEFAULT_MODEL)


def test_unknown_options_are_refused() -> None:
    """A misspelt option is an error with the right spelling."""
    with pytest.raises(ConfigError, match="did you mean 'max_tokens'"):
        OnnxEmbedder(max_token=3)  # type: ignore[call-arg]


def test_a_forked_child_embeds() -> None:
    """A child made by fork after the parent embedded uses the same session without hanging."""
    code = (
        "import os\n"
        "from sage.libs.embedding import OnnxEmbedder\n"
        "embedder, texts = OnnxEmbedder(), ['a', 'b c d'] * 200\n"
        "ours = embedder.embed(texts)\n"
        "if not (child := os.fork()):\n"
        "    os._exit(int(abs(embedder.embed(texts) - ours).max() > 1e-5))\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot limit cores")
def test_a_process_limited_to_one_core_starts_no_thread() -> None:
    """On one core a call computes on the caller's thread, and gives the same vectors."""
    code = (
        "import os, threading\n"
        "from sage.libs.embedding import OnnxEmbedder\n"
        "embedder, texts, started = OnnxEmbedder(), ['a', 'b c d'] * 200, []\n"
        "ours = embedder.embed(texts)\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "threading.setprofile(lambda *_: started.append(1))\n"
        "assert abs(embedder.embed(texts) - ours).max() < 1e-5 and not started\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_ctrl_c_leaves_what_has_not_begun(
    embedder: OnnxEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt ends a call after the batches that are under way, and the next call works."""
    texts = [f"text number {n}" for n in range(2000)]
    computed = []
    compute = embedder._compute

    def interrupted(output: Output, ids: Any, mask: Any) -> Any:
        computed.append(len(ids))
        if len(computed) == 2:
            raise KeyboardInterrupt
        return compute(output, ids, mask)

    monkeypatch.setattr(embedder, "_compute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embedder.embed(texts)
    assert sum(computed) < len(texts) / 2
    monkeypatch.undo()
    assert embedder.embed(["a"]).shape == (1, 384)


def test_embeds_after_the_main_thread_has_ended(
    embedder: OnnxEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service on threads of its own goes on, though Python starts no threads for it any more."""
    texts = TEXTS * 4
    exact = embedder.embed(texts)
    monkeypatch.setattr("sage.libs.embedding.bert_embedder.cores", lambda: 2)
    monkeypatch.setattr("concurrent.futures.thread._shutdown", True)
    np.testing.assert_allclose(embedder.embed(texts), exact, atol=1e-6)
