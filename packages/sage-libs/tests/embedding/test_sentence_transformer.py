"""sentence-transformers behind our protocol, and what is said where it is not installed."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from sage.common.errors import MissingExtraError
from sage.libs.embedding import MissingWeightsError, OnnxEmbedder, load_embedder
from sage.libs.embedding.sentence_transformer import SentenceTransformerEmbedder
from sage.libs.embedding.testing import CHECKS, Check, check_same_vectors

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="needs sentence-transformers: pip install 'isage-libs[torch]'",
)
# torch is not always built for this numpy or Python; its own warnings are not ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@needs_torch
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.strip("_"))
def test_conformance(check: Check) -> None:
    """It keeps the promises of every embedder."""
    check(SentenceTransformerEmbedder())


@needs_torch
def test_agrees_with_onnx() -> None:
    """One model id, one vector: torch and ONNX Runtime give the same."""
    check_same_vectors(SentenceTransformerEmbedder(), OnnxEmbedder(), least_cosine=0.99999)


@needs_torch
def test_is_a_backend() -> None:
    """It is found by the name of its backend."""
    assert load_embedder(backend="torch").backend == "torch"


@needs_torch
def test_never_asks_the_network() -> None:
    """A model that is not on this machine is an error at construction."""
    with pytest.raises(MissingWeightsError, match="acme/unheard-of"):
        SentenceTransformerEmbedder(model="acme/unheard-of")


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library, constructing it names the extra."""
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"isage-libs\[torch\]"):
        SentenceTransformerEmbedder()
