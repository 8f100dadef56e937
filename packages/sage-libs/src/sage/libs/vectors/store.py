"""What a vector store promises, whatever is under it."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError, DataError, MissingExtraError, Problem, StorageError
from sage.common.registry import registry

__all__ = [
    "Hit",
    "Metadata",
    "Scalar",
    "VectorStore",
    "Vectors",
    "check_facts",
    "checked_queries",
    "checked_rows",
    "default_store_kind",
    "open_store",
    "require_library",
    "saved_index_kind",
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

    Hits are the caller's: changing their metadata changes nothing in the store.
    """

    id: str
    score: float
    metadata: Metadata = field(default_factory=dict)
    text: str = ""


@runtime_checkable
class VectorStore(Protocol):
    """Rows of id, vector, metadata and text, searched by cosine.

    Its conformance suite is `sage.libs.vectors.testing`. One thread writes at a time; searching is
    safe from several, also while it writes, and sees each call's rows all or not at all.
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
            ids: One for each row, none twice, none empty.
            vectors: float32 [len(ids), dim]; of any length but 0, they are normalised.
            metadatas: Flat mappings of text, finite numbers (integers of 64 bits) and booleans. A
                key is not empty and does not begin with ``$`` or ``#``.
            texts: What to give back with the hits.

        Raises:
            DataError: if shapes or types do not fit; nothing is put in then.
            StorageError: if the rows cannot be written, or another process has the store.
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


def saved_index_kind(kind: str, path: Path) -> str | None:
    """Return which index a store at ``path`` has, without opening it; None if nothing says.

    Args:
        kind: The kind of store.
        path: Its directory.

    Raises:
        StorageError: if what is saved there is damaged.
    """
    if kind in ("chroma", "numpy"):
        return "hnsw" if kind == "chroma" else "flat"
    from sage.libs.vectors.snapshot import saved_facts

    if kind == "sharded":
        store = str(saved_facts(path).get("store", "faiss"))
        kinds = {saved_index_kind(store, shard) for shard in path.glob("shard-*")}
        return ", ".join(sorted(filter(None, kinds))) or None
    return saved_facts(path).get("index")


def require_library(kind: str) -> None:
    """Refuse a kind of store whose library is not installed, before any work is done for it.

    Raises:
        MissingExtraError: naming the extra to install.
    """
    if kind == "chroma" and importlib.util.find_spec("chromadb") is None:
        raise MissingExtraError("chromadb", extra="isage-libs[chroma]")


def open_store(
    kind: str, path: Path | None, *, dim: int, model: str | None = None, **options: Any
) -> VectorStore:
    """Open the store of that kind at ``path``, or make an empty one there.

    Args:
        kind: A name of the registry ``vector_stores``: ``chroma``, ``faiss``, ``numpy`` or
            ``sharded``.
        path: Its directory; None keeps it in memory (Chroma: in a temporary directory).
        dim: Length of the vectors.
        model: The model that makes the vectors, to have it remembered and checked.
        options: More of that kind's own, such as ``shards=4``.

    Raises:
        UnknownNameError: if there is no such kind.
        MissingExtraError: if its library is not installed.
        ConfigError: if it has no such option.
        StorageError: if what is at ``path`` cannot be read, has vectors of another dimension or
            another model, or is written by another process.

    Example:
        >>> store = open_store("numpy", None, dim=2)
        >>> store.upsert(["a", "b"], [[1, 0], [0, 1]], [{"page": 1}, {"page": 2}])
        >>> [hit.id for hit in store.search([0.9, 0.1], top_k=1)[0]]
        ['a']
        >>> [hit.id for hit in store.search([0.9, 0.1], top_k=1, where={"page": {"$gt": 1}})[0]]
        ['b']
    """
    require_library(kind)
    if model is not None:  # a store of somebody else's need not know of models
        options["model"] = model
    return cast(VectorStore, registry("vector_stores").get(kind)(path=path, dim=dim, **options))


def check_facts(path: Path | str, found: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse a store that was made for something else than what is asked of it.

    Args:
        path: Where it is, for the message.
        found: What it remembers; what it does not is not compared.
        asked: What it must be: ``dim``, ``model``. None is anything.

    Raises:
        StorageError: naming both.
    """
    for name, wanted in asked.items():
        made_for = found.get(name)
        if wanted is not None and made_for is not None and made_for != wanted:
            raise StorageError(
                f"the vector store {str(path)!r} was made with {name} {made_for!r}, not {wanted!r}",
                hint="open it as it was made, or use another one",
                path=str(path),
            )


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
    _check_ids(ids)
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    if bad := np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0))).tolist():
        raise DataError(f"the vector of {ids[bad[0]]!r} is zero or not finite")
    for name, column in (("metadatas", metadatas), ("texts", texts)):
        if column is not None and len(column) != len(ids):
            raise DataError(f"got {len(ids)} ids and {len(column)} {name}")
    rows = [_checked_metadata(i, m) for i, m in zip(ids, metadatas or [{}] * len(ids), strict=True)]
    for row, text in zip(ids, texts or (), strict=bool(texts)):
        _check_text(f"the text of {row!r}", text)
    return np.divide(matrix, lengths, dtype=np.float32), rows, list(texts or [""] * len(ids))


def checked_queries(dim: int, vectors: npt.ArrayLike, top_k: int) -> Vectors:
    """Return query vectors as float32 [queries, dim], of length 1 (zero ones as they are).

    Raises:
        DataError: if they have another dimension, or are not finite.
        ConfigError: if ``top_k`` is less than 1.
    """
    if not isinstance(top_k, int) or top_k < 1:
        message = f"must be a whole number, at least 1, got {top_k!r}"
        raise ConfigError("search", [Problem("$.top_k", message)])
    matrix = _matrix(dim, vectors)
    # Every search comes through here: this takes a third of what `np.linalg.norm` and its like do.
    lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix)).tolist()
    if not all(map(math.isfinite, lengths)):
        raise DataError("the query vector is not finite")
    divisors = np.asarray([length or 1 for length in lengths], dtype=np.float32)
    unit: Vectors = matrix / divisors.reshape(-1, 1)
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
        raise DataError(
            f"expected vectors of dimension {dim}, got an array of {matrix.shape}",
            hint="vectors of one store are of one model: is it still the one that made the store, "
            "also behind an address?",
        )
    if rows is not None and len(matrix) != rows:
        raise DataError(f"got {rows} ids and {len(matrix)} vectors")
    return matrix


def _check_ids(ids: Sequence[str]) -> None:
    if isinstance(ids, str):
        raise DataError(f"expected a list of ids, got one text: {ids!r:.100}")
    for row in ids:
        if not isinstance(row, str) or not row:
            raise DataError(f"an id is text that is not empty, got {row!r:.100}")
        _check_text("an id", row)
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise DataError(f"the id {twice!r} is given twice in one call")


def _check_text(what: str, text: Any) -> None:
    if not isinstance(text, str):
        raise DataError(f"{what}: expected text, got {type(text).__name__}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{what} is not valid Unicode: {error}") from error


def _checked_metadata(row: str, metadata: Metadata) -> dict[str, Scalar]:
    checked: dict[str, Scalar] = {}
    for key, value in metadata.items():
        what = f"metadata {key!r} of {row!r}"
        if not isinstance(key, str) or key[:1] in ("", "$", "#") or key == "chroma:document":
            raise DataError(f"{what}: a key is text that does not begin with '$' or '#'")
        if isinstance(value, str):
            _check_text(what, value)
            checked[key] = str(value)
        elif isinstance(value, bool):
            checked[key] = value
        elif isinstance(value, int):
            if not -(2**63) <= value < 2**63:
                raise DataError(f"{what}: expected an integer of 64 bits, got {value!r:.100}")
            checked[key] = int(value)
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise DataError(f"{what}: expected a finite number, got {value!r}")
            checked[key] = float(value)
        else:
            raise DataError(
                f"{what}: expected text, a number or a boolean, got {type(value).__name__}"
            )
    return checked
