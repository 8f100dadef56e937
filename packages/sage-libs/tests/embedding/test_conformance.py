"""Our embedders keep the promises that any embedder makes, and the suite sees those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sage.libs.embedding import MockTextEmbedder, OnnxEmbedder
from sage.libs.embedding.testing import CHECKS, Check, check_embedder, check_same_vectors

each_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.strip("_"))


@each_check
def test_mock(check: Check) -> None:
    """The hashing one."""
    check(MockTextEmbedder(fixed_dim=64))


@each_check
def test_onnx(check: Check) -> None:
    """The default."""
    check(OnnxEmbedder())


class FaultyEmbedder(MockTextEmbedder):
    """Does one thing wrong, by name."""

    fault = ""

    def embed(self, texts: Sequence[str]) -> Any:
        vectors = super().embed(sorted(texts) if self.fault == "order" else texts)
        match self.fault:
            case "length":
                return vectors * 2
            case "dtype":
                return vectors.astype(np.float64)
            case "batch" if len(texts) > 1:
                return np.roll(vectors, len(texts) // 50, axis=1)
            case "nan":
                vectors[-1:] = np.nan
            case "constant":
                return np.full_like(vectors, self.dim**-0.5)
        return vectors


@pytest.mark.parametrize("fault", ["order", "length", "dtype", "batch", "nan", "constant"])
def test_sees_faults(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedder with one fault fails the suite."""
    monkeypatch.setattr(FaultyEmbedder, "fault", fault)
    with pytest.raises(AssertionError):
        check_embedder(FaultyEmbedder(fixed_dim=64))


def test_sees_another_model() -> None:
    """Two models are not taken for one."""
    check_same_vectors(OnnxEmbedder(), OnnxEmbedder(batch_tokens=64))
    with pytest.raises(AssertionError, match="cosine"):
        check_same_vectors(MockTextEmbedder(fixed_dim=384), OnnxEmbedder())
