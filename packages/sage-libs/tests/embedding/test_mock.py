"""The embedder for tests, and how embedders are chosen."""

from __future__ import annotations

import numpy as np
import pytest

from sage.common.errors import ConfigError
from sage.libs.embedding import (
    Embedder,
    MockTextEmbedder,
    OnnxEmbedder,
    TokenEmbedder,
    load_embedder,
)


def test_is_stable_across_processes() -> None:
    """The vector of a text is written down here: it must never change."""
    vector = MockTextEmbedder(fixed_dim=4).embed(["stable hash"])[0]
    np.testing.assert_allclose(vector, [0.02297, 0.13827, -0.50047, -0.85433], atol=1e-4)


def test_rows_have_length_one() -> None:
    """Every text, the empty one and a blank one too, has a unit vector."""
    vectors = MockTextEmbedder(fixed_dim=3).embed(["", " ", "a b", "a a"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert MockTextEmbedder().embed([]).shape == (0, 16)


def test_shared_words_mean_near() -> None:
    """Texts that share words are nearer than texts that do not."""
    one, two, three = MockTextEmbedder(fixed_dim=64).embed(["red cat", "Cat, red!", "blue dog"])
    assert one @ two > 0.99 > one @ three


def test_load_embedder_by_name() -> None:
    """mock and mock:DIM give the mock, other text after the colon is refused."""
    assert load_embedder("mock").dim == 16
    assert load_embedder("mock:8") is load_embedder("mock:8")
    with pytest.raises(ConfigError, match="mock:x"):
        load_embedder("mock:x")


def test_backend_by_name() -> None:
    """The backend that is asked for is the one that is got, and an unknown one is refused."""
    assert load_embedder(backend="onnx").backend == "onnx"
    assert load_embedder("mock").backend == "mock"
    with pytest.raises(ConfigError, match="did you mean 'onnx'"):
        load_embedder(backend="onxx")


def test_words_have_vectors() -> None:
    """Each word of a text has a unit row, the one that it has as a text of its own."""
    two, none = MockTextEmbedder(fixed_dim=8).embed_tokens(["red cat", ""])
    np.testing.assert_array_equal(two, MockTextEmbedder(fixed_dim=8).embed(["red", "cat"]))
    assert none.shape == (0, 8)


def test_both_are_embedders() -> None:
    """What the package has satisfies its own protocols."""
    for embedder in (MockTextEmbedder(), OnnxEmbedder()):
        assert isinstance(embedder, Embedder)
        assert isinstance(embedder, TokenEmbedder)
