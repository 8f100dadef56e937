"""What a vector store promises, whatever is under it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError, DataError, MissingExtraError, Problem
from sage.common.registry import registry

__all__ = [
    "Hit",
    "Metadata",
    "Scalar",
    "VectorStore",
    "Vectors",
    "checked_queries",
    "checked_rows",
    "default_store_kind",
    "open_store",
    "require_library",
]

Scalar = str | int | float | bool
Metadata = Mapping[str, Scalar]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hit:
    """One row that was found.

    Attributes:
        id: Its id.
        score: Cosine with the query, -1 to 1, more is nearer.
        metadata: What it was stored with.
        text: The text it was stored with, or "".
    """

    id: str
    score: float
    metadata: Metadata = field(default_factory=dict)
    text: str = ""


@runtime_checkable
class VectorStore(Protocol):
    """Rows of id, vector, metadata and text, searched by cosine.

    Its conformance suite is `sage.libs.vectors.testing`. A store is used by one thread at a time
    for writing; searching is safe from several.
    """

    def upsert(
        self,
        ids: Sequence[str],
        vectors: npt.ArrayLike,
        metadatas: Sequence[Metadata] | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        """Put rows in; a row of the same id is replaced whole, metadata and text too.

        Args:
            ids: One for each row, none twice.
            vectors: float32 [len(ids), dim]; of any length but 0, they are normalised.
            metadatas: Flat mappings of text, numbers and booleans.
            texts: What to give back with the hits.

        Raises:
            DataError: if shapes or types do not fit; nothing is put in then.
            StorageError: if the rows cannot be written.
        """
        ...

    def delete(self, ids: Sequence[str]) -> None:
        """Take rows out; ids that are not there are ignored."""
        ...

    def search(
        self, vectors: npt.ArrayLike, top_k: int, where: Mapping[str, Any] | None = None
    ) -> list[list[Hit]]:
        """Return for each vector at most ``top_k`` hits, nearest first.

        Args:
            vectors: float32 [queries, dim], or [dim] for one query.
            top_k: At least 1.
            where: A filter, see `sage.libs.vectors.filters`; only rows it matches are counted.

        Raises:
            ConfigError: if the filter is not valid, or ``top_k`` is less than 1.
            DataError: if the vectors have another dimension than the store.
        """
        ...

    def count(self) -> int:
        """Return the number of rows."""
        ...

    def flush(self) -> None:
        """Save what is not saved yet: it is there again although the process is killed.

        Raises:
            StorageError: if it cannot be written; what was saved before is still there.
        """
        ...

    def close(self) -> None:
        """Save what is not saved yet and let go of the files. May be called again."""
        ...


def default_store_kind() -> str:
    """Return ``"chroma"`` where Chroma is installed, else ``"faiss"``."""
    return "chroma" if importlib.util.find_spec("chromadb") else "faiss"


def require_library(kind: str) -> None:
    """Refuse a kind of store whose library is not installed, before any work is done for it.

    Raises:
        MissingExtraError: naming the extra to install.
    """
    if kind == "chroma" and importlib.util.find_spec("chromadb") is None:
        raise MissingExtraError("chromadb", extra="isage-libs[chroma]")


def open_store(kind: str, path: Path | None, *, dim: int) -> VectorStore:
    """Open the store of that kind at ``path``, or make an empty one there.

    Args:
        kind: A name of the registry ``vector_stores``: ``chroma``, ``faiss`` or ``numpy``.
        path: Its directory; None keeps it in memory (Chroma: in a temporary directory).
        dim: Length of the vectors.

    Raises:
        UnknownNameError: if there is no such kind.
        MissingExtraError: if its library is not installed.
        StorageError: if what is at ``path`` cannot be read.

    Example:
        >>> store = open_store("numpy", None, dim=2)
        >>> store.upsert(["a", "b"], [[1, 0], [0, 1]], [{"page": 1}, {"page": 2}])
        >>> [hit.id for hit in store.search([0.9, 0.1], top_k=1)[0]]
        ['a']
        >>> [hit.id for hit in store.search([0.9, 0.1], top_k=1, where={"page": {"$gt": 1}})[0]]
        ['b']
    """
    require_library(kind)
    return cast(VectorStore, registry("vector_stores").get(kind)(path=path, dim=dim))


def checked_rows(
    dim: int,
    ids: Sequence[str],
    vectors: npt.ArrayLike,
    metadatas: Sequence[Metadata] | None,
    texts: Sequence[str] | None,
) -> tuple[Vectors, list[dict[str, Scalar]], list[str]]:
    """Return vectors of length 1, metadata and texts of rows that are about to be stored.

    Raises:
        DataError: if anything about them does not fit.
    """
    matrix = _matrix(dim, vectors, rows=len(ids))
    if len(set(ids)) != len(ids):
        twice = next(i for n, i in enumerate(ids) if i in ids[:n])
        raise DataError(f"the id {twice!r} is given twice in one call")
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    if bad := np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0))).tolist():
        raise DataError(f"the vector of {ids[bad[0]]!r} is zero or not finite")
    for name, column in (("metadatas", metadatas), ("texts", texts)):
        if column is not None and len(column) != len(ids):
            raise DataError(f"got {len(ids)} ids and {len(column)} {name}")
    rows = [_checked_metadata(i, m) for i, m in zip(ids, metadatas or [{}] * len(ids), strict=True)]
    return np.divide(matrix, lengths, dtype=np.float32), rows, list(texts or [""] * len(ids))


def checked_queries(dim: int, vectors: npt.ArrayLike, top_k: int) -> Vectors:
    """Return query vectors as float32 [queries, dim], of length 1 (zero ones as they are).

    Raises:
        DataError: if they have another dimension, or are not finite.
        ConfigError: if ``top_k`` is less than 1.
    """
    if top_k < 1:
        raise ConfigError("search", [Problem("$.top_k", f"must be at least 1, got {top_k!r}")])
    matrix = _matrix(dim, vectors)
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise DataError("the query vector is not finite")
    lengths[lengths == 0] = 1
    unit: Vectors = np.divide(matrix, lengths, dtype=np.float32)
    return unit


def _matrix(dim: int, vectors: npt.ArrayLike, rows: int | None = None) -> Vectors:
    try:
        matrix = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"expected numbers as vectors: {error}") from error
    if rows is None and matrix.ndim == 1:
        matrix = matrix[None, :]
    if rows == 0 and matrix.size == 0:
        return np.empty((0, dim), dtype=np.float32)
    if matrix.ndim != 2 or matrix.shape[1] != dim:
        raise DataError(f"expected vectors of dimension {dim}, got an array of {matrix.shape}")
    if rows is not None and len(matrix) != rows:
        raise DataError(f"got {rows} ids and {len(matrix)} vectors")
    return matrix


def _checked_metadata(row: str, metadata: Metadata) -> dict[str, Scalar]:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, (str, int, float, bool)):
            raise DataError(
                f"metadata {key!r} of {row!r}: expected text, a number or a boolean, "
                f"got {type(value).__name__}"
            )
    return dict(metadata)
