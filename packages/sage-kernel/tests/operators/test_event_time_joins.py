"""Joins in event time, driven by hand: at every moment they have said what a naive join says."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
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
MANY = settings(max_examples=300, deadline=None)


@st.composite
def streams(draw: st.DrawFn) -> list[Arrival]:
    """Records of two sides as one split: disorder, ties, times below 0; some of them late."""
    steps = draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.sampled_from(KEYS), st.integers(-8, 8)), max_size=30
        )
    )
    drift, start = draw(st.sampled_from([0, 1, 3])), draw(st.integers(-20, 5))
    origin, unit = draw(st.sampled_from([(0, 1), (0, 2), (0, 10), (1_700_000_000, 2)]))
    events = [
        (side, key, origin + (start + drift * at + jitter) / unit, f"r{at}")
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
        now = batch[-1].watermark
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


@MANY
@given(streams(), st.integers(-6, 6), st.integers(0, 8), st.sampled_from([2, 10]), HOW, SIZES)
def test_an_interval_join_gives_what_is_close(
    arrived: list[Arrival], lower: int, length: int, unit: int, how: Any, size: int
) -> None:
    """Behind every batch: each close pair is given, and alone what nothing can be close to."""
    bounds = {"lower_s": lower / unit, "upper_s": (lower + length) / unit}
    harness = check(
        IntervalJoinOperator(None, **bounds, how=how),
        lambda worked, now: naive.interval_join(worked, now, **bounds, how=how),
        arrived,
        size,
    )
    check_fates(harness, arrived)
    assert all(time >= watermark for _, time, watermark in harness.rows)


@MANY
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


@pytest.mark.parametrize("bounds", [(-2.0, 3.0), (0, 0), (1, 1.5), (-9, -4.5), (-0.3, 0.1)])
def test_an_interval_join_finds_partners_among_many(bounds: tuple[float, float]) -> None:
    """A key with hundreds of records in a bucket is searched, not skipped."""
    chance = random.Random(7)
    times = [at / 40 + chance.randint(-20, 20) / 10 for at in range(600)]
    events = [(at % 2, "hot", time, at) for at, time in enumerate(times)]
    low, high = bounds
    check(
        IntervalJoinOperator(None, low, high, "full"),
        lambda worked, now: naive.interval_join(worked, now, lower_s=low, upper_s=high, how="full"),
        arrivals(events, 2.0),
        size=100,
    )


ASSIGNERS = st.one_of(
    st.builds(TumblingWindow, st.sampled_from([1, 4, 2.5]), offset_s=st.sampled_from([0, 1.5, -1])),
    st.builds(SlidingWindow, st.sampled_from([4, 5, 1]), st.sampled_from([1, 2, 3])),
    st.builds(SessionWindow, st.sampled_from([1, 2, 3.5])),
)


@MANY
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
    if how != "inner" or not lateness:
        assert all(time >= watermark for _, time, watermark in harness.rows)


@MANY
@given(streams(), st.sampled_from([0.5, 1, 3, 7.5]), SIZES)
def test_deduplication_passes_what_is_near_nothing_before(
    arrived: list[Arrival], within: float, size: int
) -> None:
    """A record passes unless one that passed before is near; what is forgotten changes nothing."""
    one_side = [Arrival(a.record, a.key, a.time_s, a.watermark) for a in arrived]
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


def join_function(how: Any = "full") -> IntervalJoinOperator:
    """A join whose function fails for some pairs and has nothing to say about others."""

    def join(left: Any, right: Any) -> Any:
        if "bad" in (left, right):
            raise ValueError("bad")
        return None if "dull" in (left, right) else (left, right)

    return IntervalJoinOperator(FunctionSpec(shapes.JOIN, join), -5, 5, how)


def test_a_pair_that_fails_leaves_no_trace_of_its_record() -> None:
    """A function that raises at the second of two pairs has emitted neither, and kept nothing."""
    harness = OperatorHarness(join_function("left"))
    harness.process(Arrival("a", "k", 1.0), Arrival("bad", "k", 2.0))
    with pytest.raises(ValueError, match="bad"):
        harness.process(Arrival("b", "k", 3.0, input_index=1))
    assert harness.results == []
    assert harness.live.held == 2
    harness.live.refuse = lambda record, error, attempts: None  # type: ignore[attr-defined]
    harness.finish()
    assert harness.results == [("a", None)]


def test_a_function_may_have_nothing_to_say() -> None:
    """A pair that becomes None is none, but its records have met: neither is given alone."""
    harness = OperatorHarness(join_function("full"))
    harness.process(Arrival("dull", "k", 1.0), Arrival("b", "k", 2.0, input_index=1))
    harness.process(Arrival("c", "k", 3.0))
    harness.finish()
    assert harness.results == [("c", "b")]
    assert harness.statistics.empty == 1


@pytest.mark.parametrize(
    "operator",
    [
        join_function("full"),
        TemporalJoinOperator(join_function().function, "left"),
        WindowJoinOperator(join_function().function, TumblingWindow(10), "full"),
    ],
)
def test_a_result_that_fails_when_time_goes_on_is_set_aside(operator: Operator) -> None:
    """A row that cannot be made when it is due goes to the error policy; the others come."""
    harness = OperatorHarness(operator)
    aside: list[Any] = []
    harness.live.refuse = lambda record, error, attempts: aside.append((record, str(error)))  # type: ignore[attr-defined]
    harness.process(Arrival("bad", "k", 1.0), Arrival("fine", "other", 2.0))
    harness.finish()
    assert harness.results == [("fine", None)]
    assert aside == [(("bad", None), "bad")]
    assert harness.live.held == 0


@pytest.mark.parametrize(("lower", "upper", "side"), [(-9, -3, 0), (3, 9, 1)])
def test_what_comes_after_all_its_partners_is_not_kept(
    lower: float, upper: float, side: int
) -> None:
    """A record that can only have partners in the past is joined with them and forgotten."""
    harness = OperatorHarness(IntervalJoinOperator(None, lower, upper))
    harness.process(Arrival("old", "k", 4.0, 4.0, input_index=1 - side))
    harness.process(Arrival("new", "k", 10.0, 10.0, input_index=side))
    assert harness.results == [("new", "old") if side == 0 else ("old", "new")]
    assert harness.live.held == 1
    harness.process(Arrival("newer", "k", 40.0, 40.0, input_index=side))
    assert harness.live.held == 0
    assert harness.statistics.empty == 1


@pytest.mark.parametrize(("left", "right"), [(2.0, -1e-118), (-1e-118, 3.5), (2.0, 0.0)])
@pytest.mark.parametrize("first", [0, 1])
def test_a_difference_that_is_rounded_into_the_interval_is_in_it(
    left: float, right: float, first: int
) -> None:
    """What is a hair outside, as floats subtract, is found whichever side comes first."""
    harness = OperatorHarness(IntervalJoinOperator(None, -2, 3.5))
    sides = [Arrival("left", "k", left), Arrival("right", "k", right, input_index=1)]
    harness.process(sides[first], sides[1 - first])
    assert harness.results == [("left", "right")]


def test_a_time_is_over_as_soon_as_floats_say_so() -> None:
    """At the watermark from which on no difference is small enough, not one later."""
    harness = OperatorHarness(IntervalJoinOperator(None, -1, -1, "left"))
    harness.process(Arrival("old", "k", -0.9, -3.0), Arrival("new", "k", 0.6, -1.9))
    harness.advance(-1.9)  # -1.9 - -0.9 is a little more than -1
    assert harness.results == [("old", None)]


@pytest.mark.parametrize("lower", [-1.0, 0.0])
def test_an_interval_join_forgets_what_is_over(lower: float) -> None:
    """However long it runs, it keeps what may still match, and as much again at most."""
    harness = OperatorHarness(IntervalJoinOperator(None, lower, 1.0))
    most = 0
    for second in range(2000):
        for side in (0, 1):
            harness.process(Arrival(second, second % 50, second / 10, second / 10, side))
        most = max(most, harness.live.held)
    assert most < 150


def test_a_join_of_bounded_size_refuses_one_record_more() -> None:
    """``max_rows`` is an error before the record is kept or joined; what goes makes room."""
    harness = OperatorHarness(IntervalJoinOperator(None, -1, 1, max_rows=2))
    harness.process(Arrival("a", 1, 0.0), Arrival("b", 2, 0.0))
    with pytest.raises(MemoryError, match="max_rows"):
        harness.process(Arrival("c", 1, 0.0, input_index=1))
    assert harness.results == []
    harness.process(Arrival("d", 1, 50.0, 50.0, input_index=1))
    assert harness.live.held == 1


def test_versions_go_when_newer_ones_come() -> None:
    """A key that changes all the time keeps the version that is valid and those ahead of it."""
    harness = OperatorHarness(TemporalJoinOperator())
    for second in range(100):
        harness.process(Arrival(second, "k", second, second - 5, input_index=1))
        assert harness.live.held <= 7


def test_deduplication_forgets() -> None:
    """What it keeps does not grow with time."""
    harness = OperatorHarness(DeduplicateWithinOperator(1.0))
    for second in range(100):
        harness.process(Arrival(second, second, second, second - 2))
    assert sum(map(len, harness.live._buckets.values())) <= 6  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("lower", "upper"),
    [(5, 4), (math.nan, 1), (0, math.inf), (-math.inf, 0), ("1", 2), (None, 2), (True, 2)],
)
def test_an_interval_is_checked_when_it_is_made(lower: Any, upper: Any) -> None:
    """Bounds that are no numbers, not finite, or the wrong way round are refused at build."""
    with pytest.raises(GraphError, match="interval_join"):
        IntervalJoinOperator(None, lower, upper)


@pytest.mark.parametrize("within", [0, -1, math.inf, math.nan, "1", True])
def test_the_time_of_a_duplicate_is_checked_when_it_is_made(within: Any) -> None:
    """A time that is none, or not above 0, is refused at build."""
    with pytest.raises(GraphError, match="deduplicate"):
        DeduplicateWithinOperator(within)


def test_ways_to_join_are_checked_when_they_are_named() -> None:
    """An unknown way, windows without an end, a negative lateness: refused at build, with why."""
    with pytest.raises(GraphError, match="inner, left, right or full, got 'outer'"):
        IntervalJoinOperator(None, 0, 1, "outer")  # type: ignore[arg-type]
    with pytest.raises(GraphError, match="never given alone"):
        TemporalJoinOperator(None, "full")  # type: ignore[arg-type]
    with pytest.raises(GraphError, match="GlobalWindow"):
        WindowJoinOperator(None, GlobalWindow())
    with pytest.raises(GraphError, match="allowed_lateness_s"):
        WindowJoinOperator(None, TumblingWindow(1), allowed_lateness_s=-1)
