"""The suite: found by its name, a row for each query, results compared."""

from __future__ import annotations

import pytest

from sage.benchmark.nexmark.catalog import QUERIES
from sage.benchmark.nexmark.suite import SUITE
from sage.benchmark.row import Row
from sage.benchmark.schedule import measure_row
from sage.common.registry import registry


def _assert_measured(row: Row) -> None:
    result = measure_row(row, rounds=1, peers=False, quick=True)
    assert [entry.failed for entry in result.entries] == [None, None]
    batch, sage = (entry.samples[0] for entry in result.entries)
    assert batch["digest"] == sage["digest"]
    assert {figure.key for figure in row.figures} <= set(sage)


def test_the_suite_is_found_by_its_name() -> None:
    """`sage bench nexmark` finds the suite, with a row for each query."""
    assert registry("benchmarks").get("nexmark") is SUITE
    assert [row.key for row in SUITE.rows] == list(QUERIES)


def test_a_row_measures_equal_results() -> None:
    """q9's row runs the batch program and SAGE in processes of their own, with equal results."""
    _assert_measured(next(row for row in SUITE.rows if row.key == "q9"))


@pytest.mark.slow
@pytest.mark.parametrize("row", SUITE.rows, ids=lambda row: row.key)
def test_every_row_measures_equal_results(row: Row) -> None:
    """Each query's row runs, its result is compared, and it has every figure the report shows."""
    _assert_measured(row)
