"""The rows of the GPU: what can be seen without one."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from sage.benchmark.row import Request
from sage.benchmark.workloads import gpu_embedding
from sage.libs.embedding import load_tokenizer

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="needs sentence-transformers: pip install 'isage-libs[torch]'",
)
# The libraries' own warnings are not ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def request(size: int, **parameters: Any) -> Request:
    return Request(
        measure="",
        contestant="",
        size=size,
        verify=True,
        scratch="",
        spawned_at=0.0,
        parameters=parameters,
    )


def test_texts_have_sixty_tokens() -> None:
    """Sixty tokens on average, few repeated texts, and the same ones each time."""
    texts = gpu_embedding.texts(500)
    lengths = [len(encoding.ids) for encoding in load_tokenizer().encode_batch_fast(texts)]
    assert 58 < np.mean(lengths) < 62
    assert len(set(texts)) == 500
    assert gpu_embedding.texts(500) == texts != gpu_embedding.texts(500, seed=1)


def test_tokenizers_give_the_same_tokens() -> None:
    """All contestants of the tokenizing row find as many tokens."""
    contestants = (
        gpu_embedding.tokenizers,
        gpu_embedding.words_remembered,
        gpu_embedding.words_remembered_by_processes,
    )
    samples = [gpu_embedding.measure_tokens(c, request(200)) for c in contestants]
    assert len({sample["digest"] for sample in samples}) == 1


@needs_torch
def test_contestants_give_the_same_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed on the processor, SAGE's vectors are those of sentence-transformers."""
    monkeypatch.setattr(gpu_embedding, "_REPEATS", 2)
    monkeypatch.setattr(gpu_embedding, "_COMPARED", 10)
    for contestant in (gpu_embedding.sentence_transformer, gpu_embedding.sage):
        sample = gpu_embedding.measure(contestant, request(20, device="cpu"))
        assert sample["cosine"] > 0.99999
        assert sample["docs_s"] > 0


@needs_torch
def test_is_skipped_where_there_is_no_gpu() -> None:
    """Without a CUDA device nothing is measured, and the sample says why."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    sample = gpu_embedding.measure(gpu_embedding.sage, request(20))
    assert "no CUDA device" in sample["skipped"]
