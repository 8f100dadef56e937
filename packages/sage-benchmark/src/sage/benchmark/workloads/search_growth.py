"""S2: a FAISS store from a thousand to a million vectors: build, memory, disk, latency, recall."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample
from sage.benchmark.workloads.search_data import (
    DIM,
    TOP_K,
    Floats,
    Ints,
    clustered,
    latencies,
    nearest,
    recall,
    resident_mb,
)

__all__ = ["ROW", "Size", "measure"]

_BLOCK = 100_000
_QUERIES = 200
_SAVED_BELOW = 500_000


@dataclass(frozen=True)
class Size:
    """How many rows, and whether SAGE keeps them or bare FAISS."""

    rows: int
    bare: bool = False


def measure(contestant: Size, request: Request) -> Sample:
    """Put rows in by the hundred thousand, save, search.

    Args:
        contestant: How many rows.
        request: The size is a share of them, in percent.
    """
    rows = max(200, contestant.rows * request["size"] // 100)
    queries = clustered(_QUERIES, 2)
    empty = resident_mb()
    target = _Bare() if contestant.bare else _Store(Path(request["scratch"]) / f"s{rows}")
    best: tuple[Floats, Ints] | None = None
    build_s = 0.0
    for start in range(0, rows, _BLOCK):
        block = clustered(min(_BLOCK, rows - start), 10 + start)
        best = _better(best, nearest(block, queries), start)
        started = time.perf_counter()
        target.add(start, block)
        build_s += time.perf_counter() - started
    del block
    sample: Sample = {"build_s": build_s, "us_per_row": build_s / rows * 1e6}
    sample["rss_mb"] = resident_mb() - empty
    if not contestant.bare and rows < _SAVED_BELOW:
        sample |= target.saved()
    found, hits = latencies(target.search, queries)
    assert best is not None
    return {**found, **sample, "recall": recall(hits, best[1])}


class _Store:
    """A FaissStore."""

    def __init__(self, path: Path) -> None:
        from sage.libs.vectors import FaissStore

        self._path = path
        self._store = FaissStore(dim=DIM, path=path)

    def add(self, start: int, vectors: Floats) -> None:
        self._store.upsert([str(start + n) for n in range(len(vectors))], vectors)

    def saved(self) -> Sample:
        started = time.perf_counter()
        self._store.flush()
        flush_s = time.perf_counter() - started
        size = sum(file.stat().st_size for file in self._path.iterdir())
        return {"flush_s": flush_s, "disk_mb": size / 1e6}

    def search(self, query: Floats) -> list[int]:
        return [int(hit.id) for hit in self._store.search(query, TOP_K)[0]]


class _Bare:
    """The graph that the store would make."""

    def __init__(self) -> None:
        import faiss

        self._index: Any = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = 64
        self._index.hnsw.efSearch = 128

    def add(self, start: int, vectors: Floats) -> None:
        self._index.add(vectors)

    def saved(self) -> Sample:
        return {}

    def search(self, query: Floats) -> list[int]:
        found: list[int] = self._index.search(query[None], TOP_K)[1][0].tolist()
        return found


def _better(
    best: tuple[Floats, Ints] | None, found: tuple[Floats, Ints], start: int
) -> tuple[Floats, Ints]:
    scores, rows = found[0], found[1] + start
    if best is None:
        return scores, rows
    scores = np.concatenate([best[0], scores], axis=1)
    rows = np.concatenate([best[1], rows], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :TOP_K]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


ROWS_1K = Size(1_000 - 1)
ROWS_10K = Size(10_000 - 1)
ROWS_100K = Size(100_000)
BARE_100K = Size(100_000, bare=True)
ROWS_1M = Size(1_000_000)

_HERE = "sage.benchmark.workloads.search_growth"


def _contestant(name: str, target: str, note: str, role: Role = Role.SAGE) -> Contestant:
    return Contestant(name=name, target=f"{_HERE}:{target}", role=role, note=note)


ROW = Row(
    key="S2",
    title="a FAISS store as it grows, 384 dimensions, put in by the 100,000",
    limit="bare FAISS, the same graph of 100 k",
    measure=f"{_HERE}:measure",
    size=100,
    quick_size=1,
    contestants=(
        _contestant("FAISS, 100 k", "BARE_100K", "HNSW", Role.LIMIT),
        _contestant("SAGE, 1 k", "ROWS_1K", "999 rows: flat, all are compared"),
        _contestant("SAGE, 10 k", "ROWS_10K", "9,999 rows: IVF"),
        _contestant("SAGE, 100 k", "ROWS_100K", "HNSW"),
        _contestant("SAGE, 1 M", "ROWS_1M", "HNSW; not saved"),
    ),
    figures=(
        Figure(key="build_s", label="build s", digits=1),
        Figure(key="us_per_row", label="us/row", digits=0),
        Figure(key="rss_mb", label="MB in memory", digits=0),
        Figure(key="flush_s", label="save s"),
        Figure(key="disk_mb", label="MB on disk", digits=0),
        Figure(key="p50_us", label="p50 us", digits=0),
        Figure(key="p99_us", label="p99 us", digits=0),
        Figure(key="recall", label="recall@10", digits=4),
    ),
    charted="p50_us",
    compares_output=False,
    most_rounds=1,
    timeout_s=900,
)
