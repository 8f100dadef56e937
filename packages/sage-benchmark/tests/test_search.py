"""The search suite runs: every row, tiny, with recall and equal output where that can be."""

from __future__ import annotations

import numpy as np
import pytest

from sage.benchmark.row import Row
from sage.benchmark.schedule import measure_row
from sage.benchmark.search import SUITE
from sage.benchmark.workloads.search_data import clustered, nearest, recall
from sage.common.registry import registry


@pytest.mark.slow
@pytest.mark.parametrize("row", SUITE.rows, ids=lambda row: row.key)
def test_a_row_runs(row: Row) -> None:
    """Nobody fails, nobody's output differs, and what is judged has every figure shown."""
    result = measure_row(row, rounds=1, peers=False, quick=True)
    assert [entry.failed for entry in result.entries] == [None] * len(result.entries)
    for entry in result.entries:
        assert entry.skipped is None
        if entry.contestant.judged:
            assert {figure.key for figure in row.figures} <= set(entry.samples[0])
        if row.key != "S5":  # filters by hand may find too little; that is what S5 shows
            assert entry.samples[0]["recall"] > 0.95


def test_the_suite_is_found_by_its_name() -> None:
    """`sage bench search` finds the suite through its entry point."""
    assert registry("benchmarks").get("search") is SUITE


def test_vectors_are_made_from_their_seed_and_are_clustered() -> None:
    """Equal seeds give equal vectors of length 1, much nearer to some than independent ones are."""
    vectors = clustered(2_000, 1)
    assert np.array_equal(vectors, clustered(2_000, 1))
    assert not np.array_equal(vectors[:5], clustered(5, 2))
    scores, rows = nearest(vectors, vectors[:20], 2)
    assert rows[:, 0].tolist() == list(range(20))
    assert scores[:, 1].mean() > 0.3 > 5 / np.sqrt(384)
    assert recall([[1, 2], [3, 9]], np.array([[2, 1], [3, 4]])) == 0.75
