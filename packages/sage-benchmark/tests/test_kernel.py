"""The kernel suite runs: every row, tiny, with output equal to the hand-written work's."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest

from sage.benchmark.kernel import SUITE
from sage.benchmark.row import Role, Row
from sage.benchmark.schedule import RowResult, measure_row
from sage.common.errors import ConfigError
from sage.common.registry import registry


def _measured(row: Row, *, peers: bool = False) -> RowResult:
    return measure_row(row, rounds=1, peers=peers, quick=True)


@pytest.mark.slow
@pytest.mark.parametrize("row", SUITE.rows, ids=lambda row: row.key)
def test_a_row_runs_with_equal_output(row: Row) -> None:
    """Nobody fails, nobody's output differs, and each has every figure the report shows."""
    result = _measured(row)
    assert [entry.failed for entry in result.entries] == [None] * len(result.entries)
    for entry in result.entries:
        assert entry.skipped is None
        if entry.contestant.judged:
            assert {figure.key for figure in row.figures} <= set(entry.samples[0])


def test_two_rows_compare_what_came_out() -> None:
    """W1's limit and SAGE report a digest of their output, and it is the same one."""
    row = next(row for row in SUITE.rows if row.key == "W1")
    result = _measured(row)
    digests = {entry.samples[0]["digest"] for entry in result.entries}
    assert len(digests) == 1


@pytest.mark.slow
@pytest.mark.parametrize("key", ["W1", "W2", "W4", "W5"])
@pytest.mark.parametrize("peer", ["bytewax", "streamz"])
def test_a_peer_produces_the_same(key: str, peer: str) -> None:
    """A peer that is installed does the same work; the heavy ones run with --peers only."""
    try:
        version(peer)
    except PackageNotFoundError:
        pytest.skip(f"{peer} is not installed")
    row = next(row for row in SUITE.rows if row.key == key)
    kept = tuple(c for c in row.contestants if c.role is Role.LIMIT or c.needs == peer)
    result = _measured(Row(**{**vars(row), "contestants": kept}), peers=True)
    assert len(result.entries) > 1
    assert [entry.failed for entry in result.entries] == [None] * len(result.entries)


def test_the_suite_is_found_by_its_name() -> None:
    """`sage bench kernel` finds the suite through its entry point."""
    assert registry("benchmarks").get("kernel") is SUITE


def test_an_unknown_row_is_an_error_that_knows_better() -> None:
    """A misspelt row is refused before anything is measured, with the names there are."""
    with pytest.raises(ConfigError, match="did you mean 'import'"):
        SUITE.select(["W1", "imort"])
    assert [row.key for row in SUITE.select(["w2", "W1"])] == ["W1", "W2"]
