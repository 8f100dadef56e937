"""The suite ``indexing``: documents into a collection, end to end, as it grows, after a kill."""

from __future__ import annotations

from sage.benchmark.suite import Suite
from sage.benchmark.workloads import index_end_to_end, index_growth, index_resume, loading

__all__ = ["SUITE"]

SUITE = Suite("indexing", (index_end_to_end.ROW, index_growth.ROW, index_resume.ROW, loading.ROW))
