"""Every stateful operator goes on from its snapshot as if nothing had happened."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
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
)
from sage.kernel.checkpoint.operator_state import RestoredState
from sage.kernel.errors import StateCodecError
from sage.kernel.operators.assign_timestamps import (
    TIMESTAMP,
    AssignTimestampsOperator,
    ProcessingTimeOperator,
)
from sage.kernel.operators.deduplicate import DeduplicateOperator, DeduplicateWithinOperator
from sage.kernel.operators.function_spec import JOIN, FunctionSpec
from sage.kernel.operators.gather import GatherOperator
from sage.kernel.operators.interval_join import IntervalJoinOperator
from sage.kernel.operators.join import JoinOperator
from sage.kernel.operators.map_batches import MAP_BATCHES, MapBatchesOperator
from sage.kernel.operators.operator import Operator
from sage.kernel.operators.temporal_join import TemporalJoinOperator
from sage.kernel.operators.window_join import WindowJoinOperator
from sage.kernel.operators.windowing.folds import LiveFoldedWindows
from sage.kernel.operators.windowing.window import (
    AGGREGATE,
    APPLY,
    EMIT,
    PROCESS_WINDOW,
    REDUCE,
    TOP,
    ContentSpec,
    WindowOperator,
)
from sage.kernel.state.codec import StateCodec
from sage.kernel.testing import ManualClock
from sage.kernel.testing.operator_harness import Arrival, OperatorHarness
from sage.kernel.testing.operator_snapshots import (
    Owner,
    Script,
    check_rescaled,
    check_restored,
    subtask_of_key,
)
from sage.kernel.testing.windows_reference import ClockMoves

KEYS = ["", "a", 0, ("a", 0), "b", 7]
OFTEN = settings(max_examples=100, deadline=None)
RECORDS = {
    "int": lambda n: n,
    "tuple": lambda n: ("r", n),
    "dict": lambda n: {"n": n},
    "list": lambda n: ["r", n],
}


def number_of(record: Any) -> int:
    """Return the number of a record, whatever it is made of; nothing for what has been changed."""
    if isinstance(record, dict):
        return int(record["n"])
    return int(record[1]) if isinstance(record, tuple | list) else int(record)


@st.composite
def scripts(draw: st.DrawFn, inputs: int = 1) -> Script:
    """Batches of records out of order, late and at equal times, and moves of the clock."""
    bound, step_s = draw(st.sampled_from([0, 1, 5, 30])), draw(st.sampled_from([0, 1, 3]))
    made = RECORDS[draw(st.sampled_from(sorted(RECORDS)))]
    highest, number = -math.inf, 0
    script: list[Any] = []
    for _ in range(draw(st.integers(1, 7))):
        if draw(st.booleans()):
            script.append(ClockMoves(draw(st.sampled_from([0.5, 1, 3]))))
        batch = []
        for _ in range(draw(st.integers(1, 5))):
            time_s = draw(st.integers(-20, 30)) / 2 + number * step_s
            side, key = draw(st.integers(0, inputs - 1)), draw(st.sampled_from(KEYS))
            highest, number = max(highest, time_s), number + 1
            batch.append(Arrival(made(number), key, time_s, highest - bound, side))
        script.append(batch)
    return script


@st.composite
def scripts_by_clock(draw: st.DrawFn) -> Script:
    """Records whose time is the clock's."""
    now, script = 0.0, []
    for number in range(draw(st.integers(1, 12))):
        keys = draw(st.lists(st.sampled_from(KEYS), max_size=3))
        if keys:
            script.append([Arrival({"n": number}, key, now, now) for key in keys])
        script.append(ClockMoves(draw(st.sampled_from([0.0, 0.5, 1, 3]))))
        now += script[-1].by_s
    return script


class Total(AggregateFunction[Any, Any, Any]):
    """Sum and number, in a tuple."""

    def create(self) -> Any:
        return (0, 0)

    def add(self, acc: Any, record: Any) -> Any:
        return (acc[0] + number_of(record), acc[1] + 1)

    def result(self, acc: Any) -> Any:
        return acc

    def merge(self, a: Any, b: Any) -> Any:
        return (a[0] + b[0], a[1] + b[1])


class Kept(AggregateFunction[Any, Any, Any]):
    """All records, in a list that is changed in place and given away as the result."""

    def create(self) -> Any:
        return []

    def add(self, acc: Any, record: Any) -> Any:
        acc.append(record)
        return acc

    def result(self, acc: Any) -> Any:
        return acc

    def merge(self, a: Any, b: Any) -> Any:
        a.extend(b)
        return a


class Mean(AggregateFunction[Any, Any, Any]):
    """A sum of floats, which depends on the order in which it is added up."""

    def create(self) -> Any:
        return 0.0

    def add(self, acc: Any, record: Any) -> Any:
        return acc + number_of(record) / 3.7

    def result(self, acc: Any) -> Any:
        return acc

    def merge(self, a: Any, b: Any) -> Any:
        return a + b


def tell(key: Any, records: Any, ctx: Any) -> list[Any]:
    """Say what a window function can see, but for what depends on where batches end."""
    pane, window = ctx.pane, ctx.window
    return [(key, window.start_s, window.end_s, list(records), pane.timing, pane.index)]


def tell_all(key: Any, window: Any, records: Any) -> list[Any]:
    return [(key, window.start_s, window.end_s, list(records))]


def emit(key: Any, window: Any, value: Any) -> Any:
    return (key, window.start_s, window.end_s, value)


EMITTED = FunctionSpec(EMIT, emit)
CONTENTS = {
    "count": ContentSpec("count", None, EMITTED),
    "reduce": ContentSpec("reduce", FunctionSpec(REDUCE, lambda a, b: max(a, b, key=number_of))),
    "total": ContentSpec("aggregate", FunctionSpec(AGGREGATE, Total), EMITTED),
    "mean": ContentSpec("aggregate", FunctionSpec(AGGREGATE, Mean), EMITTED),
    "kept": ContentSpec("aggregate", FunctionSpec(AGGREGATE, Kept), EMITTED),
    "top": ContentSpec("top", FunctionSpec(TOP, lambda r: number_of(r) % 3), EMITTED, count=2),
    "process": ContentSpec("process", FunctionSpec(PROCESS_WINDOW, tell)),
    "apply": ContentSpec("apply", FunctionSpec(APPLY, tell_all)),
}
ASSIGNERS = {
    "tumbling": st.builds(TumblingWindow, st.sampled_from([1, 2.5, 7]), st.sampled_from([0, -4])),
    "sliding": st.builds(SlidingWindow, st.sampled_from([4, 6, 5]), st.sampled_from([1, 2, 9])),
    "session": st.builds(SessionWindow, st.sampled_from([1, 2.5])),
    "global": st.just(GlobalWindow()),
    "count": st.builds(CountWindow, st.integers(1, 3)),
}
REPEATED = st.one_of(
    st.builds(AfterCount, st.integers(1, 3)),
    st.builds(AfterProcessingTime, st.sampled_from([1, 2.5])),
)
MAYBE = st.one_of(st.none(), REPEATED)
SPEAKING = st.one_of(REPEATED, st.builds(AfterWatermark, MAYBE, MAYBE))


@st.composite
def folded_windows(draw: st.DrawFn, kind: str) -> WindowOperator:
    """Windows that fire once, folded as records come."""
    contents = ["count", "total", "kept"] + ["reduce"] * (kind != "sliding")
    spec = CONTENTS[draw(st.sampled_from(contents))]
    assigner = draw(
        ASSIGNERS[kind].filter(lambda a: getattr(a, "steps", 1))  # a slide that divides the size
    )
    return WindowOperator(assigner, spec)


@st.composite
def windows(draw: st.DrawFn, kind: str) -> WindowOperator:
    """Windows of any content, trigger, lateness, mode and time."""
    content = draw(st.sampled_from(sorted({*CONTENTS} - {"mean"})))
    assigner, spec = draw(ASSIGNERS[kind]), CONTENTS[content]
    if kind == "count":
        return WindowOperator(assigner, spec)
    lateness = draw(st.sampled_from([0.0, 3.0, 12.5])) if kind != "global" else 0.0
    mode = draw(st.sampled_from(["accumulating", "discarding"]))
    return WindowOperator(assigner, spec, draw(SPEAKING), lateness, mode)


class Rising:
    """A generator of watermarks that counts its records, in attributes of both kinds."""

    __slots__ = ("__dict__", "seen")

    def __init__(self) -> None:
        self.seen = 0
        self.highest = [-math.inf]

    def on_event(self, record: Any, timestamp_s: float) -> float | None:
        self.seen += 1
        self.highest[0] = max(self.highest[0], timestamp_s)
        return self.highest[0] - 2 if self.seen % 3 == 0 else None


class Telling(Rising):
    """The same, with a snapshot of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.unstorable = object()

    def snapshot_state(self) -> Any:
        return (self.seen, self.highest)

    def restore_state(self, state: Any) -> None:
        self.seen, self.highest = state


def time_of(record: Any) -> float:
    """Return a time that follows from the number of a record, out of order."""
    return number_of(record) * 17 % 40 / 2 + number_of(record)


def numbers(batch: list[Any]) -> list[Any]:
    """Return the numbers of no more than three records, but none for every fifth."""
    assert len(batch) <= 3
    return [n if (n := number_of(record)) % 5 else None for record in batch]


HOW = st.sampled_from(["inner", "left", "right", "full"])
FUNCTION = st.sampled_from(
    [None, FunctionSpec(JOIN, lambda a, b: (a, b) if a is None or b is None else [a, b])]
)
INTERVALS = st.tuples(st.integers(-6, 6), st.integers(0, 8)).map(
    lambda pair: {"lower_s": pair[0] / 2, "upper_s": (pair[0] + pair[1]) / 2}
)
SPANS = st.one_of(ASSIGNERS["tumbling"], ASSIGNERS["sliding"], ASSIGNERS["session"])


@dataclass(frozen=True)
class Case:
    """Operators of one kind.

    Attributes:
        operators: They.
        inputs: How many inputs they have.
        scripts: What comes, if it is not as usual.
        owner: Says which subtask a record goes to; None where results depend on who else is there.
    """

    operators: st.SearchStrategy[Operator]
    inputs: int = 1
    scripts: st.SearchStrategy[Script] | None = None
    owner: Owner | None = subtask_of_key

    def script(self) -> st.SearchStrategy[Script]:
        """Return what comes."""
        return self.scripts if self.scripts is not None else scripts(self.inputs)


CASES = {
    **{f"folded {k}": Case(folded_windows(k)) for k in ("tumbling", "sliding", "session")},
    **{f"{kind} windows": Case(windows(kind)) for kind in ASSIGNERS},
    # How slices are put together depends on how many keys there are, and rounding on that.
    "means in sliding windows": Case(
        st.builds(
            WindowOperator,
            st.builds(SlidingWindow, st.sampled_from([4, 6]), st.sampled_from([1, 2])),
            st.just(CONTENTS["mean"]),
        ),
        owner=None,
    ),
    "top of windows": Case(
        st.builds(
            WindowOperator,
            st.one_of(ASSIGNERS["tumbling"], ASSIGNERS["global"]),
            st.just(CONTENTS["top"]),
        )
    ),
    "windows by the clock": Case(
        st.builds(
            lambda kind, content, trigger, mode: WindowOperator(
                kind, CONTENTS[content], trigger, mode=mode, time="processing"
            ),
            st.one_of(ASSIGNERS["tumbling"], ASSIGNERS["sliding"], ASSIGNERS["session"]),
            st.sampled_from(sorted({*CONTENTS} - {"mean"})),
            SPEAKING,
            st.sampled_from(["accumulating", "discarding"]),
        ),
        scripts=scripts_by_clock(),
    ),
    "interval join": Case(
        st.builds(
            lambda function, bounds, how, most: IntervalJoinOperator(
                function, **bounds, how=how, max_rows=most
            ),
            FUNCTION,
            INTERVALS,
            HOW,
            st.sampled_from([None, 1000]),
        ),
        inputs=2,
    ),
    "temporal join": Case(
        st.builds(TemporalJoinOperator, FUNCTION, st.sampled_from(["inner", "left"])), inputs=2
    ),
    "window join": Case(
        st.builds(WindowJoinOperator, FUNCTION, SPANS, HOW, st.sampled_from([0.0, 1.0, 6.0])),
        inputs=2,
    ),
    "join": Case(
        st.builds(JoinOperator, FUNCTION, HOW, st.sampled_from([None, 1.5, 4.0])), inputs=2
    ),
    "deduplicate": Case(st.just(DeduplicateOperator())),
    "deduplicate within": Case(st.builds(DeduplicateWithinOperator, st.sampled_from([1, 2.5, 9]))),
    "timestamps": Case(
        st.builds(
            lambda bound, generator: AssignTimestampsOperator(
                FunctionSpec(TIMESTAMP, time_of), bound, None, generator
            ),
            st.sampled_from([0, 2.5]),
            st.sampled_from([None, Rising, Rising(), Telling]),
        ),
        owner=None,
    ),
    "processing time": Case(st.just(ProcessingTimeOperator()), owner=None),
    "map_batches": Case(
        st.builds(
            MapBatchesOperator,
            st.just(FunctionSpec(MAP_BATCHES, numbers)),
            st.integers(2, 3),
            st.sampled_from([None, 1000, 5000]),
        ),
        owner=lambda arrival, parallelism: number_of(arrival.record) % parallelism,
    ),
    "gather": Case(st.builds(GatherOperator, st.integers(1, 4), st.sampled_from([None, 1.0, 4.0]))),
}


@pytest.mark.parametrize("case", CASES)
@OFTEN
@given(data=st.data())
def test_it_goes_on_as_if_nothing_had_happened(case: str, data: st.DataObject) -> None:
    """Results, their times and order, what is late, held and counted: the same behind a restore."""
    operator = data.draw(CASES[case].operators, "operator")
    script = data.draw(CASES[case].script(), "script")
    check_restored(operator, script, data.draw(st.integers(1, len(script)), "cut"))


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if case.owner])
@OFTEN
@given(data=st.data())
def test_other_subtasks_may_take_its_state_over(case: str, data: st.DataObject) -> None:
    """Three subtasks go on where one was, and two where three were, with the same results."""
    operator = data.draw(CASES[case].operators, "operator")
    script = data.draw(CASES[case].script(), "script")
    before, after = data.draw(st.sampled_from([(1, 3), (3, 2)]), "parallelism")
    cut = data.draw(st.integers(1, len(script)), "cut")
    owner = CASES[case].owner
    assert owner is not None
    check_rescaled(operator, script, cut, before=before, after=after, owner=owner)


@pytest.mark.parametrize("kind", ["tumbling", "sliding", "session"])
def test_the_fast_path_is_among_them(kind: str) -> None:
    """What is checked as folded is folded."""

    @settings(max_examples=20, deadline=None)
    @given(folded_windows(kind))
    def is_folded(operator: WindowOperator) -> None:
        assert isinstance(operator.live(), LiveFoldedWindows)

    is_folded()


def restored(operator: Operator, old: OperatorHarness, *, subtasks: int = 1) -> OperatorHarness:
    """Return a new subtask that was given what an old one remembered."""
    parts = [list(old.snapshot().sections())] * subtasks
    new = OperatorHarness(operator, ManualClock(100.0))
    new.live.restore(RestoredState(StateCodec(), 0, 1, subtasks, parts))
    return new


def test_silence_is_counted_anew() -> None:
    """An input that was idle stays so; of one that was not, nobody gave up while it was down."""
    operator = AssignTimestampsOperator(FunctionSpec(TIMESTAMP, time_of), idle_timeout_s=5)
    old = OperatorHarness(operator, ManualClock(0.0))
    old.process(Arrival(1, "k", 0.0))
    assert old.live.due_s == 5.0
    new = OperatorHarness(operator, ManualClock(100.0))
    new.live.open(None)
    new.live.restore(RestoredState.of(old.snapshot()))
    assert new.live.due_s == 105.0
    assert not new.live.is_idle(False)
    list(old.live.on_due())
    assert restored(operator, old).live.is_idle(False)


def test_a_generator_that_cannot_be_stored_is_named() -> None:
    """Its watermarks would be forgotten without a word; the error says what to define."""

    class Locked(Rising):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

    operator = AssignTimestampsOperator(FunctionSpec(TIMESTAMP, time_of), generator=Locked)
    with pytest.raises(StateCodecError, match="generator Locked has a value of type lock"):
        OperatorHarness(operator).snapshot()


def test_among_other_subtasks_time_begins_where_the_last_one_was() -> None:
    """No record of any split is late by that; a generator begins anew and does not turn back."""
    operator = AssignTimestampsOperator(FunctionSpec(TIMESTAMP, time_of), 0, None, Rising)
    parts = []
    for count in (3, 6):
        old = OperatorHarness(operator)
        old.process(*(Arrival(number, "k", 0.0) for number in range(count)))
        parts.append(list(old.snapshot().sections()))
    new = OperatorHarness(operator)
    live: Any = new.live
    live.restore(RestoredState(StateCodec(), 0, 1, 2, parts))
    first = OperatorHarness(operator)
    first.process(*(Arrival(number, "k", 0.0) for number in range(3)))
    assert new.live.forwarded(0.0) == first.live.forwarded(0.0)
    assert live.generator.seen == 0


def test_a_generator_has_its_snapshot_apart() -> None:
    """What it remembers in a list is as it was, though it has gone on since."""
    operator = AssignTimestampsOperator(FunctionSpec(TIMESTAMP, time_of), 0, None, Rising)
    old = OperatorHarness(operator)
    old.process(Arrival(1, "k", 0.0))
    state = old.snapshot()
    old.process(Arrival(30, "k", 0.0))
    new = OperatorHarness(operator)
    live: Any = new.live
    live.restore(RestoredState.of(state))
    assert (live.generator.seen, live.generator.highest) == (1, [time_of(1)])


def test_lists_that_came_together_are_worked_off_at_once() -> None:
    """Where one subtask takes over the buffers of many, no list is longer than it may be."""
    operator = MapBatchesOperator(FunctionSpec(MAP_BATCHES, numbers), 3)
    old = OperatorHarness(operator)
    old.process(Arrival(1, "k", 0.0), Arrival(2, "k", 0.0))
    new = restored(operator, old, subtasks=4)
    assert new.live.held == 8
    new.tick()
    assert new.results == [1, 2, 1, 2, 1, 2]
    assert new.live.due_s is None
    new.finish()
    assert new.results == [1, 2, 1, 2, 1, 2, 1, 2]


def test_rows_expire_in_the_order_of_their_ages() -> None:
    """Also when the oldest is not the first of its side."""
    clock = ManualClock(0.0)
    operator = JoinOperator(None, "full", 10.0)
    old = OperatorHarness(operator, clock)
    for side, key in ((1, "a"), (0, "b"), (1, "b"), (0, "a")):
        old.process(Arrival(f"{side}{key}", key + str(side), 0.0, 0.0, side))
        clock.advance(1.0)
    new = restored(operator, old)
    assert new.live.due_s == 10.0
    new.tick()
    assert new.results == [(None, "1a"), ("0b", None), (None, "1b"), ("0a", None)]


def test_sessions_that_end_together_come_in_the_order_in_which_they_began() -> None:
    """Also when a key has had another session before."""
    operator = WindowOperator(SessionWindow(2), CONTENTS["total"])
    old = OperatorHarness(operator)
    for key, time_s in (("a", 0.0), ("b", 5.0), ("a", 5.0)):
        old.process(Arrival(1, key, time_s, -9.0))
    new = restored(operator, old)
    new.finish()
    assert [key for key, *_ in new.results] == ["a", "b", "a"]


def test_rows_that_are_alone_come_in_the_order_in_which_they_came() -> None:
    """Also those of one time, of keys that have had others before."""
    operator = IntervalJoinOperator(None, 0.0, 5.0, "left")
    old = OperatorHarness(operator)
    for key, time_s in (("a", 1.0), ("b", 2.0), ("a", 2.0)):
        old.process(Arrival(key, key, time_s, 0.0))
    new = restored(operator, old)
    new.finish()
    assert new.results == [("a", None), ("b", None), ("a", None)]


@pytest.mark.parametrize("cut", range(12, 20))
def test_means_are_rounded_as_they_would_have_been(cut: int) -> None:
    """Floats of slices are added up in the order that they would have had."""
    operator = WindowOperator(SlidingWindow(6, 1), CONTENTS["mean"])
    arrived = [Arrival(n * n, "k", n + 0.5, n - 6.0) for n in range(40)]
    old, whole = OperatorHarness(operator), OperatorHarness(operator)
    for harness, count in ((old, cut), (whole, len(arrived))):
        for arrival in arrived[:count]:
            harness.process(arrival)
            harness.advance(arrival.watermark)
    new = restored(operator, old)
    for arrival in arrived[cut:]:
        new.process(arrival)
        new.advance(arrival.watermark)
    assert old.results + new.results == whole.results


def test_processing_time_does_not_go_back() -> None:
    """Not even if the clock has been set back while the job was down."""
    old = OperatorHarness(ProcessingTimeOperator(), ManualClock(500.0))
    old.process(Arrival(1, "k", 0.0))
    new = restored(ProcessingTimeOperator(), old)
    new.process(Arrival(2, "k", 0.0))
    assert new.rows == [(2, 500.0, 500.0)]


def test_a_list_does_not_wait_longer_than_it_would_have() -> None:
    """The first record's wait began when it came, not when it was restored."""
    operator = MapBatchesOperator(FunctionSpec(MAP_BATCHES, numbers), 3, 5000)
    old = OperatorHarness(operator, ManualClock(98.0))
    old.process(Arrival(1, "k", 0.0))
    assert old.live.due_s == 103.0
    assert restored(operator, old).live.due_s == 103.0
