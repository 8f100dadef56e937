"""The row of the query cache runs, tiny, and its checks can fail."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from sage.benchmark.row import Request
from sage.benchmark.schedule import measure_row
from sage.benchmark.workloads import query_cache


@pytest.mark.slow
def test_the_row_runs() -> None:
    """Every contestant answers rightly and has every figure that the report shows."""
    for entry in measure_row(query_cache.ROW, rounds=1, peers=False, quick=True).entries:
        if entry.skipped or (shutil.which("redis-server") is None and "Redis" in entry.failed):
            continue
        assert entry.failed is None
        assert {figure.key for figure in query_cache.ROW.figures} <= set(entry.samples[0])


def test_a_cache_that_does_not_share_is_found_out() -> None:
    """A contestant that computes for each of those who wait is no contestant."""

    class Forgetful(query_cache.ByHand):
        async def aget(self, key: str, compute: Any) -> Any:
            return await compute()

    request = Request(
        measure="", contestant="", size=10, verify=True, scratch="", spawned_at=0.0, parameters={}
    )
    with pytest.raises(ValueError, match="computations for 15 keys"):
        query_cache.measure(Forgetful, request)
