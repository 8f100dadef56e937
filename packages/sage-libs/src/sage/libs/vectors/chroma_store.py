"""A store on Chroma, embedded: no server, telemetry off, loaded when a store is opened."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from sage.common.config import configurable
from sage.common.errors import MissingExtraError, StorageError
from sage.libs.vectors.filters import parse_filter, to_chroma
from sage.libs.vectors.store import Hit, Metadata, checked_queries, checked_rows

__all__ = ["ChromaStore"]

_COLLECTION: Final = "vectors"
# Chroma's own 16, 100 and 100 lose the way among hundreds of equal vectors (boilerplate).
_HNSW: Final = {
    "space": "cosine",
    "max_neighbors": 32,
    "ef_construction": 200,
    "ef_search": 200,
}


@configurable
class ChromaStore:
    """Keeps the rows in an embedded Chroma database, searched by cosine; filters run in Chroma.

    Needs the extra ``isage-libs[chroma]``. Opening takes about a second, most of it the import.

    Args:
        dim: Length of the vectors.
        path: Directory of the database, or None for a temporary one that `close` removes.
    """

    def __init__(
        self, *, dim: Annotated[int, Meta(ge=1)], path: str | os.PathLike[str] | None = None
    ) -> None:
        try:
            import chromadb
            from chromadb.config import Settings
        except ModuleNotFoundError as error:
            raise MissingExtraError("chromadb", extra="isage-libs[chroma]") from error

        self.dim = dim
        self._error: type[Exception] = chromadb.errors.ChromaError
        self._temporary = tempfile.TemporaryDirectory() if path is None else None
        self._path = Path(self._temporary.name if self._temporary is not None else path or "")
        with self._failures("open"):
            self._path.mkdir(parents=True, exist_ok=True)
            client: Any = chromadb.PersistentClient(
                str(self._path), settings=Settings(anonymized_telemetry=False)
            )
            self._client = client
            self._rows: Any = client.get_or_create_collection(
                _COLLECTION,
                configuration={"hnsw": _HNSW},
                embedding_function=None,
                metadata={"dim": dim},
            )
        if (made_for := self._rows.metadata["dim"]) != dim:
            self.close()
            raise StorageError(
                f"{str(self._path)!r} holds vectors of {made_for}, expected {dim}",
                path=str(self._path),
            )
        self._batch: int = self._client.get_max_batch_size()

    def upsert(
        self,
        ids: Sequence[str],
        vectors: npt.ArrayLike,
        metadatas: Sequence[Metadata] | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        """Put rows in, see `VectorStore.upsert`."""
        matrix, rows, lines = checked_rows(self.dim, ids, vectors, metadatas, texts)
        # Chroma merges the metadata of an upsert into the row's; taking the row out replaces it.
        self.delete(ids)
        with self._failures("write"):
            for start in range(0, len(ids), self._batch):
                part = slice(start, start + self._batch)
                self._rows.add(
                    ids=list(ids[part]),
                    embeddings=matrix[part],
                    metadatas=[row or None for row in rows[part]],
                    documents=None if texts is None else lines[part],
                )

    def delete(self, ids: Sequence[str]) -> None:
        """Take rows out, see `VectorStore.delete`."""
        with self._failures("write"):
            for start in range(0, len(ids), self._batch):
                part = list(ids[start : start + self._batch])
                if known := self._rows.get(ids=part, include=[])["ids"]:
                    self._rows.delete(ids=known)

    def search(
        self, vectors: npt.ArrayLike, top_k: int, where: Mapping[str, Any] | None = None
    ) -> list[list[Hit]]:
        """Return the nearest rows, see `VectorStore.search`."""
        queries = checked_queries(self.dim, vectors, top_k)
        condition = parse_filter(where)
        if not len(queries) or not self.count():
            return [[] for _ in queries]
        with self._failures("read"):
            found = self._rows.query(
                query_embeddings=queries,
                n_results=top_k,
                where=None if condition is None else to_chroma(condition),
                include=["distances", "metadatas", "documents"],
            )
        columns = (found["ids"], found["distances"], found["metadatas"], found["documents"])
        return [
            [
                Hit(row, 1 - float(np.float32(distance)), metadata or {}, text or "")
                for row, distance, metadata, text in zip(*query, strict=True)
            ]
            for query in zip(*columns, strict=True)
        ]

    def count(self) -> int:
        """Return the number of rows."""
        with self._failures("read"):
            return int(self._rows.count())

    def flush(self) -> None:
        """Nothing is left to write: each call has written its rows."""

    def close(self) -> None:
        """Let go of the database; everything is written already."""
        self._client.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    @contextlib.contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        """Turn Chroma's errors, and those of the files under it, into a `StorageError`."""
        try:
            yield
        except (self._error, OSError) as error:
            raise StorageError(
                f"cannot {what} the Chroma store {str(self._path)!r}: {error}",
                path=str(self._path),
            ) from error
