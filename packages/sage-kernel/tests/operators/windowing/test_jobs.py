"""Windows in whole jobs: batches of every size, one to four subtasks, no record unaccounted for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sage.kernel import (
    AfterCount,
    AfterWatermark,
    CountWindow,
    DataStream,
    GlobalWindow,
    LocalEnvironment,
    ProcessFunction,
    RetryPolicy,
    SessionWindow,
    SlidingWindow,
    SourceFunction,
    TumblingWindow,
)
from sage.kernel.operators.windowing import Trigger, WindowAssigner
from sage.kernel.testing import CollectingSink, check_conservation
from sage.kernel.testing.operator_harness import arrivals
from sage.kernel.testing.windows_reference import ExpectedWindows, windows_of

BOUND_S = 4
Record = tuple[int, Any, float]  # number, key, time
SETTINGS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Script(SourceFunction[Record]):
    """Gives its records in reads of the sizes that the test says."""

    def __init__(self, records: Sequence[Record], reads: Sequence[int]) -> None:
        self.records = list(records)
        self.reads = list(reads)

    def read(self, max_records: int) -> list[Record] | None:
        if not self.records:
            return None
        size = min(max_records, self.reads.pop(0) if self.reads else max_records)
        read, self.records = self.records[:size], self.records[size:]
        return read


RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["", "a", 0, ("b", 1)]),
        st.one_of(st.integers(-20, 40), st.floats(-20, 40)),
    ),
    max_size=40,
).map(lambda rows: [(n, key, time_s) for n, (key, time_s) in enumerate(rows)])
CASES: list[tuple[WindowAssigner, Trigger | None, float, str]] = [
    (TumblingWindow(10, offset_s=-3), None, 0, "accumulating"),
    (TumblingWindow(5), AfterWatermark(early=AfterCount(2)), 8, "accumulating"),
    (SlidingWindow(10, 4), None, 5, "discarding"),
    (SlidingWindow(3, 7.5), AfterCount(2), 0, "accumulating"),
    (SessionWindow(3), None, 0, "accumulating"),
    (SessionWindow(2.5), AfterCount(2), 6, "discarding"),
    (GlobalWindow(), AfterCount(3), 0, "discarding"),
    (CountWindow(3), None, 0, "accumulating"),
]


def pane(key: Any, records: Sequence[Record], ctx: Any) -> list[Any]:
    numbers = [number for number, _, _ in records]
    window = (float(ctx.window.start_s), float(ctx.window.end_s))  # 0 and 0.0 are one time
    return [(repr(key), *window, numbers, ctx.pane.timing, ctx.pane.index)]


def panes_of(expected: ExpectedWindows) -> list[Any]:
    return [
        (repr(p.key), float(p.start_s), float(p.end_s), p.records, p.pane.timing, p.pane.index)
        for p in expected.panes
    ]


def timed(env: LocalEnvironment, records: Sequence[Record], reads: Sequence[int] = ()) -> Any:
    stream: DataStream[Record] = env.from_source(Script(records, reads))
    return stream.assign_timestamps(lambda r: r[2], max_out_of_orderness_s=BOUND_S)


@pytest.mark.parametrize("parallelism", [1, 2, 4])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[1] or ''}")
@SETTINGS
@given(
    records=RECORDS,
    reads=st.lists(st.integers(1, 9), max_size=9),
    batch_size=st.sampled_from([1, 2, 7, 1024]),
)
def test_no_batch_boundary_and_no_exchange_changes_a_result(
    case: Any, parallelism: int, records: list[Record], reads: list[int], batch_size: int
) -> None:
    """Main output and late records are those of the reference, and each record has one fate."""
    assigner, trigger, lateness_s, mode = case
    env = LocalEnvironment(config={"batch_size": batch_size})
    keyed = timed(env, records, reads).key_by(lambda r: r[1])
    windowed = keyed.window(
        assigner, trigger=trigger, allowed_lateness_s=lateness_s, mode=mode
    ).process(pane, parallelism=parallelism, name="windows")
    main, late = CollectingSink(), CollectingSink()
    windowed.sink(main)
    windowed.side_output("late").sink(late)
    metrics = env.submit().wait().metrics
    arrived = arrivals([(0, key, t, n) for n, key, t in records], BOUND_S)
    expected = windows_of(
        arrived, assigner, trigger=trigger, allowed_lateness_s=lateness_s, mode=mode
    )
    assert Counter(map(repr, main.records)) == Counter(map(repr, panes_of(expected)))
    if parallelism == 1:
        assert [number for number, _, _ in late.records] == expected.late
        assert main.records == panes_of(expected)
    assert sorted(number for number, _, _ in late.records) == sorted(expected.late)
    check_conservation(metrics, env.graph())
    assert metrics["windows"].late == len(expected.late)
    assert metrics["windows"].no_output == len(expected.between)


@pytest.mark.parametrize("parallelism", [1, 3])
@pytest.mark.parametrize(
    "assigner", [TumblingWindow(7, 2.5), SlidingWindow(9, 3), SessionWindow(4)], ids=str
)
@SETTINGS
@given(
    records=RECORDS,
    reads=st.lists(st.integers(1, 9), max_size=9),
    batch_size=st.sampled_from([1, 3, 1024]),
)
def test_what_is_folded_in_the_loop_is_the_same_in_a_job(
    assigner: WindowAssigner,
    parallelism: int,
    records: list[Record],
    reads: list[int],
    batch_size: int,
) -> None:
    """Counts of windows that fire once are those of the reference, and so is what is late."""
    env = LocalEnvironment(config={"batch_size": batch_size})
    keyed = timed(env, records, reads).key_by(lambda r: r[1])
    counted = keyed.window(assigner).count(
        emit=lambda key, window, n: (repr(key), float(window.start_s), float(window.end_s), n),
        parallelism=parallelism,
        name="windows",
    )
    main, late = CollectingSink(), CollectingSink()
    counted.sink(main)
    counted.side_output("late").sink(late)
    metrics = env.submit().wait().metrics
    expected = windows_of(arrivals([(0, key, t, n) for n, key, t in records], BOUND_S), assigner)
    panes = [(key, start, end, len(inside)) for key, start, end, inside, _, _ in panes_of(expected)]
    assert Counter(main.records) == Counter(panes)
    assert sorted(number for number, _, _ in late.records) == sorted(expected.late)
    check_conservation(metrics, env.graph())


@pytest.mark.parametrize("parallelism", [1, 3])
@SETTINGS
@given(left=RECORDS, right=RECORDS, reads=st.lists(st.integers(1, 9), max_size=9))
def test_main_and_late_are_every_record_once_behind_two_inputs(
    parallelism: int, left: list[Record], right: list[Record], reads: list[int]
) -> None:
    """Which input comes first is free; that each record is in its window or late is not."""
    env = LocalEnvironment()
    both = timed(env, left, reads).union(timed(env, [(n + 100, k, t) for n, k, t in right]))
    windowed = (
        both.key_by(lambda r: r[1]).window(TumblingWindow(5)).process(pane, parallelism=parallelism)
    )
    main, late = CollectingSink(), CollectingSink()
    windowed.sink(main)
    windowed.side_output("late").sink(late)
    env.execute()
    numbers = [number for number, _, _ in late.records]
    times = {n: t for n, _, t in left} | {n + 100: t for n, _, t in right}
    for _, start_s, end_s, inside, _, _ in main.records:
        assert all(start_s <= times[number] < end_s for number in inside)
        numbers += inside
    assert sorted(numbers) == sorted(times)
    windows = Counter((key, start_s) for key, start_s, *_ in main.records)
    assert all(count == 1 for count in windows.values())


@SETTINGS
@given(records=RECORDS, batch_size=st.sampled_from([1, 3, 1024]))
def test_a_window_of_windows_loses_nothing(records: list[Record], batch_size: int) -> None:
    """A result is timed within its window, so no result is late for a window of windows."""
    env = LocalEnvironment(config={"batch_size": batch_size})
    by_key = timed(env, records).key_by(lambda r: r[1]).window(TumblingWindow(5))
    in_all = by_key.count(emit=lambda key, window, n: n).window(TumblingWindow(10))
    counted = in_all.reduce(lambda a, b: a + b, name="all", emit=lambda k, w, n: (w.end_s, n))
    sink = CollectingSink()
    counted.sink(sink)
    metrics = env.submit().wait().metrics
    arrived = arrivals([(0, key, t, n) for n, key, t in records], BOUND_S)
    ends: Counter[float] = Counter()
    for p in windows_of(arrived, TumblingWindow(5)).panes:
        ends[math.ceil(p.end_s / 10) * 10] += len(p.records)
    assert sink.records == sorted(ends.items())
    assert metrics["all"].late == 0


class Alarm(ProcessFunction[Any, Any]):
    """Tells of every result, and of it again three seconds later."""

    def process(self, record: Any, ctx: Any) -> Any:
        yield record
        ctx.timers.set_event_timer(ctx.timestamp + 3)

    def on_timer(self, timestamp_s: float, ctx: Any) -> Any:
        yield timestamp_s


@pytest.mark.parametrize("case", CASES[:6], ids=lambda case: f"{case[0]} {case[1] or ''}")
@pytest.mark.parametrize("verb", ["count", "apply"])
@SETTINGS
@given(records=RECORDS, reads=st.lists(st.integers(1, 9), max_size=9))
@example(records=[(n, "a", time_s) for n, time_s in enumerate([1, 12, 19, 22, 3])], reads=[])
def test_timers_and_windows_behind_a_window_do_not_see_where_batches_end(
    verb: str, case: Any, records: list[Record], reads: list[int]
) -> None:
    """Event time behind a window goes on as records and windows say, and in no other way."""
    assigner, trigger, lateness_s, mode = case

    def run(batch_size: int) -> list[Any]:
        env = LocalEnvironment(config={"batch_size": batch_size})
        windowed = (
            timed(env, records, reads)
            .key_by(lambda r: str(r[1]))
            .window(assigner, trigger=trigger, allowed_lateness_s=lateness_s, mode=mode)
        )
        if verb == "count":
            results = windowed.count(emit=lambda key, window, n: (key, window.end_s, n))
        else:
            results = windowed.apply(lambda key, window, rows: [(key, window.end_s, len(rows))])
        together = results.key_by(lambda r: 0)
        by_time, in_windows = CollectingSink(), CollectingSink()
        together.process(Alarm).sink(by_time)
        together.window(TumblingWindow(5), allowed_lateness_s=2).apply(
            lambda key, window, rows: [(window.end_s, list(rows))]
        ).sink(in_windows)
        env.execute()
        return [by_time.records, in_windows.records]

    assert run(1) == run(1024)


class Endless(SourceFunction[int]):
    """Gives five records and then nothing, without an end."""

    def __init__(self) -> None:
        self.records = [1, 2, 3, 4, 5]

    def read(self, max_records: int) -> list[int]:
        read, self.records = self.records[:max_records], self.records[max_records:]
        return read


@pytest.mark.parametrize("how", ["drain", "cancel"])
def test_a_drain_fires_open_windows_and_a_cancel_leaves_them(how: str) -> None:
    """What is in an open window is said at the end of the input, or stays counted as held."""
    env, panes = LocalEnvironment(), CollectingSink()
    timed = env.from_source(Endless).assign_timestamps(lambda n: n)
    timed.window(TumblingWindow(60), trigger=AfterWatermark(early=AfterCount(5))).process(
        lambda key, records, ctx: [(ctx.pane.timing, list(records))], name="windows"
    ).sink(panes)
    job = env.submit()
    panes.wait_for(1)
    getattr(job, how)()
    assert job.join(30)
    assert [timing for timing, _ in panes.records] == ["early", "on_time"][: 1 + (how == "drain")]
    assert all(records == [1, 2, 3, 4, 5] for _, records in panes.records)
    assert job.metrics()["windows"].held == (5 if how == "cancel" else 0)
    check_conservation(job.metrics(), env.graph(), ended=how == "drain")


@pytest.mark.parametrize("verb", ["count", "reduce", "apply", "process"])
def test_what_a_window_says_is_tried_again_as_the_policy_says(verb: str) -> None:
    """A function that fails once when a window fires is called again, with the same content."""
    calls: list[Any] = []

    def flaky(key: Any, *rest: Any) -> Any:
        calls.append(key)
        if len(calls) == 1:
            raise ConnectionError("try again")
        return [key, len(calls)]

    windowed = timed(LocalEnvironment(), [(1, "a", 1), (2, "a", 2)]).window(TumblingWindow(10))
    policy = RetryPolicy(max_attempts=2, delay_s=0)
    if verb == "count":
        results = windowed.count(emit=flaky, on_error=policy)
    elif verb == "reduce":
        results = windowed.reduce(max, emit=flaky, on_error=policy)
    else:
        results = getattr(windowed, verb)(flaky, on_error=policy).map(lambda part: part)
    told = results.collect()
    assert len(calls) == 2
    assert told in ([[calls[0], 2]], [calls[0], 2])
