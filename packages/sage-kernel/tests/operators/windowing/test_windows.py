"""Every kind of window under every trigger gives what the naive reference gives, in its order."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from itertools import groupby
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sage.kernel import (
    AfterCount,
    AfterProcessingTime,
    AfterWatermark,
    AggregateFunction,
    CountWindow,
    GlobalWindow,
    SessionWindow,
    SlidingWindow,
    TumblingWindow,
    Window,
)
from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.windowing import Trigger, WindowAssigner
from sage.kernel.operators.windowing.folds import LiveFoldedWindows
from sage.kernel.operators.windowing.window import (
    AGGREGATE,
    EMIT,
    PROCESS_WINDOW,
    REDUCE,
    TOP,
    ContentSpec,
    WindowOperator,
)
from sage.kernel.testing import ManualClock
from sage.kernel.testing.operator_harness import Arrival, OperatorHarness
from sage.kernel.testing.windows_reference import ClockMoves, ExpectedPane, windows_of

KEYS = ["", "a", 0, ("a", 0)]
TIMES = st.one_of(
    st.integers(-30, 60),
    st.floats(-30, 60, allow_nan=False),
    st.sampled_from([0, -0.0, 0.1, 0.2, 0.30000000000000004, 5, 10.0, 15.000000000000002]),
)
SECONDS = st.one_of(st.integers(1, 20), st.sampled_from([0.1, 0.3, 2.5, 7.0]))
OFFSETS = st.sampled_from([0, 0, 3, -4, 0.5, -17.25])
REPEATED = st.one_of(
    st.builds(AfterCount, st.integers(1, 4)),
    st.builds(AfterProcessingTime, st.sampled_from([1, 2.5])),
)
ASSIGNERS: dict[str, st.SearchStrategy[WindowAssigner]] = {
    "tumbling": st.builds(TumblingWindow, SECONDS, OFFSETS),
    "sliding": st.builds(SlidingWindow, SECONDS, SECONDS, OFFSETS).filter(
        lambda w: w.size_s / w.slide_s <= 20
    ),
    "session": st.builds(SessionWindow, SECONDS),
    "global": st.just(GlobalWindow()),
    "count": st.builds(CountWindow, st.integers(1, 5)),
}


@st.composite
def inputs(draw: st.DrawFn) -> list[Arrival | ClockMoves]:
    """Records out of order, late, at equal times and of odd keys, as one split brings them."""
    bound = draw(st.sampled_from([0, 1, 5, 30]))
    step_s = draw(st.sampled_from([0, 1, 4]))
    events: list[Arrival | ClockMoves] = []
    highest = -math.inf
    for number in range(draw(st.integers(0, 25))):
        if draw(st.integers(0, 7)) == 0:
            events.append(ClockMoves(draw(st.sampled_from([0.5, 1, 3]))))
        time_s = draw(TIMES) + number * step_s
        key = draw(st.sampled_from(KEYS))
        events.append(Arrival(number, key, time_s, highest - bound))
        highest = max(highest, time_s)
    return events


def triggers(assigner: WindowAssigner) -> st.SearchStrategy[Trigger | None]:
    if isinstance(assigner, CountWindow):
        return st.none()
    mixed = st.builds(
        AfterWatermark, st.one_of(st.none(), REPEATED), st.one_of(st.none(), REPEATED)
    )
    return st.one_of(st.none(), REPEATED, mixed)


def tell(key: Any, records: Any, ctx: Any) -> list[Any]:
    """Say everything that a window function can see."""
    return [(key, ctx.window.start_s, ctx.window.end_s, list(records), ctx.pane)]


def told(pane: ExpectedPane) -> Any:
    return (pane.key, pane.start_s, pane.end_s, pane.records, pane.pane)


def run(harness: OperatorHarness, clock: ManualClock, events: list[Any], parts: list[int]) -> None:
    """Bring the events, the records between two moves of the clock in batches of drawn sizes."""
    batch: list[Arrival] = []
    sizes = iter(parts)
    size = next(sizes, 1)
    for one in [*events, ClockMoves(0)]:
        if isinstance(one, Arrival):
            batch.append(one)
        if len(batch) >= size or isinstance(one, ClockMoves):
            harness.process(*batch)
            batch, size = [], next(sizes, 1)
        if isinstance(one, ClockMoves):
            clock.advance(one.by_s)
            if harness.live.due_s is not None and harness.live.due_s <= clock():
                assert not list(harness.live.on_due())
    harness.finish()


@pytest.mark.parametrize("kind", ASSIGNERS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_windows_give_what_the_reference_gives(kind: str, data: st.DataObject) -> None:
    """Firings with their order, records, panes and times are exact, and so is what is late."""
    assigner = data.draw(ASSIGNERS[kind], "assigner")
    trigger = data.draw(triggers(assigner), "trigger")
    endless = isinstance(assigner, GlobalWindow | CountWindow)
    lateness_s = 0 if endless else data.draw(st.sampled_from([0, 0, 3, 12.5]), "lateness")
    mode: Any = data.draw(st.sampled_from(["accumulating", "discarding"]), "mode")
    events = data.draw(inputs(), "events")
    expected = windows_of(
        events, assigner, trigger=trigger, allowed_lateness_s=lateness_s, mode=mode
    )
    spec = ContentSpec("process", FunctionSpec(PROCESS_WINDOW, tell))
    harness = OperatorHarness(
        WindowOperator(assigner, spec, trigger or AfterWatermark(), lateness_s, mode)
    )
    harness.live.clock = clock = ManualClock()
    run(harness, clock, events, data.draw(st.lists(st.integers(1, 9), max_size=9), "batches"))
    event(f"late records: {min(len(expected.late), 3)}")
    event(f"late panes: {min(3, sum(p.pane.timing == 'late' for p in expected.panes))}")
    assert harness.results == [told(pane) for pane in expected.panes]
    assert [time_s for _, time_s, _ in harness.rows] == [pane.time_s for pane in expected.panes]
    assert harness.late == expected.late
    assert harness.statistics.no_output == len(expected.between)
    assert harness.live.held == 0


class Total(AggregateFunction[int, list[int], tuple[int, int]]):
    """Sum and number, in an accumulator that is changed in place."""

    def create(self) -> list[int]:
        return [0, 0]

    def add(self, acc: list[int], record: int) -> list[int]:
        acc[0] += record
        acc[1] += 1
        return acc

    def result(self, acc: list[int]) -> tuple[int, int]:
        return (acc[0], acc[1])

    def merge(self, a: list[int], b: list[int]) -> list[int]:
        a[0] += b[0]
        a[1] += b[1]
        return a


class Kept(AggregateFunction[int, list[int], list[int]]):
    """Gives its accumulator away as the result, and merges in place."""

    def create(self) -> list[int]:
        return []

    def add(self, acc: list[int], record: int) -> list[int]:
        acc.append(record)
        return acc

    def result(self, acc: list[int]) -> list[int]:
        return acc

    def merge(self, a: list[int], b: list[int]) -> list[int]:
        if not a:
            return b
        a.extend(b)
        return a


def emitted(key: Any, window: Window, value: Any) -> Any:
    return (key, window.start_s, window.end_s, value)


def largest(records: list[int], by: Callable[[int], int]) -> list[int]:
    # Records are numbered as they come, and a sort keeps the order of equal ones.
    return sorted(sorted(records), key=by, reverse=True)[:2]


def by_window(results: list[Any]) -> list[Any]:
    """Return results in their order, but for the keys of one window: that order is nobody's."""
    groups = groupby(results, key=lambda result: (result[1], result[2]))
    return [(window, sorted(group, key=lambda result: repr(result[0]))) for window, group in groups]


def ordered(results: list[Any]) -> list[Any]:
    """Return results with lists of records in order: merging puts the earlier slice first."""
    return [
        (key, start_s, end_s, sorted(value) if isinstance(value, list) else value)
        for key, start_s, end_s, value in results
    ]


EMIT_ALL = FunctionSpec(EMIT, emitted)
VERBS: dict[str, tuple[ContentSpec, Callable[[list[int]], Any]]] = {
    "reduce": (
        ContentSpec("reduce", FunctionSpec(REDUCE, lambda a, b: a + b), EMIT_ALL),
        sum,
    ),
    "aggregate": (
        ContentSpec("aggregate", FunctionSpec(AGGREGATE, Total), EMIT_ALL),
        lambda records: (sum(records), len(records)),
    ),
    "kept": (ContentSpec("aggregate", FunctionSpec(AGGREGATE, Kept), EMIT_ALL), sorted),
    "count": (ContentSpec("count", emit=EMIT_ALL), len),
    "top": (
        ContentSpec("top", FunctionSpec(TOP, lambda record: record % 3), EMIT_ALL, count=2),
        lambda records: largest(records, lambda record: record % 3),
    ),
}


@pytest.mark.parametrize("verb", VERBS)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_verbs_give_what_a_list_of_the_records_gives(verb: str, data: st.DataObject) -> None:
    """Reduce, aggregate, count and top say of a window what its records say when kept."""
    assigner = data.draw(st.one_of(*ASSIGNERS.values()), "assigner")
    trigger = data.draw(st.one_of(st.none(), triggers(assigner)), "trigger")
    endless = isinstance(assigner, GlobalWindow | CountWindow)
    lateness_s = 0 if endless else data.draw(st.sampled_from([0, 0, 5]), "lateness")
    mode: Any = data.draw(st.sampled_from(["accumulating", "discarding"]), "mode")
    events = data.draw(inputs(), "events")
    expected = windows_of(
        events, assigner, trigger=trigger, allowed_lateness_s=lateness_s, mode=mode
    )
    spec, of_list = VERBS[verb]
    harness = OperatorHarness(
        WindowOperator(assigner, spec, trigger or AfterWatermark(), lateness_s, mode)
    )
    harness.live.clock = clock = ManualClock()
    run(harness, clock, events, data.draw(st.lists(st.integers(1, 9), max_size=9), "batches"))
    panes = [(p.key, p.start_s, p.end_s, of_list(p.records)) for p in expected.panes]
    results = harness.results if verb == "top" else ordered(harness.results)
    assert by_window(results) == by_window(panes)
    assert harness.late == expected.late
    assert harness.live.held == 0


@pytest.mark.parametrize("verb", ["reduce", "aggregate", "kept", "count"])
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_folding_in_the_loop_changes_nothing(verb: str, data: st.DataObject) -> None:
    """Windows that fire once are folded as records come, and give what others give."""
    slide_s, steps = data.draw(SECONDS, "slide"), data.draw(st.integers(1, 6), "steps")
    offset_s = data.draw(OFFSETS, "offset")
    assigner: WindowAssigner = SlidingWindow(slide_s * steps, slide_s, offset_s)
    if data.draw(st.booleans(), "sessions"):
        assigner = SessionWindow(slide_s)
    events = [e for e in data.draw(inputs(), "events") if isinstance(e, Arrival)]
    expected = windows_of(events, assigner)
    spec, of_list = VERBS[verb]
    harness = OperatorHarness(WindowOperator(assigner, spec))
    sizes = data.draw(st.lists(st.integers(1, 9), max_size=9), "batches")
    run(harness, ManualClock(), events, sizes)
    event(f"folded in the loop: {isinstance(harness.live, LiveFoldedWindows)}")
    panes = [(p.key, p.start_s, p.end_s, of_list(p.records)) for p in expected.panes]
    assert by_window(ordered(harness.results)) == by_window(panes)
    assert harness.late == expected.late
    assert harness.live.held == 0


class _Weighty:
    """A record of which a test can tell how many are still there."""


@pytest.mark.parametrize(
    "trigger", [None, AfterProcessingTime(60)], ids=["on time", "by the clock"]
)
@pytest.mark.parametrize(
    "assigner", [TumblingWindow(1), SessionWindow(1)], ids=["tumbling", "session"]
)
def test_windows_that_are_over_keep_no_records(
    assigner: WindowAssigner, trigger: Trigger | None
) -> None:
    """What event time has closed is let go, also where the clock would have fired it much later."""
    spec = ContentSpec("process", FunctionSpec(PROCESS_WINDOW, lambda key, records, ctx: []))
    harness = OperatorHarness(WindowOperator(assigner, spec, AfterWatermark(early=trigger)))
    harness.live.clock = ManualClock()
    there: weakref.WeakSet[_Weighty] = weakref.WeakSet()
    for number in range(1000):
        record = _Weighty()
        there.add(record)
        harness.process(Arrival(record, number, 2 * number, 2 * number))
        del record
    assert harness.live.held == 1
    assert len(there) < 100
    harness.advance(5000)
    assert harness.live.held == 0
    assert len(there) < 100


def test_a_window_whose_only_record_was_refused_ends_like_any_other() -> None:
    """A record behind its end is late, and does not open it again."""

    spec = ContentSpec("top", FunctionSpec(TOP, lambda record: -record), count=1)
    harness = OperatorHarness(WindowOperator(TumblingWindow(10), spec))
    with pytest.raises(TypeError):
        harness.process(Arrival("no number", "k", 5, 5))
    harness.process(Arrival(1, "k", 6, 12))
    harness.finish()
    assert (harness.results, harness.late) == ([], [1])


def test_a_record_where_division_is_rounded_is_in_the_window_that_has_it() -> None:
    """0.5 // 0.1 is 4.0, and yet 0.5 is the start of a window, whatever came before it."""
    spec = ContentSpec("count", emit=FunctionSpec(EMIT, lambda key, window, n: (window, n)))
    harness = OperatorHarness(WindowOperator(TumblingWindow(0.1), spec))
    for time_s in (0.45, 0.15, 0.25, 0.5):
        harness.process(Arrival(None, "k", time_s))
    harness.finish()
    assert [n for _, n in harness.results] == [1, 1, 1, 1]
    assert 0.5 in harness.results[-1][0]
