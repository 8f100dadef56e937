"""The FAISS index that a store needs at its size, over row numbers.

Rows enter a graph or lists in blocks; those that wait for the next block are the tail, an exact
index of its own, and each search looks at both. So searching changes nothing, a row is found as
soon as it is in, and the thread that writes pays for the index: about once in 1,024 rows.

Which index, by the number of rows: exact comparison below 1,000, inverted lists (IVF) below 10,000,
a graph (HNSW, Malkov and Yashunin 2016) above. A filter that leaves few rows, or a ``top_k`` that
wants many, makes comparing the allowed rows cheaper than walking the graph; then that is done, and
also whenever the walk brings back fewer rows than there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from sage.libs.vectors.store import Vectors

__all__ = ["FaissIndex"]

_KINDS: Final = ("flat", "ivf", "hnsw")
_NEIGHBOURS: Final = 32
_BUILD_REACH: Final = 64
_SEARCH_REACH: Final = 128
# A larger graph hides more: with a reach of 128 the ten nearest of 100 k rows are found to .99,
# of 300 k to .96 and of a million to .88; with 400 of 300 k to .98, with 800 of a million to .94.
_ROWS_PER_REACH: Final = 100_000
_MOST_REACHES: Final = 6
# A step of a walk costs what comparing so many rows one after the other costs (measured: 25 to 40).
_ROWS_PER_STEP: Final = 30

Found = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


class FaissIndex:
    """Vectors by row number; says by `kind` what it is now: ``flat``, ``ivf`` or ``hnsw``.

    It never becomes a lesser kind by itself, so that a store around a limit is not built again and
    again; `keeping` chooses anew.

    Args:
        dim: Length of the vectors, which have to be of length 1.
    """

    flat_below: ClassVar[int] = 1_000
    ivf_below: ClassVar[int] = 10_000
    tail_rows: ClassVar[int] = 1_024

    def __init__(self, dim: int) -> None:
        import faiss

        self._faiss: Any = faiss
        self.dim = dim
        self.kind = "flat"
        self._main: Any = None
        self._tail: Any = faiss.IndexFlatIP(dim)
        self._walks: dict[int, Any] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._settled + int(self._tail.ntotal)

    def add(self, vectors: Vectors, alive: int) -> None:
        """Append rows.

        Args:
            vectors: float32 [rows, dim], of length 1.
            alive: How many rows of the store count when these are in; it decides the kind.
        """
        kind = max(self.kind, self._kind_for(alive), key=_KINDS.index)
        if kind != self.kind:
            self._build(kind, np.concatenate([self.vectors(), vectors]) if len(self) else vectors)
        elif kind == "flat" or self._tail.ntotal + len(vectors) < self.tail_rows:
            self._tail.add(vectors)
        else:
            self.settle()
            self._main.add(vectors)  # FAISS builds one block on all cores

    def settle(self) -> None:
        """Let the tail into the index, so that there is one to search and to save."""
        if self._main is not None and self._tail.ntotal:
            self._main.add(self._flat_vectors(self._tail))
            self._tail.reset()

    def keeping(self, rows: npt.NDArray[np.intp]) -> FaissIndex:
        """Return an index of these rows only, numbered from 0, of the kind for so many."""
        index = type(self)(self.dim)
        index.add(np.ascontiguousarray(self.vectors()[rows]), len(rows))
        return index

    def vectors(self) -> Vectors:
        """Return all vectors, float32 [len(self), dim]; not to be written into, nor kept."""
        parts = [self._flat_vectors(self._tail)]
        if self._main is not None:
            parts.insert(0, self._main_vectors())
        return parts[0] if len(parts) == 1 or not len(parts[1]) else np.concatenate(parts)

    def at(self, rows: npt.NDArray[np.intp]) -> Vectors:
        """Return the vectors of rows, float32 [len(rows), dim]."""
        settled = rows < self._settled
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        if settled.any():
            vectors[settled] = self._main.reconstruct_batch(rows[settled].astype(np.int64))
        vectors[~settled] = self._flat_vectors(self._tail)[rows[~settled] - self._settled]
        return vectors

    def search(
        self, queries: Vectors, top_k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> Found:
        """Return scores and row numbers, [queries, at most top_k]; -1 where no more was found.

        Args:
            queries: float32 [queries, dim].
            top_k: At least 1.
            allowed: bool [len(self)], or None for all rows.
        """
        parts = []
        if self._main is not None:
            mask = None if allowed is None else allowed[: self._settled]
            parts.append(self._search_main(queries, top_k, mask))
        if self._tail.ntotal:
            mask = None if allowed is None else allowed[self._settled :]
            scores, rows = self._compare(self._tail, queries, top_k, mask)
            parts.append((scores, np.where(rows < 0, -1, rows + self._settled)))
        return parts[0] if len(parts) == 1 else _merged(parts, len(queries), top_k)

    def write(self, write: Callable[[bytes], Any]) -> None:
        """Write the index to a file's ``write``; what that raises comes through."""
        self.settle()
        index = self._tail if self._main is None else self._main
        self._faiss.write_index(index, self._faiss.PyCallbackIOWriter(write, 1 << 20))

    @classmethod
    def read(cls, path: str, kind: str, dim: int) -> FaissIndex:
        """Read what `write` wrote.

        Raises:
            RuntimeError: if FAISS cannot read it.
        """
        index = cls(dim)
        found = index._faiss.read_index(path)
        index.kind = kind
        if kind == "flat":
            index._tail = found
        else:
            index._main = found
        return index

    @property
    def stored_dim(self) -> int:
        """The dimension of the vectors that are in it."""
        return int((self._tail if self._main is None else self._main).d)

    @property
    def _settled(self) -> int:
        return 0 if self._main is None else int(self._main.ntotal)

    def _kind_for(self, rows: int) -> str:
        return "flat" if rows < self.flat_below else "ivf" if rows < self.ivf_below else "hnsw"

    def _build(self, kind: str, vectors: Vectors) -> None:
        faiss, inner = self._faiss, self._faiss.METRIC_INNER_PRODUCT
        if kind == "hnsw":
            main = faiss.IndexHNSWFlat(self.dim, _NEIGHBOURS, inner)
            main.hnsw.efConstruction = _BUILD_REACH
        else:
            lists = max(2, int(np.sqrt(len(vectors))))
            main = faiss.IndexIVFFlat(faiss.IndexFlatIP(self.dim), self.dim, lists, inner)
            main.cp.min_points_per_centroid = 1  # or it warns on stderr
            main.train(vectors)
            main.make_direct_map()
        main.add(vectors)
        self._tail.reset()
        self.kind, self._main = kind, main

    def _search_main(
        self, queries: Vectors, top_k: int, allowed: npt.NDArray[np.bool_] | None
    ) -> Found:
        rows = self._settled
        usable = rows if allowed is None else int(np.count_nonzero(allowed))
        top_k = min(top_k, usable)
        if not usable:
            return _nothing(len(queries))
        if self.kind == "ivf":
            scores, found = self._probe(queries, top_k, allowed)
        else:
            # Of the nodes on a walk only the allowed ones count, so it has to go further.
            wider = min(max(1, rows // _ROWS_PER_REACH), _MOST_REACHES)
            reach = max(_SEARCH_REACH * wider, 2 * top_k) * rows // usable
            if usable < _ROWS_PER_STEP * reach:
                return self._compare(self._storage, queries, top_k, allowed)
            params = self._walk(reach, allowed)
            scores, found = self._main.search(queries, top_k, params=params)
        if (found[:, -1] < 0).any():
            return self._all(queries, top_k, allowed)
        return scores, found

    def _walk(self, reach: int, allowed: npt.NDArray[np.bool_] | None) -> Any:
        if allowed is not None:
            selector = self._bitmap(allowed)
            return self._faiss.SearchParametersHNSW(sel=selector, efSearch=reach)
        if reach not in self._walks:  # making one takes longer than anything else around a search
            self._walks[reach] = self._faiss.SearchParametersHNSW(efSearch=reach)
        return self._walks[reach]

    def _probe(
        self, queries: Vectors, top_k: int, allowed: npt.NDArray[np.bool_] | None, share: int = 4
    ) -> Found:
        # Three quarters of the lists find .998 of the ten nearest of SciFact, a third of them
        # .973, and either takes a tenth of a millisecond. Under a filter: all of them.
        lists = self._main.nlist
        selector = None if allowed is None else self._bitmap(allowed)
        probes = lists if allowed is not None else lists - lists // share
        params = self._faiss.SearchParametersIVF(sel=selector, nprobe=probes)
        scores, rows = self._main.search(queries, top_k, params=params)
        return scores, rows

    def _all(self, queries: Vectors, top_k: int, allowed: npt.NDArray[np.bool_] | None) -> Found:
        """Compare every allowed row of the main index."""
        if self.kind == "hnsw":
            return self._compare(self._storage, queries, top_k, allowed)
        return self._probe(queries, top_k, allowed, share=self._main.nlist + 1)

    def _compare(
        self, flat: Any, queries: Vectors, top_k: int, allowed: npt.NDArray[np.bool_] | None
    ) -> Found:
        if allowed is None:
            scores, rows = flat.search(queries, min(top_k, flat.ntotal))
            return scores, rows
        chosen = np.flatnonzero(allowed).astype(np.int64)
        if not len(chosen):
            return _nothing(len(queries))
        params = self._faiss.SearchParameters(sel=self._faiss.IDSelectorArray(chosen))
        scores, rows = flat.search(queries, min(top_k, len(chosen)), params=params)
        return scores, rows

    def _bitmap(self, allowed: npt.NDArray[np.bool_]) -> Any:
        return self._faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))

    @property
    def _storage(self) -> Any:
        return self._faiss.downcast_index(self._main.storage)

    def _main_vectors(self) -> Vectors:
        if self.kind == "hnsw":
            return self._flat_vectors(self._storage)
        vectors: Vectors = self._main.reconstruct_n(0, self._settled)
        return vectors

    def _flat_vectors(self, flat: Any) -> Vectors:
        if not flat.ntotal:
            return np.empty((0, self.dim), dtype=np.float32)
        vectors: Vectors = self._faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * self.dim)
        return vectors.reshape(-1, self.dim)


def _nothing(queries: int) -> Found:
    return np.empty((queries, 0), dtype=np.float32), np.empty((queries, 0), dtype=np.int64)


def _merged(parts: list[Found], queries: int, top_k: int) -> Found:
    scores = np.concatenate([scores for scores, _ in parts], axis=1)
    rows = np.concatenate([rows for _, rows in parts], axis=1)
    if queries == 0:
        return scores, rows
    scores = np.where(rows < 0, -np.inf, scores).astype(np.float32, copy=False)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    return np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
