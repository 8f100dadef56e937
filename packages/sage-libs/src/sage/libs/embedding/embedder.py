"""The seam between whoever has texts and whatever makes vectors of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from sage.common.errors import ConfigError, Problem

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["DEFAULT_MODEL", "Embedder", "load_embedder"]

DEFAULT_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"

_loaded: dict[str, Embedder] = {}
_loading = threading.Lock()


@runtime_checkable
class Embedder(Protocol):
    """Makes one vector of each text; texts of like meaning get vectors of high cosine.

    Attributes:
        model: The id under which collections remember it: two embedders of one id must give the
            same vectors.
        dim: Length of a vector.
    """

    @property
    def model(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 [len(texts), dim], each row of length 1; ``(0, dim)`` for no texts."""
        ...


def load_embedder(model: str = DEFAULT_MODEL) -> Embedder:
    """Return the embedder of that model, the same object each time in a process.

    Args:
        model: A model id, a directory with weights, or ``"mock"`` / ``"mock:32"`` for the hashing
            embedder of tests (with 16, or the given number of dimensions).

    Raises:
        MissingWeightsError: if its weights are nowhere on this machine.
        ConfigError: if ``"mock:"`` is followed by something else than a positive number.

    Example:
        >>> load_embedder("mock:8").embed(["a text"]).shape
        (1, 8)
    """
    with _loading:
        if model not in _loaded:
            _loaded[model] = _new(model)
        return _loaded[model]


def _new(model: str) -> Embedder:
    name, _, dim = model.partition(":")
    if name == "mock":
        from sage.libs.embedding.mock import MockTextEmbedder

        if dim and not (dim.isdecimal() and int(dim) > 0):
            raise ConfigError(
                "embedder", [Problem("$.model", f"expected 'mock:DIM' with DIM > 0, got {model!r}")]
            )
        return MockTextEmbedder(fixed_dim=int(dim or 16))
    from sage.libs.embedding.onnx_bert import OnnxEmbedder

    return OnnxEmbedder(model=model)
