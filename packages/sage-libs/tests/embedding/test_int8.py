"""The model in 8 bits: asked for by name, and honest about what it loses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sage.common.errors import ConfigError
from sage.libs.collection import Collection
from sage.libs.collection.testing import put
from sage.libs.embedding import DEFAULT_MODEL, OnnxEmbedder, load_embedder, load_tokenizer
from sage.libs.embedding.convert import converted, measured_cosine
from sage.libs.embedding.testing import check_embedder

INT8 = f"{DEFAULT_MODEL}@int8"


def test_conformance() -> None:
    """It does what every embedder must do, by the name of a model of its own."""
    embedder = load_embedder(INT8)
    assert (embedder.model, embedder.backend) == (INT8, "onnx")
    check_embedder(embedder)


def test_says_what_it_loses() -> None:
    """Its cosine was measured, is kept beside it, is shown, and is about what other texts give."""
    lossy, exact = OnnxEmbedder(model=INT8), OnnxEmbedder()
    assert 0.97 < lossy.cosine < 0.9999
    assert f"lossy: cosine {lossy.cosine}" in repr(lossy)
    assert converted(INT8).with_suffix(".json").is_file()
    assert exact.cosine == measured_cosine(DEFAULT_MODEL) == 1.0
    texts = ["A text that is in no sample.", "Rivers carry sand to the sea."]
    cosines = (lossy.embed(texts) * exact.embed(texts)).sum(axis=1)
    np.testing.assert_allclose(cosines, lossy.cosine, atol=0.02)


def test_others_refuse_to_compute_it() -> None:
    """No backend computes in full what was asked for in 8 bits."""
    with pytest.raises(ConfigError, match="'onnx' alone, got 'openvino'"):
        load_embedder(INT8, backend="openvino")


def test_shares_the_tokenizer() -> None:
    """The chunker counts with the same tokenizer for both."""
    assert load_tokenizer(INT8) is load_tokenizer(DEFAULT_MODEL)


def test_a_collection_of_exact_vectors_refuses_it(tmp_path: Path) -> None:
    """A collection made with the exact model names both and takes no vector of 8 bits."""
    with Collection.update("c", model=DEFAULT_MODEL, store="numpy", home=tmp_path) as writer:
        put(writer, "a.md", "red cat")
        writer.commit()
    with (
        pytest.raises(ConfigError, match=f"made with '{DEFAULT_MODEL}', not with '{INT8}'"),
        Collection.update("c", model="all-MiniLM-L6-v2@int8", home=tmp_path),
    ):
        raise AssertionError("never here")
