"""The suite ``search``: vector search against bare FAISS and Chroma, and the stages of a query."""

from __future__ import annotations

from sage.benchmark.suite import Suite
from sage.benchmark.workloads import (
    search_chroma,
    search_filters,
    search_growth,
    search_latency,
    search_sharded,
    search_stages,
)

__all__ = ["SUITE"]

SUITE = Suite(
    "search",
    (
        search_latency.ROW,
        search_growth.ROW,
        search_chroma.ROW,
        search_sharded.ROW,
        search_filters.ROW,
        search_stages.ROW,
    ),
)
