"""The suite ``checkpoints``: what it costs to survive, and how long it takes to go on."""

from __future__ import annotations

from sage.benchmark.suite import Suite
from sage.benchmark.workloads import checkpoint_sizes, journal, w6_checkpoints

__all__ = ["SUITE"]

SUITE = Suite(
    "checkpoints",
    (w6_checkpoints.SMALL_ROW, w6_checkpoints.LARGE_ROW, checkpoint_sizes.ROW, journal.ROW),
)
