"""The indexing suite runs: every row, tiny, with the output of the parts by hand."""

from __future__ import annotations

import pytest

from sage.benchmark.indexing import SUITE
from sage.benchmark.row import Row
from sage.benchmark.schedule import measure_row
from sage.benchmark.workloads.index_documents import documents
from sage.common.registry import registry


@pytest.mark.slow
@pytest.mark.parametrize("row", SUITE.rows, ids=lambda row: row.key)
def test_a_row_runs(row: Row) -> None:
    """Nobody fails, nobody's output differs, and what is judged has every figure shown."""
    result = measure_row(row, rounds=1, peers=False, quick=True)
    assert [entry.failed for entry in result.entries] == [None] * len(result.entries)
    for entry in result.entries:
        if entry.contestant.judged:
            assert {figure.key for figure in row.figures} <= set(entry.samples[0])
        assert entry.samples[0].get("twice", 0) == 0


def test_the_suite_is_found_by_its_name() -> None:
    """`sage bench indexing` finds the suite through its entry point."""
    assert registry("benchmarks").get("indexing") is SUITE


def test_documents_are_made_once_and_differ(tmp_path) -> None:
    """All contestants read the same files; no two documents have the same text."""
    made = documents(str(tmp_path), 30)
    texts = {file.read_text(encoding="utf-8") for file in made.iterdir()}
    assert len(texts) == 30
    (made / "000000.txt").write_text("kept", encoding="utf-8")
    assert (documents(str(tmp_path), 30) / "000000.txt").read_text(encoding="utf-8") == "kept"
    short = documents(str(tmp_path), 3, words=10)
    assert {len(file.read_text().split()) for file in short.iterdir()} == {10}
