"""The suite ``kernel``: the engine against hand-written Python and against its peers."""

from __future__ import annotations

from sage.benchmark.suite import Suite
from sage.benchmark.workloads import (
    anatomy,
    deduplication,
    event_time_growth,
    growth,
    imports,
    interval_join,
    session_windows,
    sliding_windows,
    state_backends,
    stateful_functions,
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
        sliding_windows.ROW,
        session_windows.ROW,
        interval_join.ROW,
        deduplication.ROW,
        stateful_functions.ROW,
        state_backends.ROW,
        imports.ROW,
        growth.OPERATORS_ROW,
        growth.KEYS_ROW,
        growth.SIZES_ROW,
        event_time_growth.KEYS_ROW,
        event_time_growth.WINDOWS_ROW,
        anatomy.ROW,
        anatomy.BATCHES_ROW,
    ),
)
