"""A store of stores: rows divided by their ids, searched side by side.

A row's shard is a stable hash of its id, the same in every process and run, so that an upsert finds
the row that it replaces. The number of shards therefore belongs to what is on disk: the manifest
has it, and another number is refused. A search asks every shard for ``top_k`` and merges; since
every row is in one shard, what it finds is what one exact store would find. Cosines are comparable
between shards, as scores of word searches would not be.
"""

from __future__ import annotations

import heapq
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from sage.common.config import configurable
from sage.common.errors import ConfigError, Problem, StorageError
from sage.libs.process_threads import ProcessThreads
from sage.libs.vectors.filters import parse_filter
from sage.libs.vectors.snapshot import read_snapshot, write_snapshot
from sage.libs.vectors.store import (
    Hit,
    Metadata,
    VectorStore,
    check_facts,
    checked_queries,
    checked_rows,
    open_store,
)
from sage.libs.vectors.store_lock import StoreLock

__all__ = ["ShardedStore", "shard_of"]

_KIND: Final = "sharded"
_T = TypeVar("_T")


@configurable
class ShardedStore:
    """Divides the rows over several stores of one kind, which are built and searched in parallel.

    It pays off where building one index takes too long, or one store is bound to one core or one
    disk: an index of a quarter of the rows is built in less than a quarter of the time. It does not
    make single searches faster as long as one index fits into memory: the shards' graphs together
    are more work than one graph.

    Args:
        dim: Length of the vectors.
        path: Directory to keep it in, or None for memory only.
        shards: How many stores; refused if the directory was made with another number.
        store: The kind of each: ``faiss``, ``chroma`` or ``numpy``.
        model: The model that makes the vectors; remembered, and compared when it is opened again.

    Raises:
        StorageError: if the directory was made with other facts, or is damaged.

    Example:
        >>> store = ShardedStore(dim=2, shards=3, store="numpy")
        >>> store.upsert(["a", "b", "c"], [[1, 0], [0, 1], [1, 1]])
        >>> [hit.id for hit in store.search([1, 0.1], top_k=2)[0]]
        ['a', 'c']
    """

    def __init__(
        self,
        *,
        dim: Annotated[int, Meta(ge=1)],
        path: str | os.PathLike[str] | None = None,
        shards: Annotated[int, Meta(ge=1, le=1024)] = 4,
        store: str = "faiss",
        model: str | None = None,
    ) -> None:
        if store == _KIND:
            raise ConfigError("ShardedStore", [Problem("$.store", "shards cannot be sharded")])
        self.dim, self.model = dim, model
        self._path = None if path is None else Path(path)
        self._lock = None if self._path is None else StoreLock(self._path)
        self._facts = {"dim": dim, "shards": shards, "store": store, "model": model}
        self._read_manifest()
        self._shards: list[VectorStore] = []
        try:
            for number in range(shards):
                self._shards.append(
                    open_store(store, self._place(number), dim=dim, model=self.model)
                )
        except BaseException:
            self._close_shards()
            raise
        self._threads = ProcessThreads(shards, "shard")

    @property
    def index_kind(self) -> str:
        """The kinds of index of the shards, such as ``"ivf"`` or ``"hnsw, ivf"``."""
        kinds = {getattr(shard, "index_kind", "unknown") for shard in self._shards}
        return ", ".join(sorted(kinds))

    def upsert(
        self,
        ids: Sequence[str],
        vectors: npt.ArrayLike,
        metadatas: Sequence[Metadata] | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        """Put rows in, see `VectorStore.upsert`; each shard takes its own, all at once."""
        matrix, rows, lines = checked_rows(self.dim, ids, vectors, metadatas, texts)
        if not len(ids):
            return
        self._claim()
        parts = self._divided(ids)

        def put(number: int) -> None:
            part = parts[number]
            if len(part):
                self._shards[number].upsert(
                    [ids[n] for n in part],
                    matrix[part],
                    [rows[n] for n in part],
                    None if texts is None else [lines[n] for n in part],
                )

        self._each(put)

    def delete(self, ids: Sequence[str]) -> None:
        """Take rows out, see `VectorStore.delete`."""
        if not len(ids):
            return
        self._claim()
        parts = self._divided(ids)
        self._each(lambda number: self._shards[number].delete([ids[n] for n in parts[number]]))

    def search(
        self, vectors: npt.ArrayLike, top_k: int, where: Mapping[str, Any] | None = None
    ) -> list[list[Hit]]:
        """Return the nearest rows of all shards, see `VectorStore.search`."""
        queries = checked_queries(self.dim, vectors, top_k)
        parse_filter(where)  # one error, and not one of each shard
        found = self._each(lambda number: self._shards[number].search(queries, top_k, where))
        return [
            list(heapq.nsmallest(top_k, (hit for hits in of_one for hit in hits), key=_farness))
            for of_one in zip(*found, strict=True)
        ]

    def count(self) -> int:
        """Return the number of rows."""
        return sum(shard.count() for shard in self._shards)

    def flush(self) -> None:
        """Save every shard.

        Raises:
            StorageError: if one cannot be written; the others are saved all the same.
        """
        self._each(lambda number: self._shards[number].flush())

    def close(self) -> None:
        """Save and close every shard, and let other processes write."""
        self._close_shards()
        self._threads.shutdown()
        if self._lock is not None:
            self._lock.release()

    def _close_shards(self) -> None:
        errors = []
        for shard in self._shards:
            try:
                shard.close()
            except StorageError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _each(self, work: Callable[[int], _T]) -> list[_T]:
        """Do something with each shard, side by side; wait for all, also where one fails."""
        # This thread takes the first one, so that a store of one shard needs no other.
        others = [self._threads.submit(work, number) for number in range(1, len(self._shards))]
        try:
            first = work(0)
        finally:
            errors = [error for other in others if (error := other.exception()) is not None]
        if errors:
            raise errors[0]
        return [first, *(other.result() for other in others)]

    def _divided(self, ids: Sequence[str]) -> list[npt.NDArray[np.intp]]:
        shards = len(self._shards)
        numbers = np.fromiter((shard_of(i, shards) for i in ids), dtype=np.intp, count=len(ids))
        return [np.flatnonzero(numbers == number) for number in range(shards)]

    def _place(self, number: int) -> Path | None:
        return None if self._path is None else self._path / f"shard-{number:04d}"

    def _claim(self) -> None:
        """Become the one who writes; the first to do so leaves the manifest."""
        if self._path is None or self._lock is None or self._lock.owned:
            return
        self._lock.own()
        if not self._read_manifest():
            write_snapshot(self._path, {"kind": _KIND, **self._facts, "model": self.model}, {})

    def _read_manifest(self) -> bool:
        """Compare what the directory was made with, if it was; return whether it was."""
        found = None if self._path is None else read_snapshot(self._path, _KIND)
        if found is None:
            return False
        check_facts(str(self._path), found[0], self._facts)
        self.model = self.model or found[0].get("model")
        return True


def shard_of(row: str, shards: int) -> int:
    """Return the shard of a row by its id, the same in every process and run.

    Example:
        >>> [shard_of(row, 4) for row in ("a", "b", "c")]
        [3, 0, 0]
    """
    # The low bits of a CRC of short texts that differ in a digit are not spread; a product is.
    return (zlib.crc32(row.encode()) * 0x9E3779B1 & 0xFFFFFFFF) * shards >> 32


def _farness(hit: Hit) -> float:
    return -hit.score
