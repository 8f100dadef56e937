"""Joins in event time, driven by hand: at every moment they have said what a naive join says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.kernel import SessionWindow, SlidingWindow, TumblingWindow
from sage.kernel.errors import GraphError
from sage.kernel.operators import function_spec as shapes
from sage.kernel.operators.deduplicate import DeduplicateOperator, DeduplicateWithinOperator
from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.interval_join import IntervalJoinOperator
from sage.kernel.operators.operator import Operator
from sage.kernel.operators.temporal_join import TemporalJoinOperator
from sage.kernel.operators.window_join import WindowJoinOperator
from sage.kernel.operators.windowing import GlobalWindow, WindowAssigner
from sage.kernel.testing import event_time_reference_joins as naive
from sage.kernel.testing.event_time_reference_joins import Said
from sage.kernel.testing.operator_harness import Arrival, OperatorHarness, arrivals, batches

KEYS = ["", 0, "a", ("a", 1)]
HOW = st.sampled_from(["inner", "left", "right", "full"])
SIZES = st.integers(1, 12)
END = math.inf


@st.composite
def streams(draw: st.DrawFn) -> list[Arrival]:
    """Records of two sides as one split: disorder, ties, times below 0; some of them late."""
    steps = draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.sampled_from(KEYS), st.integers(-8, 8)), max_size=30
        )
    )
    drift, start = draw(st.sampled_from([0, 1, 3])), draw(st.integers(-20, 5))
    events = [
        (side, key, (start + drift * at + jitter) / draw(st.sampled_from([1, 2])), f"r{at}")
        for at, (side, key, jitter) in enumerate(steps)
    ]
    return arrivals(events, draw(st.sampled_from([0, 1, 2.5, 40])))


def check(
    operator: Operator,
    reference: Callable[[list[Arrival], float], Said],
    arrived: list[Arrival],
    size: int,
) -> OperatorHarness:
    """Drive an operator in batches; compare behind each of them, and at the end."""
    harness = OperatorHarness(operator)
    worked: list[Arrival] = []
    for batch in batches(arrived, size):
        harness.process(*batch)
        worked += batch
        now = arrived[len(worked)].watermark if len(worked) < len(arrived) else batch[-1].watermark
        harness.advance(now)
        compare(harness, reference(worked, now))
    harness.finish()
    compare(harness, reference(arrived, END))
    return harness


def compare(harness: OperatorHarness, said: Said) -> None:
    assert Counter((r, t) for r, t, _ in harness.rows) == Counter(said.results)
    assert harness.late == said.late
    watermarks = [watermark for _, _, watermark in harness.rows]
    assert watermarks == sorted(watermarks)


def check_fates(harness: OperatorHarness, arrived: list[Arrival]) -> None:
    """Every record has one fate: in a result, late, or without output; none is held."""
    in_results = {record for pair in harness.results for record in pair} - {None}
    counts = harness.statistics
    assert counts.late == len(harness.late)
    assert counts.empty == len(arrived) - counts.late - len(in_results)
    assert harness.live.held == 0


@given(streams(), st.integers(-6, 6), st.integers(0, 8), HOW, SIZES)
def test_an_interval_join_gives_what_is_close(
    arrived: list[Arrival], lower: int, length: int, how: Any, size: int
) -> None:
    """Behind every batch: each close pair is given, and alone what nothing can be close to."""
    bounds = {"lower_s": lower / 2, "upper_s": (lower + length) / 2}
    harness = check(
        IntervalJoinOperator(None, **bounds, how=how),
        lambda worked, now: naive.interval_join(worked, now, **bounds, how=how),
        arrived,
        size,
    )
    check_fates(harness, arrived)
    assert all(time >= watermark for _, time, watermark in harness.rows)


@given(streams(), st.sampled_from(["inner", "left"]), SIZES)
def test_a_temporal_join_gives_the_version_of_the_time(
    arrived: list[Arrival], how: Any, size: int
) -> None:
    """Behind every batch: each record whose time is over met the version valid at its time."""
    harness = check(
        TemporalJoinOperator(None, how),
        lambda worked, now: naive.temporal_join(worked, now, how=how),
        arrived,
        size,
    )
    check_fates(harness, arrived)
    assert all(time >= watermark for _, time, watermark in harness.rows)
    times = [time for _, time, _ in harness.rows]
    assert times == sorted(times)


ASSIGNERS = st.one_of(
    st.builds(TumblingWindow, st.sampled_from([1, 4, 2.5]), offset_s=st.sampled_from([0, 1.5, -1])),
    st.builds(SlidingWindow, st.sampled_from([4, 5, 1]), st.sampled_from([1, 2, 3])),
    st.builds(SessionWindow, st.sampled_from([1, 2, 3.5])),
)


@given(streams(), ASSIGNERS, HOW, st.sampled_from([0, 1, 6]), SIZES)
def test_a_window_join_gives_the_pairs_of_each_window(
    arrived: list[Arrival], assigner: WindowAssigner, how: Any, lateness: float, size: int
) -> None:
    """Behind every batch: the pairs of each complete window, once, and alone what has none."""
    harness = check(
        WindowJoinOperator(None, assigner, how, lateness),
        lambda worked, now: naive.window_join(
            worked, now, assigner=assigner, how=how, allowed_lateness_s=lateness
        ),
        arrived,
        size,
    )
    check_fates(harness, arrived)


@given(streams(), st.sampled_from([0.5, 1, 3, 7.5]), SIZES)
def test_deduplication_passes_what_is_near_nothing_before(
    arrived: list[Arrival], within: float, size: int
) -> None:
    """A record passes unless one that passed before is near; what is forgotten changes nothing."""
    one_side = [
        Arrival(a.record, a.key, a.time_s, a.watermark) for a in arrived
    ]
    harness = check(
        DeduplicateWithinOperator(within),
        lambda worked, now: naive.deduplicate(worked, within_s=within),
        one_side,
        size,
    )
    counts = harness.statistics
    assert counts.filtered == len(arrived) - counts.late - len(harness.results)


@given(streams())
def test_deduplication_for_ever_passes_each_key_once(arrived: list[Arrival]) -> None:
    """Without a time only the first record of a key passes, and nothing is late."""
    harness = OperatorHarness(DeduplicateOperator())
    harness.process(*(Arrival(a.record, a.key, a.time_s, a.watermark) for a in arrived))
    firsts = {a.key: a.record for a in reversed(arrived)}
    assert sorted(harness.results) == sorted(firsts.values())
    assert harness.late == []
