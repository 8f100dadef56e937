"""The GPU's embedder, computing on the processor: the same code but for pinned memory and events.

What only a GPU can show is run where there is one, and skipped elsewhere.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ConfigError, DataError, MissingExtraError
from sage.libs.embedding import OnnxEmbedder, gpu_embedder, load_embedder
from sage.libs.embedding.gpu_embedder import GpuEmbedder, _batches
from sage.libs.embedding.testing import CHECKS, TEXTS, Check, check_same_vectors

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(
    not HAS_TORCH, reason="needs torch: pip install 'isage-libs[torch]'"
)
each_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.strip("_"))

MIXED = [" ".join(TEXTS[n % len(TEXTS)] for n in range(size, size + 4)) for size in range(20)]


def has_cuda() -> bool:
    if not HAS_TORCH:
        return False
    import torch

    return bool(torch.cuda.is_available())


needs_cuda = pytest.mark.skipif(not has_cuda(), reason="needs a CUDA device and a torch for it")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Inputs are small: torch's threads would mostly wait for each other, and busily."""
    if not HAS_TORCH:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def embedder() -> GpuEmbedder:
    return GpuEmbedder(device="cpu")


@needs_torch
@each_check
def test_conformance(check: Check) -> None:
    """It keeps the promises of every embedder."""
    check(GpuEmbedder(device="cpu"))


@needs_cuda
@each_check
def test_conformance_on_a_gpu(check: Check) -> None:
    """It keeps them in half precision on the device as well."""
    check(GpuEmbedder())


@needs_torch
def test_agrees_with_onnx(embedder: GpuEmbedder) -> None:
    """One model id, one vector: in float32 it gives what ONNX Runtime gives."""
    check_same_vectors(embedder, OnnxEmbedder(), texts=MIXED, least_cosine=0.99999)


@needs_torch
def test_half_precision_is_the_same_model() -> None:
    """In float16 the cosine to float32 stays over .9999, so it may share the model's id."""
    check_same_vectors(
        GpuEmbedder(device="cpu", precision="float16"), OnnxEmbedder(), texts=MIXED[:8]
    )


@needs_cuda
def test_half_precision_is_the_same_model_on_a_gpu() -> None:
    """The device's own kernels keep that cosine too, in many batches."""
    check_same_vectors(GpuEmbedder(batch_tokens=512), OnnxEmbedder(), texts=MIXED * 10)


@needs_torch
def test_tokens_agree_with_onnx(embedder: GpuEmbedder) -> None:
    """The vectors of tokens are those of ONNX Runtime, for truncated texts too."""
    texts = [*MIXED, "river stone " * 300]
    pairs = zip(embedder.embed_tokens(texts), OnnxEmbedder().embed_tokens(texts), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@needs_torch
def test_many_windows_and_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows tokenized by processes, in small batches, end up in the order of the texts."""
    monkeypatch.setattr(gpu_embedder, "_WINDOW", 7)
    texts = [f"{text} number {n}" for n, text in enumerate(MIXED * 2)]
    several = GpuEmbedder(device="cpu", batch_tokens=256, tokenizer_processes=2)
    check_same_vectors(several, OnnxEmbedder(), texts=texts, least_cosine=0.99999)


@needs_torch
def test_truncates_at_max_tokens() -> None:
    """What stands after max_tokens has no influence, what stands before it has."""
    short = GpuEmbedder(device="cpu", max_tokens=8)
    kept = "one two three four five six"  # and the two special tokens
    same, longer, other = short.embed([kept, kept + " seven", "one two three four five SEVEN"])
    np.testing.assert_allclose(same, longer, atol=1e-5)
    assert float(same @ other) < 0.999


@needs_torch
def test_a_huge_text_has_the_vector_of_its_beginning(embedder: GpuEmbedder) -> None:
    """Ten million characters are not tokenized to read the first 256 tokens of them."""
    words = "river stone " * 1_000_000
    huge, begun = embedder.embed([words, words[:9000]])
    np.testing.assert_allclose(huge, begun, atol=1e-5)
    ((_, tokens),) = embedder._tokenized([words])
    assert len(tokens.flat) == 256


@needs_torch
def test_halves_batches_that_do_not_fit(
    embedder: GpuEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch too large for the memory is computed in parts; one text that is too large fails."""
    import torch

    expected = embedder.embed(MIXED)
    whole = gpu_embedder._encoder(embedder._path, "cpu", "float32")
    most = 3

    class SmallMemory:
        """An encoder whose device has memory for three rows."""

        def __call__(self, ids: Any, lengths: Any, **options: Any) -> Any:
            if len(ids) > most:
                raise torch.cuda.OutOfMemoryError("out of memory")
            return whole(ids, lengths, **options)

    monkeypatch.setattr(gpu_embedder, "_encoder", lambda *which: SmallMemory())
    np.testing.assert_allclose(embedder.embed(MIXED), expected, atol=1e-5)
    most = 0
    with pytest.raises(torch.cuda.OutOfMemoryError):
        embedder.embed(["a text"])


@needs_torch
def test_says_what_a_device_lacks() -> None:
    """A device that torch cannot use is an error at construction that names what is missing."""
    with pytest.raises(ConfigError, match="'tpu!'"):
        GpuEmbedder(device="tpu!")
    with pytest.raises(ConfigError, match="'mps': only CUDA"):
        GpuEmbedder(device="mps")
    with pytest.raises(ConfigError, match=r"(?s)'cuda:99'.*(without CUDA|no GPU|numbered).*onnx"):
        GpuEmbedder(device="cuda:99")


@needs_torch
def test_is_a_backend() -> None:
    """It is found by the name of its backend, which has no device where there is none."""
    if has_cuda():
        assert load_embedder(backend="gpu").backend == "gpu"
    else:
        with pytest.raises(ConfigError, match="GpuEmbedder: cannot compute on 'cuda'"):
            load_embedder(backend="gpu")


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch, constructing it names the extra."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"isage-libs\[torch\]"):
        GpuEmbedder()


@needs_torch
def test_refuses_other_models(embedder: GpuEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is not computed as BERT is, is refused and not computed wrongly."""
    from sage.libs.embedding import gpu_bert

    monkeypatch.setattr(gpu_bert, "read_config", lambda directory: {"model_type": "mpnet"})
    with pytest.raises(DataError, match="model_type='mpnet'"):
        gpu_bert.BertEncoder(embedder._path, device="cpu", precision="float32")


@given(st.lists(st.integers(2, 300), max_size=60), st.integers(1, 4000))
def test_batches(lengths: Sequence[int], budget: int) -> None:
    """Batches hold every text once, longest first, and keep the budget unless alone."""
    batches = list(_batches(np.array(lengths, dtype=np.int32), budget))
    flat = [lengths[row] for batch in batches for row in batch]
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert flat == sorted(lengths, reverse=True)
    for batch in batches:
        width = -(-max(lengths[row] for row in batch) // 8) * 8
        assert len(batch) == 1 or len(batch) * width <= budget
