"""The seam between whoever has texts and whatever makes vectors of them."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol, cast, runtime_checkable

from sage.common.errors import ConfigError, Problem
from sage.common.suggestions import did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["DEFAULT_MODEL", "Embedder", "LoadedEmbedder", "TokenEmbedder", "load_embedder"]

DEFAULT_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"

# Where to find what makes an embedder, called as ``make(model=...)`` with the whole model id.
# By the id's prefix, for embedders that are not weights on this machine ...
_KINDS: Final = {
    "mock": "sage.libs.embedding.mock:from_id",
    "openai": "sage.libs.embedding.openai:from_openai_id",
    "vllm": "sage.libs.embedding.openai:from_vllm_id",
}
# ... and by backend, for the same weights computed by different libraries.
_BACKENDS: Final = {
    "gpu": "sage.libs.embedding.gpu_embedder:GpuEmbedder",
    "onnx": "sage.libs.embedding.onnx_bert:OnnxEmbedder",
    "openvino": "sage.libs.embedding.openvino_bert:OpenVinoEmbedder",
    "torch": "sage.libs.embedding.sentence_transformer:SentenceTransformerEmbedder",
}

_loaded: dict[tuple[str, str], LoadedEmbedder] = {}
_loading = threading.Lock()


@runtime_checkable
class Embedder(Protocol):
    """Makes one vector of each text; texts of like meaning get vectors of high cosine.

    Attributes:
        model: The id under which collections remember it: two embedders of one id must give the
            same vectors, up to a cosine of .9999.
        dim: Length of a vector.
    """

    @property
    def model(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 [len(texts), dim], each row of length 1; ``(0, dim)`` for no texts."""
        ...


class LoadedEmbedder(Embedder, Protocol):
    """What `load_embedder` returns: an embedder that says what computes its vectors."""

    @property
    def backend(self) -> str: ...


@runtime_checkable
class TokenEmbedder(Protocol):
    """Makes one vector of each token, for late interaction (ColBERT, Khattab and Zaharia 2020)."""

    def embed_tokens(self, texts: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """Return for each text float32 [its tokens, dim], each row of length 1.

        The special tokens that a model adds have no row, so an empty text has none.
        """
        ...


def load_embedder(model: str = DEFAULT_MODEL, *, backend: str = "auto") -> LoadedEmbedder:
    """Return the embedder of that model, the same object each time in a process.

    Args:
        model: A model id, a directory with weights, or ``"mock"`` / ``"mock:32"`` for the hashing
            embedder of tests (with 16, or the given number of dimensions). ``"MODEL@int8"`` is
            that model in 8 bits: faster, lossy, and another model to a collection.
        backend: What computes the vectors: ``"onnx"``, ``"openvino"``, ``"torch"`` or ``"gpu"``;
            ``"auto"`` is OpenVINO where it is installed and the processor has bfloat16
            instructions, else ONNX Runtime.

    Raises:
        MissingWeightsError: if its weights are nowhere on this machine.
        ConfigError: if the backend is unknown or does not compute that model, or ``"mock:"`` is
            followed by something else than a positive number.

    Example:
        >>> load_embedder("mock:8").embed(["a text"]).shape
        (1, 8)
    """
    kind = model.partition(":")[0]
    maker = _KINDS.get(kind) or _BACKENDS[_chosen(backend, model)]
    with _loading:
        if (model, maker) not in _loaded:
            _loaded[model, maker] = _new(maker, model)
        return _loaded[model, maker]


def _chosen(backend: str, model: str) -> str:
    if model.endswith("@int8") and backend in ("auto", *_BACKENDS):
        if backend in ("auto", "onnx"):
            return "onnx"
        problem = Problem("$.backend", f"{model!r} is computed by 'onnx' alone, got {backend!r}")
        raise ConfigError("embedder", [problem])
    if backend == "auto":
        from sage.libs.embedding.backends import choose_backend

        return choose_backend().backend
    if backend not in _BACKENDS:
        known = ("auto", *_BACKENDS)
        raise ConfigError(
            "embedder",
            [Problem("$.backend", f"unknown backend {backend!r}{did_you_mean(backend, known)}")],
        )
    return backend


def _new(maker: str, model: str) -> LoadedEmbedder:
    module, _, name = maker.partition(":")
    return cast("LoadedEmbedder", getattr(importlib.import_module(module), name)(model=model))
