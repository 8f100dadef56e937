"""S1: a search in 100,000 vectors, against the same FAISS graph without anything around it.

Both search the graph of one file with the same parameters, and have to find the same rows. In
SAGE's run each query is also put to the bare graph, before or after it in turn, so that "x raw" is
of the same moment whatever else the machine does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sage.benchmark.measuring import digest
from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target
from sage.benchmark.statistics import percentile
from sage.benchmark.workloads.search_data import (
    DIM,
    TOP_K,
    Floats,
    Prepared,
    latencies,
    prepared,
    recall,
    resident_mb,
)

__all__ = ["ROW", "measure", "raw", "sage"]

_REACH = 128  # what FaissStore uses for ten hits

Search = Callable[[Floats], Sequence[int]]


def raw(data: Prepared) -> Search:
    """The graph as FAISS reads it, with the parameters that the store uses."""
    import faiss

    index: Any = data.index()
    # Below 10,000 rows, in a quick run, the store compares all.
    params = faiss.SearchParametersHNSW(efSearch=_REACH) if hasattr(index, "hnsw") else None  # type: ignore[attr-defined]

    def search(query: Floats) -> Sequence[int]:
        _, rows = index.search(query[None], TOP_K, params=params)
        found: list[int] = rows[0].tolist()
        return found

    return search


def sage(data: Prepared) -> Search:
    """A `FaissStore` opened from disk; hits have ids, metadata and texts."""
    from sage.libs.vectors import FaissStore

    store = FaissStore(dim=DIM, path=data.path)
    return lambda query: [int(hit.id) for hit in store.search(query, TOP_K)[0]]


def measure(contestant: Callable[[Prepared], Search], request: Request) -> Sample:
    """Ask 300 queries, one at a time.

    Args:
        contestant: Opens what is searched.
        request: The size is the number of rows.
    """
    data = prepared(request["size"])
    search = contestant(data)
    before = resident_mb()
    sample, found = latencies(search, data.queries)
    sample["recall"] = recall(found, data.right)
    sample["rss_mb"] = before
    sample["digest"] = digest(found)
    if contestant is not raw:
        sample["times_raw"] = _beside(search, raw(data), data.queries)
    return sample


def _beside(search: Search, bare: Search, queries: Floats) -> float:
    """Return the ratio of the medians of two that are asked in turn."""
    times: dict[Search, list[float]] = {search: [], bare: []}
    for number, query in enumerate(np.concatenate([queries] * 3)):
        for one in (search, bare) if number % 2 else (bare, search):
            started = time.perf_counter()
            one(query)
            times[one].append(time.perf_counter() - started)
    return percentile(times[search], 0.5) / percentile(times[bare], 0.5)


_HERE = "sage.benchmark.workloads.search_latency"

ROW = Row(
    key="S1",
    title="one search in 100 k x 384 clustered vectors, ten hits, one thread",
    limit="the same HNSW graph in bare FAISS",
    measure=f"{_HERE}:measure",
    size=100_000,
    quick_size=500,
    contestants=(
        Contestant(name="FAISS", target=f"{_HERE}:raw", role=Role.LIMIT, note="row numbers only"),
        Contestant(
            name="SAGE",
            target=f"{_HERE}:sage",
            role=Role.SAGE,
            judged=True,
            note="FaissStore: ids, metadata, scores; checked queries; shared with a writer",
        ),
    ),
    figures=(
        Figure(key="times_raw", label="x raw"),
        Figure(key="p50_us", label="p50 us", digits=0),
        Figure(key="p99_us", label="p99 us", digits=0),
        Figure(key="qps", label="queries/s", digits=0),
        Figure(key="recall", label="recall@10", digits=4),
        Figure(key="rss_mb", label="MB in memory", digits=0),
    ),
    targets=(
        Target(figure="times_raw", must=1.3, aim=1.15, at_most=True),
        Target(figure="recall", must=0.99, aim=0.995),
        # The rows of the seed's table: a search in less than 0.1 s, in less than 4 GB.
        Target(figure="p99_us", must=100_000, aim=1_000, at_most=True),
        Target(figure="rss_mb", must=4_000, aim=1_000, at_most=True),
    ),
    most_rounds=5,
)
