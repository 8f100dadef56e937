"""A cross-encoder of random weights, made here: scores are not sensible, but must be its own."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from sage.common.errors import DataError, MissingExtraError
from sage.libs.embedding import DEFAULT_MODEL, MissingWeightsError
from sage.libs.embedding.weights import resolve
from sage.libs.rerank.cross_encoder import CrossEncoderReranker

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="needs sentence-transformers: pip install 'isage-libs[torch]'",
)
# The libraries' own warnings are not ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

TEXTS = [
    "At 100 degrees.",
    "",
    "It was raining in the night. " * 40,
    "At 100 degrees.",
    "水 \ud800",
]


def saved(path: Path, labels: int) -> str:
    """Save a tiny BERT classifier with the tokenizer of the default embedder."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(7)
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=labels,
        initializer_range=0.5,  # the default makes scores that hardly differ
    )
    BertForSequenceClassification(config).save_pretrained(path)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(resolve(DEFAULT_MODEL) / name, path)
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("cross-encoder"), labels=1)


@needs_torch
def test_scores(model: str) -> None:
    """Each text gets its score, whatever stands beside it: equal texts the same, others others."""
    reranker = CrossEncoderReranker(model=model, batch_size=2)
    scores = reranker.scores("When does water boil?", TEXTS)
    assert scores.shape == (5,)
    assert scores.dtype == np.float32
    assert len(np.unique(scores.round(6))) == 4
    alone = [float(reranker.scores("When does water boil?", [text])[0]) for text in TEXTS]
    np.testing.assert_allclose(scores, alone, atol=1e-5)
    other = reranker.scores("Who wrote it?", TEXTS)
    assert not np.allclose(scores, other, atol=1e-6)


@needs_torch
def test_no_texts(model: str) -> None:
    """No texts have no scores."""
    assert CrossEncoderReranker(model=model).scores("a query", []).shape == (0,)


@needs_torch
def test_refuses_what_is_no_list_of_texts(model: str) -> None:
    """A single text and a number are named."""
    reranker = CrossEncoderReranker(model=model)
    with pytest.raises(DataError, match="list of texts"):
        reranker.scores("a query", "a text")
    with pytest.raises(DataError, match="got int: 3"):
        reranker.scores("a query", ["a", 3])  # type: ignore[list-item]


@needs_torch
def test_refuses_a_classifier(tmp_path: Path) -> None:
    """A model with several labels is not taken for a reranker."""
    reranker = CrossEncoderReranker(model=saved(tmp_path, labels=3))
    with pytest.raises(DataError, match="3 numbers for a pair"):
        reranker.scores("a query", ["a text"])


@needs_torch
def test_never_asks_the_network() -> None:
    """A model that is not on this machine is an error at construction, with what to do instead."""
    with pytest.raises(MissingWeightsError, match=r"(?s)acme/unheard-of.*LateInteraction"):
        CrossEncoderReranker(model="acme/unheard-of")


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library, constructing it names the extra."""
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"isage-libs\[torch\]"):
        CrossEncoderReranker(model="anything")
