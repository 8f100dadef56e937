"""The suite ``kernel``: the engine against hand-written Python and against its peers."""

from __future__ import annotations

from sage.benchmark.suite import Suite
from sage.benchmark.workloads import (
    anatomy,
    growth,
    imports,
    w1_stateless,
    w2_word_count,
    w3_event_time_sum,
    w4_llm_bound,
    w5_latency,
)

__all__ = ["SUITE"]

SUITE = Suite(
    "kernel",
    (
        w1_stateless.ROW,
        w2_word_count.ROW,
        w3_event_time_sum.ROW,
        w4_llm_bound.ROW,
        w5_latency.ROW,
        imports.ROW,
        growth.OPERATORS_ROW,
        growth.KEYS_ROW,
        growth.SIZES_ROW,
        anatomy.ROW,
        anatomy.BATCHES_ROW,
    ),
)
