"""S4: four shards of 25,000 rows, against one store of 100,000."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample
from sage.benchmark.workloads.search_data import (
    DIM,
    TOP_K,
    clustered,
    latencies,
    nearest,
    recall,
)

__all__ = ["ROW", "four", "measure", "one"]


def one() -> Any:
    """One FAISS store."""
    from sage.libs.vectors import FaissStore

    return FaissStore(dim=DIM)


def four() -> Any:
    """Four of them behind one."""
    from sage.libs.vectors import ShardedStore

    return ShardedStore(dim=DIM, shards=4, store="faiss")


def measure(contestant: Callable[[], Any], request: Request) -> Sample:
    """Put all rows in at once, then ask; then ask for all queries in one call.

    Args:
        contestant: Makes the store.
        request: The size is the number of rows.
    """
    rows = request["size"]
    vectors, queries = clustered(rows, 1), clustered(200, 2)
    store = contestant()
    started = time.perf_counter()
    store.upsert([str(n) for n in range(rows)], vectors)
    build_s = time.perf_counter() - started

    sample, found = latencies(
        lambda query: [int(hit.id) for hit in store.search(query, TOP_K)[0]], queries
    )
    started = time.perf_counter()
    store.search(queries, TOP_K)
    batch_us = (time.perf_counter() - started) / len(queries) * 1e6
    right = nearest(vectors, queries)[1]
    return {**sample, "build_s": build_s, "batch_us": batch_us, "recall": recall(found, right)}


_HERE = "sage.benchmark.workloads.search_sharded"

ROW = Row(
    key="S4",
    title="100 k x 384 in one store and in four shards",
    limit="one FaissStore",
    measure=f"{_HERE}:measure",
    size=100_000,
    quick_size=400,
    contestants=(
        Contestant(name="one store", target=f"{_HERE}:one", role=Role.LIMIT),
        Contestant(name="four shards", target=f"{_HERE}:four", role=Role.SAGE),
    ),
    figures=(
        Figure(key="build_s", label="build s", digits=1),
        Figure(key="p50_us", label="p50 us", digits=0),
        Figure(key="p99_us", label="p99 us", digits=0),
        Figure(key="batch_us", label="us/query of 200", digits=0),
        Figure(key="recall", label="recall@10", digits=4),
    ),
    compares_output=False,  # four graphs are not one
    most_rounds=1,
)
