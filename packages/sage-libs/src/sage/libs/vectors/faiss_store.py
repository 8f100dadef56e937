"""A store on FAISS that chooses its index by size, and says which it chose."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from sage.common.config import configurable
from sage.common.errors import StorageError
from sage.libs.vectors.filters import parse_filter
from sage.libs.vectors.numpy_store import top_rows
from sage.libs.vectors.rows import Rows
from sage.libs.vectors.snapshot import read_snapshot, write_snapshot
from sage.libs.vectors.store import Hit, Metadata, Vectors, checked_queries, checked_rows

__all__ = ["FaissStore"]

_FLAT_BELOW: Final = 1_000
_IVF_BELOW: Final = 10_000
# A hole costs search time, and in a graph also recall: rebuild when a quarter are holes.
_MOST_HOLES: Final = 0.25
# Walking a graph for the few rows that a narrow filter leaves finds too little: compare them all.
_NARROW: Final = 0.1


@configurable
class FaissStore:
    """Flat (exact) under 1,000 rows, IVF under 10,000, HNSW above; `index_kind` says which.

    Rows that are deleted or replaced are hidden at once and leave the index when a quarter of it is
    hidden. New rows enter the index at the next search or `flush`. Filters are evaluated before
    the search, so ``top_k`` rows are found if so many match.

    Args:
        dim: Length of the vectors.
        path: Directory to keep it in, or None for memory only.
    """

    def __init__(
        self, *, dim: Annotated[int, Meta(ge=1)], path: str | os.PathLike[str] | None = None
    ) -> None:
        import faiss

        self._faiss = faiss
        self.dim = dim
        self._path = None if path is None else Path(path)
        self._rows = Rows()
        self._pending: list[Vectors] = []
        self._kind, self._index = "flat", self._new_index("flat", 0)
        self._dirty = False
        self._lock = threading.Lock()  # held while pending rows enter the index
        if self._path is not None:
            self._load(self._path)

    @property
    def index_kind(self) -> str:
        """``"flat"``, ``"ivf"`` or ``"hnsw"``: what is searched now."""
        self._refresh()
        return self._kind

    def upsert(
        self,
        ids: Sequence[str],
        vectors: npt.ArrayLike,
        metadatas: Sequence[Metadata] | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        """Put rows in, see `VectorStore.upsert`."""
        matrix, rows, lines = checked_rows(self.dim, ids, vectors, metadatas, texts)
        with self._lock:
            self._rows.append(ids, rows, lines)
            self._pending.append(matrix)
            self._dirty = True

    def delete(self, ids: Sequence[str]) -> None:
        """Take rows out, see `VectorStore.delete`."""
        with self._lock:
            self._dirty = self._rows.delete(ids) or self._dirty

    def search(
        self, vectors: npt.ArrayLike, top_k: int, where: Mapping[str, Any] | None = None
    ) -> list[list[Hit]]:
        """Return the nearest rows, see `VectorStore.search`."""
        queries = checked_queries(self.dim, vectors, top_k)
        condition = parse_filter(where)
        self._refresh()
        top_k = min(top_k, self.count())
        if not top_k:
            return [[] for _ in queries]
        if condition is None and self.count() == len(self._rows):
            return self._hits(*self._index.search(queries, top_k, params=self._reach(top_k)))
        allowed = self._rows.allowed(condition)
        if allowed.sum() < max(top_k, _NARROW * len(allowed)):
            return self._compared(queries, np.flatnonzero(allowed), top_k)
        bits = np.packbits(allowed, bitorder="little")
        selector = self._faiss.IDSelectorBitmap(len(allowed), self._faiss.swig_ptr(bits))
        return self._hits(*self._index.search(queries, top_k, params=self._reach(top_k, selector)))

    def count(self) -> int:
        """Return the number of rows."""
        return self._rows.alive

    def flush(self) -> None:
        """Write the whole store anew, if there is a path and anything changed.

        Raises:
            StorageError: if it cannot be written; what was saved before is still there.
        """
        if self._path is None or not self._dirty:
            return
        self._refresh()
        serialized = self._faiss.serialize_index(self._index)
        write_snapshot(
            self._path,
            {"kind": "faiss", "dim": self.dim, "format": 1, "index": self._kind},
            {
                "index.faiss": lambda file: file.write(serialized.tobytes()),
                "rows.msgpack": self._rows.write,
            },
        )
        self._dirty = False

    def close(self) -> None:
        """Save, see `flush`."""
        self.flush()

    def _refresh(self) -> None:
        """Let pending rows into the index; make another one if size or holes ask for it."""
        with self._lock:
            rows, alive = len(self._rows), self._rows.alive
            kind = "flat" if alive < _FLAT_BELOW else "ivf" if alive < _IVF_BELOW else "hnsw"
            if kind == self._kind and rows - alive <= _MOST_HOLES * rows:
                for block in self._pending:
                    self._index.add(block)
            elif self._pending or rows > alive or kind != self._kind:
                stored = self._index.reconstruct_n(0, self._index.ntotal)
                vectors = np.concatenate([stored, *self._pending])
                self._rows, kept = self._rows.compacted()
                self._kind, self._index = kind, self._new_index(kind, len(kept))
                self._fill(np.ascontiguousarray(vectors[kept]))
            self._pending = []

    def _new_index(self, kind: str, rows: int) -> Any:
        inner = self._faiss.METRIC_INNER_PRODUCT
        if kind == "flat":
            return self._faiss.IndexFlatIP(self.dim)
        if kind == "hnsw":
            index = self._faiss.IndexHNSWFlat(self.dim, 32, inner)
            index.hnsw.efConstruction = 100
            return index
        lists = max(8, int(np.sqrt(rows)))
        return self._faiss.IndexIVFFlat(self._faiss.IndexFlatIP(self.dim), self.dim, lists, inner)

    def _fill(self, vectors: Vectors) -> None:
        if self._kind == "ivf":
            self._index.cp.min_points_per_centroid = 1  # or it warns on stderr
            self._index.train(vectors)
            self._index.make_direct_map()
        self._index.add(vectors)

    def _reach(self, top_k: int, selector: Any = None) -> Any:
        """Return the search parameters: how far to look, and at which rows."""
        faiss = self._faiss
        if self._kind == "hnsw":
            return faiss.SearchParametersHNSW(sel=selector, efSearch=max(128, 2 * top_k))
        if self._kind == "ivf":
            # Three quarters of the lists find .998 of the ten nearest of SciFact, a third of them
            # .973, and either takes a tenth of a millisecond. Under a filter: all of them.
            lists = self._index.nlist
            probes = lists if selector else lists - lists // 4
            return faiss.SearchParametersIVF(sel=selector, nprobe=probes)
        return faiss.SearchParameters(sel=selector)

    def _hits(self, scores: Vectors, rows: npt.NDArray[np.int64]) -> list[list[Hit]]:
        return [
            [self._rows.hit(int(n), float(s)) for s, n in zip(*pair, strict=True) if n >= 0]
            for pair in zip(scores, rows, strict=True)
        ]

    def _compared(
        self, queries: Vectors, rows: npt.NDArray[np.intp], top_k: int
    ) -> list[list[Hit]]:
        if not len(rows):
            return [[] for _ in queries]
        scores = queries @ self._index.reconstruct_batch(rows.astype(np.int64)).T
        return [
            [self._rows.hit(int(rows[n]), float(row[n])) for n in top_rows(row, top_k)]
            for row in scores
        ]

    def _load(self, path: Path) -> None:
        found = read_snapshot(path, "faiss")
        if found is None:
            return
        facts, part = found
        self._rows = Rows.read(part("rows.msgpack"))
        try:
            data = np.fromfile(part("index.faiss"), dtype=np.uint8)
            self._index = self._faiss.deserialize_index(data)
        except (OSError, RuntimeError) as error:  # FAISS reports damage as RuntimeError
            raise StorageError(f"cannot read {str(path)!r}: {error}", path=str(path)) from error
        if (self._index.ntotal, self._index.d) != (len(self._rows), self.dim):
            raise StorageError(
                f"{str(path)!r} holds {self._index.ntotal} vectors of {self._index.d}, "
                f"expected {len(self._rows)} of {self.dim}",
                path=str(path),
            )
        self._kind = facts["index"]
