"""Timers and state of functions on keyed streams: when they fire, in which order, what fails."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage.kernel import (
    DataStream,
    LocalEnvironment,
    MapState,
    ProcessFunction,
    RetryPolicy,
    SourceFunction,
    StateTtl,
    TumblingWindow,
    ValueState,
)
from sage.kernel.errors import FunctionError, JobFailedError, TimestampError
from sage.kernel.metrics.snapshot import JobMetrics
from sage.kernel.testing import CollectingSink, ManualClock, check_conservation

Record = tuple[str, float, tuple[Any, ...]]  # key, time, what to do


def key_of(record: Any) -> Any:
    return record[0]


def time_of(record: Any) -> Any:
    return record[1]


def run(env: LocalEnvironment) -> JobMetrics:
    metrics = env.submit().wait(60).metrics
    check_conservation(metrics, env.graph())
    return metrics


def timed(env: LocalEnvironment, records: list[Any], bound: float = 0) -> Any:
    stream = env.from_collection(records)
    return stream.assign_timestamps(time_of, max_out_of_orderness_s=bound).key_by(key_of)


# Any function, against an interpreter that looks at everything again each time.


class Obedient(ProcessFunction[Record, Any]):
    """Does what its records say: sets and deletes timers, remembers, emits."""

    def open(self, context: Any) -> None:
        self.count = context.state(ValueState("count", default=0))
        self.seen = context.state(MapState("seen"))

    def process(self, record: Record, ctx: Any) -> Iterator[Any]:
        key, time, orders = record
        assert (ctx.current_key, ctx.timestamp) == (key, time)
        for order, by in orders:
            if order == "set":
                ctx.timers.set_event_timer(time + by)
            elif order == "delete":
                ctx.timers.delete_event_timer(time + by)
            elif order == "remember":
                self.count.set(self.count.get() + by)
                self.seen.put(by, self.count.get())
            elif order == "emit":
                yield key, "record", time, self.count.get(), sorted(self.seen.items())
            else:
                ctx.output("aside", (key, time, self.count.get()))

    def on_timer(self, timestamp_s: float, ctx: Any) -> Iterator[Any]:
        assert (ctx.timestamp, ctx.time_domain) == (timestamp_s, "event")
        assert ctx.watermark >= timestamp_s
        yield ctx.current_key, "timer", timestamp_s, self.count.get()
        if self.count.get() > 0:  # so it comes to an end
            self.count.set(self.count.get() - 1)
            ctx.timers.set_event_timer(timestamp_s + 2)


class Interpreter:
    """The same, with one list of timers that is searched from its start each time."""

    def __init__(self) -> None:
        self.timers: list[tuple[str, float]] = []
        self.count: Counter[str] = Counter()
        self.seen: dict[str, dict[float, int]] = {}
        self.emitted: list[Any] = []
        self.aside: list[Any] = []
        self.dropped = 0
        self.ending = False

    def set(self, key: str, time: float) -> None:
        if self.ending:
            self.dropped += 1
        elif (key, time) not in self.timers:
            self.timers.append((key, time))

    def fire(self, watermark: float) -> None:
        self.ending = watermark == math.inf
        while due := [timer for timer in self.timers if timer[1] <= watermark]:
            key, time = min(due, key=lambda timer: timer[1])  # of equal ones the first that was set
            self.timers.remove((key, time))
            self.emitted.append((key, "timer", time, self.count[key]))
            if self.count[key] > 0:
                self.count[key] -= 1
                self.set(key, time + 2)

    def process(self, record: Record) -> None:
        key, time, orders = record
        seen = self.seen.setdefault(key, {})
        for order, by in orders:
            if order == "set":
                self.set(key, time + by)
            elif order == "delete" and (key, time + by) in self.timers:
                self.timers.remove((key, time + by))
            elif order == "remember":
                self.count[key] += by
                seen[by] = self.count[key]
            elif order == "emit":
                now = sorted(seen.items())
                self.emitted.append((key, "record", time, self.count[key], now))
            elif order == "aside":
                self.aside.append((key, time, self.count[key]))

    def run(self, records: list[Record], bound: float) -> None:
        highest = -math.inf
        for record in records:
            highest = max(highest, record[1])
            self.fire(highest - bound)
            self.process(record)
        self.fire(highest - bound)  # what a record has set for a time gone by, or for now
        self.fire(math.inf)


ORDERS = st.tuples(
    st.sampled_from(["set", "set", "delete", "remember", "emit", "aside"]),
    st.sampled_from([-1, 0, 1, 2, 2, 5, 30]),
)


@st.composite
def programs(draw: st.DrawFn) -> list[Record]:
    now, records = draw(st.sampled_from([-20.0, 0, 1e9])), []
    for _ in range(draw(st.integers(0, 25))):
        now += draw(st.sampled_from([0, 0.5, 1, 4, -3]))
        orders = tuple(draw(st.lists(ORDERS, max_size=4)))
        records.append((draw(st.sampled_from(["", "a", "b"])), now, orders))
    return records


@pytest.mark.parametrize("parallelism", [1, 2, 4])
@given(
    records=programs(),
    bound=st.sampled_from([0, 2]),
    batch_size=st.sampled_from([1, 3, 1024]),
    backend=st.sampled_from(["heap", "disk"]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_function_does_what_the_interpreter_does(
    parallelism: int, records: list[Record], bound: float, batch_size: int, backend: str
) -> None:
    """Results of each key, in their order, side outputs, dropped timers: on heap and on disk."""
    env = LocalEnvironment(config={"batch_size": batch_size, "state_backend": backend})
    main, aside = CollectingSink(), CollectingSink()
    results = timed(env, records, bound).process(Obedient, name="does", parallelism=parallelism)
    results.side_output("aside").sink(aside)
    results.sink(main)
    metrics = run(env)
    expected = Interpreter()
    expected.run(records, bound)
    for key in ("", "a", "b"):
        assert [r for r in main.records if r[0] == key] == [
            r for r in expected.emitted if r[0] == key
        ]
        assert [r for r in aside.records if r[0] == key] == [
            r for r in expected.aside if r[0] == key
        ]
    if parallelism == 1:
        assert main.records == expected.emitted
    dropped = metrics["does"].custom.get("timers dropped at the end", 0)
    assert dropped == expected.dropped


# Time.


class Scripted(SourceFunction[Any]):
    """Gives records; an event in between makes it silent until the test has set it."""

    def __init__(self, *steps: Any) -> None:
        self._steps = list(steps)
        self.asked = threading.Semaphore(0)

    def __deepcopy__(self, memo: object) -> Scripted:
        return self

    def read(self, max_records: int) -> list[Any] | None:
        if not self._steps:
            return None
        if isinstance(self._steps[0], threading.Event):
            if self._steps[0].is_set():
                self._steps.pop(0)
            else:
                self.asked.release()  # what it gave before has been worked off by its task
            return []
        return [self._steps.pop(0)]


class Alarm(ProcessFunction[Any, Any]):
    """Wakes up some seconds after each record, by the clock."""

    def process(self, record: Any, ctx: Any) -> None:
        if record[1] is None:
            ctx.timers.delete_processing_timer(ctx.timers.now_s)
        else:
            ctx.timers.set_processing_timer(ctx.timers.now_s + record[1])

    def on_timer(self, timestamp_s: float, ctx: Any) -> Iterator[Any]:
        yield ctx.current_key, timestamp_s, ctx.time_domain, ctx.timers.now_s


@pytest.mark.parametrize("parallelism", [1, 3])
def test_processing_timers_follow_the_clock(parallelism: int) -> None:
    """They fire when the clock reaches them, also when no record comes, and in order of time."""
    clock, end = ManualClock(100.0), threading.Event()
    env = LocalEnvironment(config={"clock": clock})
    source, got = Scripted(("a", 5.0), ("a", 3.0), ("b", 60.0), end), CollectingSink()
    alarms = (
        env.from_source(source).key_by(key_of).process(Alarm, parallelism=parallelism, name="alarm")
    )
    alarms.sink(got)
    job = env.submit()
    assert source.asked.acquire(timeout=30)
    while job.metrics()["alarm"].received < 3:
        threading.Event().wait(0.001)
    clock.advance(2.9)
    assert got.records == []
    clock.advance(2.5)
    assert got.wait_for(2) == [
        ("a", 103.0, "processing", 105.4),
        ("a", 105.0, "processing", 105.4),
    ]
    end.set()
    check_conservation(job.wait(60).metrics, env.graph())
    assert got.records[2:] == [("b", 160.0, "processing", 105.4)]  # the end waits for no clock


def test_a_deleted_timer_does_not_fire() -> None:
    """Neither of the clock nor of event time, also if it was set twice."""

    class Deletes(ProcessFunction[Any, Any]):
        def process(self, record: Any, ctx: Any) -> None:
            for _ in range(2):
                ctx.timers.set_event_timer(record[1] + 5)
                ctx.timers.set_processing_timer(1e9)
            if record[0] == "a":
                ctx.timers.delete_event_timer(record[1] + 5)
                ctx.timers.delete_processing_timer(1e9)
            ctx.timers.delete_event_timer(12345)

        def on_timer(self, timestamp_s: float, ctx: Any) -> Iterator[Any]:
            yield ctx.current_key, timestamp_s, ctx.time_domain

    env = LocalEnvironment(config={"clock": ManualClock()})
    got = timed(env, [("a", 1), ("b", 2), ("a", 100)]).process(Deletes).collect()
    assert got == [("b", 7, "event"), ("b", 1e9, "processing")]


class Echo(ProcessFunction[Any, Any]):
    """Passes records on, and says something of its own five seconds later."""

    def process(self, record: Any, ctx: Any) -> Iterator[Any]:
        ctx.timers.set_event_timer(ctx.timestamp + 5)
        ctx.output("aside", record)
        yield record

    def on_timer(self, timestamp_s: float, ctx: Any) -> Iterator[Any]:
        ctx.output("aside", (ctx.current_key, timestamp_s))
        yield ctx.current_key, timestamp_s


class Rising(ProcessFunction[Any, Any]):
    """Fails if the watermark regresses, or a record's time is not its own."""

    def open(self, context: Any) -> None:
        self.watermark = -math.inf

    def process(self, record: Any, ctx: Any) -> Iterator[Any]:
        assert ctx.watermark >= self.watermark, "the watermark went back"
        assert ctx.timestamp == record[1]
        self.watermark = ctx.watermark
        yield record


@given(
    times=st.lists(st.integers(-30, 60), max_size=30),
    batch_size=st.sampled_from([1, 4, 1024]),
    parallelism=st.integers(1, 3),
    aside=st.booleans(),
    bound=st.sampled_from([0, 12, 100]),
)
@settings(max_examples=60, deadline=None)
def test_results_of_timers_are_in_time_for_windows_behind(
    times: list[int], batch_size: int, parallelism: int, aside: bool, bound: int
) -> None:
    """What a timer says has the timer's time and is late for no window; time goes only forward."""
    env = LocalEnvironment(config={"batch_size": batch_size})
    records = [("ab"[n % 2], t) for n, t in enumerate(times)]
    said = timed(env, records, bound).process(Echo, parallelism=parallelism)
    stream = said.side_output("aside") if aside else said
    stream = stream.process(Rising, parallelism=parallelism)
    counts = (
        stream.key_by(key_of)
        .window(TumblingWindow(10))
        .count(emit=lambda key, window, n: (key, window.start_s, n), parallelism=parallelism)
    )
    main, late = CollectingSink(), CollectingSink()
    counts.side_output("late").sink(late)
    counts.sink(main)
    said.sink(lambda r: None)
    run(env)
    if bound == 100:  # no record is late, so no timer is
        assert late.records == []
        check_counts(records, main.records)


def check_counts(records: list[Any], counts: list[Any]) -> None:
    expected = Counter((key, t // 10 * 10) for key, t in records)
    expected.update((key, (t + 5) // 10 * 10) for key, t in set(records))
    assert Counter({(key, start): n for key, start, n in counts}) == expected


@pytest.mark.parametrize("other", "bcdef")
@pytest.mark.parametrize("batch_size", [1, 2, 1024])
def test_the_last_watermark_comes_before_the_end(other: str, batch_size: int) -> None:
    """What the last record lets fire may set timers still, in whatever subtask that record is."""
    env, got = LocalEnvironment(config={"batch_size": batch_size}), list[Any]()
    records = [("a", 0, (("remember", 1),)), ("a", 0, (("set", 2),)), (other, 10, ())]
    timed(env, records).process(Obedient, name="does", parallelism=4).sink(got.append)
    metrics = run(env)
    assert got == [("a", "timer", 2, 1), ("a", "timer", 4, 0)]
    assert metrics["does"].custom == {}


# Errors.


class Fragile(ProcessFunction[Any, Any]):
    """Its timers of key "bad" raise, some behind their first result."""

    def __init__(self, mended_after: int = 1000) -> None:
        self.tries = 0
        self.mended_after = mended_after

    def process(self, record: Any, ctx: Any) -> None:
        ctx.timers.set_event_timer(record[1] + 1)

    def on_timer(self, timestamp_s: float, ctx: Any) -> Iterator[Any]:
        if ctx.current_key == "bad":
            self.tries += 1
            if self.tries < self.mended_after:
                raise ValueError(f"bad at {timestamp_s}")
        yield ctx.current_key, timestamp_s


FRAGILE = [("ok", 1), ("bad", 2), ("ok", 10), ("bad", 11)]


def test_a_timer_that_raises_ends_the_job_with_key_and_time() -> None:
    """The error names the operator, the key and the time of the timer, and has the cause."""
    env = LocalEnvironment()
    with pytest.raises(JobFailedError, match=r"'fragile' failed at record \('bad', 3\)") as caught:
        timed(env, FRAGILE).process(Fragile, name="fragile").collect()
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("policy", ["skip", "dead_letter"])
@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_timer_that_raises_is_set_aside_and_the_others_go_on(
    policy: Any, parallelism: int
) -> None:
    """It is counted, told as a dead letter, and no record's fate changes."""
    env, got = LocalEnvironment(), list[Any]()
    results = timed(env, FRAGILE).process(
        Fragile, name="fragile", on_error=policy, parallelism=parallelism
    )
    results.sink(got.append)
    job = env.submit()
    metrics = job.wait(60).metrics
    check_conservation(metrics, env.graph())
    assert got == [("ok", 2), ("ok", 11)]
    assert metrics["fragile"].custom["failed results"] == 2
    assert (metrics["fragile"].no_output, metrics["fragile"].errors) == (4, 0)
    letters = [] if policy == "skip" else [("bad", 3), ("bad", 12)]
    assert [letter.record for letter in job.dead_letters()] == letters
    assert not any(letter.is_input for letter in job.dead_letters())
    assert job.replay_dead_letters() == []  # a timer is no record that could be fed in again
    assert len(list(job.dead_letters())) == len(letters)


def test_a_timer_may_be_tried_again() -> None:
    """A retry policy holds for timers as for records."""
    env = LocalEnvironment()
    policy = RetryPolicy(max_attempts=3, delay_s=0, then="dead_letter")
    got: list[Any] = []
    timed(env, FRAGILE).process(Fragile, {"mended_after": 3}, name="fragile", on_error=policy).sink(
        got.append
    )
    metrics = run(env)
    assert got == [("ok", 2), ("bad", 3), ("ok", 11), ("bad", 12)]
    assert metrics["fragile"].retries == 2
    env = LocalEnvironment()
    timed(env, FRAGILE).process(Fragile, on_error=policy).sink(got.append)
    job = env.submit()
    job.wait(60)
    assert [letter.attempts for letter in job.dead_letters()] == [3, 3]


@pytest.mark.parametrize(
    "policy", ["fail", "skip", "dead_letter", RetryPolicy(max_attempts=2, delay_s=0)]
)
def test_a_record_that_raises_has_one_fate(policy: Any) -> None:
    """With results and side outputs before it, or without: it counts once, what it gave stays."""

    class Raises(ProcessFunction[Any, Any]):
        def process(self, record: Any, ctx: Any) -> Iterator[Any]:
            what = record[2]
            if "result" in what:
                yield record
            if "side" in what:
                ctx.output("side", record)
            if "raise" in what:
                raise ValueError(what)

        def on_timer(self, timestamp_s: float, ctx: Any) -> None:
            return None

    parts = ["", "result", "side", "result side"]
    records = [("k", n, what) for n, what in enumerate([*parts, *(p + " raise" for p in parts)])]
    env, got, side = LocalEnvironment(), list[Any](), list[Any]()
    results = timed(env, records).process(Raises, name="raises", on_error=policy)
    results.side_output("side").sink(side.append)
    results.sink(got.append)
    job = env.submit()
    fails = policy == "fail" or not isinstance(policy, str)
    with pytest.raises(JobFailedError) if fails else contextlib.nullcontext():
        job.wait(60)
    metrics = job.metrics()
    check_conservation(metrics, env.graph(), ended=not fails)
    mine = metrics["raises"]
    if fails:
        assert isinstance(job.error, JobFailedError)
        assert (mine.no_output, mine.emitted, mine.failed) == (1, 3, 1)
    else:
        assert (mine.no_output, mine.emitted, mine.errors) == (1, 3, 4)
        assert (len(got), len(side)) == (4, 4)


def test_timers_and_state_without_keys_are_refused_with_the_way_out() -> None:
    """Timers when the pipeline is built; state when it is asked for, in open or later."""
    stream = LocalEnvironment().from_collection([("a", 1)])
    with pytest.raises(FunctionError, match="timers belong to keys") as refused:
        stream.process(Alarm)
    assert "key_by" in str(refused.value)

    class Remembers(ProcessFunction[Any, Any]):
        def open(self, context: Any) -> None:
            self.count = context.state(ValueState("count", default=0))

        def process(self, record: Any, ctx: Any) -> None:
            return None

    with pytest.raises(JobFailedError, match=r"state 'count'.*key"):
        stream.process(Remembers).collect()
    with pytest.raises(JobFailedError, match=r"state 'later'.*key"):
        stream.process(lambda r, ctx: ctx.state(ValueState("later")).get()).collect()


def test_timers_without_on_timer_are_an_error_of_the_record() -> None:
    """The message says what to give process; the policy applies."""
    env = LocalEnvironment()

    def asks(record: Any, ctx: Any) -> None:
        ctx.timers.set_event_timer(5)

    with pytest.raises(JobFailedError, match=r"on_timer\(timestamp_s, ctx\)"):
        timed(env, [("a", 1)]).process(asks).collect()


def test_an_event_timer_without_event_time_is_an_error_of_the_record() -> None:
    """It would never fire; the message says what is missing."""

    class Sets(ProcessFunction[Any, Any]):
        def process(self, record: Any, ctx: Any) -> None:
            ctx.timers.set_event_timer(5)

        def on_timer(self, timestamp_s: float, ctx: Any) -> None:
            return None

    stream = LocalEnvironment().from_collection([("a", 1)]).key_by(key_of)
    with pytest.raises(JobFailedError, match=r"without timestamps would never fire") as caught:
        stream.process(Sets).collect()
    assert "assign_timestamps" in str(caught.value)


@pytest.mark.parametrize("time", [None, math.nan, math.inf, -math.inf, "5", True], ids=repr)
@pytest.mark.parametrize("domain", ["event", "processing"])
def test_a_timer_at_no_time_is_an_error_of_the_record(time: Any, domain: str) -> None:
    """Nothing is set that could not fire."""

    class Sets(ProcessFunction[Any, Any]):
        def process(self, record: Any, ctx: Any) -> None:
            getattr(ctx.timers, f"set_{domain}_timer")(time)

        def on_timer(self, timestamp_s: float, ctx: Any) -> None:
            return None

    env = LocalEnvironment()
    with pytest.raises(JobFailedError, match="finite number of seconds") as caught:
        timed(env, [("a", 1)]).process(Sets).collect()
    assert isinstance(caught.value.__cause__, TimestampError)


# What the context says, and state.


class Tells(ProcessFunction[Any, Any]):
    def process(self, record: Any, ctx: Any) -> Iterator[Any]:
        yield ctx.current_key, ctx.timestamp, ctx.watermark


class TellsWithTimers(Tells):
    def on_timer(self, timestamp_s: float, ctx: Any) -> None:
        return None


@pytest.mark.parametrize("function", [Tells, TellsWithTimers])
@pytest.mark.parametrize("parallelism", [1, 2])
def test_the_context_knows_key_time_and_watermark(function: Any, parallelism: int) -> None:
    """In functions with timers and without; None and the start of time where there are none."""
    records = [("a", 5), ("b", 3), ("a", 9)]
    env, plain = LocalEnvironment(), LocalEnvironment().from_collection(records).key_by(key_of)
    got = timed(env, records, 2).process(function, parallelism=parallelism).collect()
    assert sorted(got) == [("a", 5, 3), ("a", 9, 7), ("b", 3, 3)]
    got = plain.process(function, parallelism=parallelism).collect()
    assert Counter(got) == Counter((key, None, -math.inf) for key, _ in records)


def test_without_keys_the_context_has_none() -> None:
    """current_key is None, time is there."""
    stream = LocalEnvironment().from_collection([("a", 5), ("b", 3)])
    got = stream.assign_timestamps(time_of).process(Tells).collect()
    assert got == [(None, 5, 5), (None, 3, 5)]


class Sessions(ProcessFunction[Any, Any]):
    """Counts records of a key that follow each other within ten seconds of event time."""

    def open(self, context: Any) -> None:
        self.count = context.state(ValueState("count", default=0, ttl=StateTtl(10.0)))

    def process(self, record: Any, ctx: Any) -> Iterator[Any]:
        self.count.set(self.count.get() + 1)
        yield record[0], record[1], self.count.get()


class SessionsWithTimers(Sessions):
    def on_timer(self, timestamp_s: float, ctx: Any) -> None:
        return None


@pytest.mark.parametrize("backend", ["heap", "disk"])
@pytest.mark.parametrize("function", [Sessions, SessionsWithTimers])
def test_state_lives_as_long_as_event_time_says(function: Any, backend: str) -> None:
    """What was touched at t is gone when the watermark reaches t plus its time to live."""
    env = LocalEnvironment(config={"state_backend": backend, "batch_size": 2})
    records = [("a", 1), ("b", 2), ("a", 10), ("b", 12), ("a", 19), ("a", 29)]
    got = timed(env, records).process(function).collect()
    assert got == [
        ("a", 1, 1),
        ("b", 2, 1),
        ("a", 10, 2),
        ("b", 12, 1),
        ("a", 19, 3),
        ("a", 29, 1),
    ]


def test_state_in_event_time_needs_timestamps() -> None:
    """Without them nothing would ever expire, so it is refused when it is asked for."""
    stream = LocalEnvironment().from_collection([("a", 1)]).key_by(key_of)
    with pytest.raises(JobFailedError, match="expires in event time") as caught:
        stream.process(Sessions).collect()
    assert "assign_timestamps" in str(caught.value)


def test_a_key_that_is_none_is_refused_by_type() -> None:
    """The record is at fault, and the policy applies to it."""
    env, got = LocalEnvironment(), list[Any]()
    stream: DataStream[Any] = env.from_collection([("a", 1), ([], 2), (None, 3), ("a", 4)])
    keyed = stream.assign_timestamps(time_of).key_by(key_of, on_error="skip", name="keys")
    keyed.process(Echo, on_error="skip").sink(got.append)
    metrics = run(env)
    assert got == [("a", 1), ("a", 4), ("a", 6), ("a", 9)]
    assert metrics["keys"].skipped == 2


class Refusing(ProcessFunction[Any, Any]):
    """Sets a timer for each record, and refuses a record that says so."""

    def process(self, record: Any, ctx: Any) -> Iterator[Any]:
        ctx.timers.set_event_timer(ctx.timestamp + 5)
        if record[0] == "refused":
            raise ValueError(record)
        yield record

    def on_timer(self, timestamp_s: float, ctx: Any) -> Iterator[Any]:
        yield "timer", timestamp_s


@pytest.mark.parametrize("batch_size", [1, 100])
def test_a_timer_that_a_record_set_before_it_failed_fires_in_time(batch_size: int) -> None:
    """It stays set, as state does, and fires before the record that brings event time there."""
    env = LocalEnvironment(config={"batch_size": batch_size, "on_error": "skip"})
    records = [("refused", 0), ("a", 10), ("a", 12)]
    told = timed(env, records).process(Refusing).collect()
    assert told == [("timer", 5), ("a", 10), ("a", 12), ("timer", 15), ("timer", 17)]


class Recalling(ProcessFunction[Any, Any]):
    """Tells five seconds later what it remembers for ten."""

    def open(self, context: Any) -> None:
        self.last = context.state(ValueState("last", ttl=StateTtl(10.0)))

    def process(self, record: Any, ctx: Any) -> None:
        self.last.set(record)
        ctx.timers.set_event_timer(ctx.timestamp + 5)

    def on_timer(self, timestamp_s: float, ctx: Any) -> Iterator[Any]:
        yield timestamp_s, self.last.get()


def test_a_timer_finds_state_that_lives_longer_than_it_waits() -> None:
    """Also where the watermark passes both at once, as it does at the end of the input."""
    env = LocalEnvironment()
    told = timed(env, [("a", 0), ("b", 100)]).process(Recalling).collect()
    assert told == [(5, ("a", 0)), (105, ("b", 100))]
