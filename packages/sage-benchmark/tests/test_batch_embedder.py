"""The row of the batch embedder runs, tiny."""

from __future__ import annotations

import pytest

from sage.benchmark.schedule import measure_row
from sage.benchmark.workloads.batch_embedder import ROW


@pytest.mark.slow
def test_the_row_runs() -> None:
    """Both ways to embed give the same vectors and every figure that the report shows."""
    for entry in measure_row(ROW, rounds=1, peers=False, quick=True).entries:
        assert entry.failed is None
        assert {figure.key for figure in ROW.figures} <= set(entry.samples[0])
