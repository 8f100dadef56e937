"""``window`` and what follows it: what users may give, what they get, and what they are told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import pytest

from sage.kernel import (
    AfterCount,
    AfterProcessingTime,
    AggregateFunction,
    CountWindow,
    DataStream,
    GlobalWindow,
    KeyByFunction,
    LocalEnvironment,
    ProcessWindowFunction,
    ReduceFunction,
    SessionWindow,
    SlidingWindow,
    TumblingWindow,
)
from sage.kernel.errors import FunctionError, GraphError, JobFailedError, UnknownVerbError
from sage.kernel.testing import CollectingSink, check_conservation

Visit = tuple[str, int]
VISITS: list[Visit] = [("ann", 1), ("bob", 4), ("ann", 6), ("ann", 13), ("bob", 2), ("bob", 25)]


@pytest.fixture
def env() -> LocalEnvironment:
    return LocalEnvironment()


@pytest.fixture
def visits(env: LocalEnvironment) -> DataStream[Visit]:
    return env.from_collection(VISITS).assign_timestamps(lambda visit: visit[1])


class Latest(ReduceFunction[Visit]):
    def __init__(self, config: dict[str, Any] | None = None) -> None:
        self.opened = 0

    def open(self, context: Any) -> None:
        self.opened += 1

    def reduce(self, a: Visit, b: Visit) -> Visit:
        assert self.opened == 1
        return max(a, b, key=lambda visit: visit[1])


class Users(AggregateFunction[Visit, set[str], list[str]]):
    def create(self) -> set[str]:
        return set()

    def add(self, acc: set[str], record: Visit) -> set[str]:
        acc.add(record[0])
        return acc

    def result(self, acc: set[str]) -> list[str]:
        return sorted(acc)

    def merge(self, a: set[str], b: set[str]) -> set[str]:
        a |= b
        return a


class Summary(ProcessWindowFunction[str, Visit, str]):
    """Says how many visits, with a word of its own, and when it is closed."""

    closed: ClassVar[list[str]] = []

    def __init__(self, config: dict[str, str]) -> None:
        self.word = config["word"]

    def process(self, key: str, records: Sequence[Visit], ctx: Any) -> Iterable[str] | None:
        if len(records) > 1:
            ctx.output("busy", (ctx.current_key, ctx.window.start_s, ctx.watermark))
        if key != "bob":
            yield f"{key} {self.word} {len(records)}"

    def finish(self) -> Iterable[str]:
        return ["the end"]

    def close(self) -> None:
        self.closed.append(self.word)


class Time(KeyByFunction[Visit, int]):
    def get_key(self, record: Visit) -> int:
        return record[1]


def test_every_verb_takes_what_verbs_take(visits: DataStream[Visit]) -> None:
    """Classes with a config, instances and callables; each is opened once."""
    keyed = visits.key_by(lambda visit: visit[0]).window(TumblingWindow(10))
    assert keyed.reduce(Latest, {}).collect() == [("ann", 6), ("bob", 4), ("ann", 13), ("bob", 25)]
    assert keyed.reduce(Latest()).collect() == keyed.reduce(max).collect()
    assert keyed.top(1, Time).collect()[0] == [("ann", 6)]
    everybody = visits.window(SlidingWindow(20, 10)).aggregate(Users())
    assert everybody.collect() == [["ann", "bob"], ["ann", "bob"], ["ann", "bob"], ["bob"]]
    applied = keyed.apply(lambda key, window, records: [(key, window.end_s, len(records))])
    assert applied.collect()[0] == ("ann", 10, 2)


def test_a_window_function_has_its_whole_life(visits: DataStream[Visit]) -> None:
    """It is made of its config, emits to side outputs, finishes and is closed."""
    Summary.closed.clear()
    keyed = visits.key_by(lambda visit: visit[0]).window(TumblingWindow(10))
    said, busy = CollectingSink(), CollectingSink()
    summaries = keyed.process(Summary, {"word": "came"})
    summaries.sink(said)
    summaries.side_output("busy").sink(busy)
    visits.env.execute()
    assert said.records == ["ann came 2", "ann came 1", "the end"]
    assert busy.records == [("ann", 0, 13)]
    assert Summary.closed == ["came"]


def test_a_result_of_none_is_no_output(visits: DataStream[Visit]) -> None:
    """The records of a window that says nothing are counted as without output."""
    env = visits.env
    counted = visits.key_by(lambda visit: visit[0]).window(SessionWindow(3))
    sink = CollectingSink()
    counted.process(
        lambda key, records, ctx: [None] if key == "ann" else [key], name="sessions"
    ).sink(sink)
    metrics = env.submit().wait().metrics
    assert sink.records == ["bob", "bob"]
    assert metrics["sessions"].no_output == 3
    assert metrics["sessions"].late == 1
    check_conservation(metrics, env.graph())


def test_what_emit_raises_fails_the_job_with_window_and_value(visits: DataStream[Visit]) -> None:
    """The error names the operator, and shows key, window and value."""

    def emit(key: str, window: Any, n: int) -> float:
        return 1 / (n - 2)

    counted = visits.key_by(lambda visit: visit[0]).window(TumblingWindow(10))
    for stream in (counted.count(emit=emit), counted.top(2, Time, emit=lambda k, w, v: 1 / 0)):
        with pytest.raises(JobFailedError, match=r"window\.(count|top).*'ann', Window\(start_s=0"):
            stream.collect()


@pytest.mark.parametrize("assigner", [TumblingWindow(10), SessionWindow(3), CountWindow(2)])
def test_a_result_that_cannot_be_made_is_skipped_alone(
    visits: DataStream[Visit], assigner: Any
) -> None:
    """Other windows go on, and no record is lost from the counts."""
    env = visits.env

    def emit(key: str, window: Any, n: int) -> str:
        if key == "ann":
            raise ValueError("not ann")
        return key

    sink = CollectingSink()
    windowed = visits.key_by(lambda visit: visit[0]).window(assigner)
    windowed.count(emit=emit, on_error="skip", name="windows").sink(sink)
    metrics = env.submit().wait().metrics
    assert set(sink.records) == {"bob"}
    check_conservation(metrics, env.graph())


@pytest.mark.parametrize("assigner", [TumblingWindow(10), SlidingWindow(10, 3), SessionWindow(3)])
def test_a_record_at_which_a_function_raises_is_in_no_window(
    visits: DataStream[Visit], assigner: Any
) -> None:
    """The error policy takes the record, and the window's other records are as they were."""
    env = visits.env

    def add(a: Visit, b: Visit) -> Visit:
        if b == ("ann", 6):
            raise ValueError("six")
        return (a[0], a[1] + b[1])

    windowed = visits.window(assigner).reduce(add, on_error="skip", name="windows")
    sink = CollectingSink()
    windowed.sink(sink)
    metrics = env.submit().wait().metrics
    without = [visit for visit in VISITS if visit != ("ann", 6)]
    timed = LocalEnvironment().from_collection(VISITS).assign_timestamps(lambda visit: visit[1])
    kept = timed.filter(lambda visit: visit in without).window(assigner)
    if metrics["windows"].skipped:
        assert metrics["windows"].skipped == 1
        assert sink.records == kept.reduce(lambda a, b: (a[0], a[1] + b[1])).collect()
    check_conservation(metrics, env.graph())


@pytest.mark.parametrize("key", [["a list"], None, math.nan])
@pytest.mark.parametrize(
    "assigner", [TumblingWindow(5), SlidingWindow(5, 2), SessionWindow(5), CountWindow(2)]
)
def test_a_key_that_is_none_is_told(visits: DataStream[Visit], assigner: Any, key: Any) -> None:
    """A key of a refused type fails as it does everywhere."""
    windowed = visits.key_by(lambda visit: key).window(assigner)
    for stream in (windowed.count(), windowed.process(lambda k, records, ctx: [k])):
        with pytest.raises(JobFailedError, match="cannot be a key"):
            stream.collect()


def test_windows_of_time_want_timestamps(env: LocalEnvironment) -> None:
    """Building says what is missing; windows without an end, or by the clock, do without."""
    numbers = env.from_collection([1, 2, 3])
    for assigner in (TumblingWindow(5), SlidingWindow(5, 2), SessionWindow(5)):
        with pytest.raises(GraphError, match=r"assign_timestamps"):
            numbers.window(assigner).count().collect()
    summed = numbers.window(GlobalWindow()).reduce(lambda a, b: a + b)
    assert summed.collect() == [6]
    assert numbers.window(CountWindow(2)).count().collect() == [(0, 2), (0, 1)]
    by_clock = numbers.window(TumblingWindow(3600), time="processing").reduce(lambda a, b: a + b)
    assert sum(by_clock.collect()) == 6


@pytest.mark.parametrize("parallelism", [1, 3, "auto"])
def test_windows_by_the_clock_miss_no_record_on_its_way(parallelism: Any) -> None:
    """A record's time is read where its window is, so none comes too late for it."""
    env = LocalEnvironment(config={"batch_size": 7})
    keyed = env.from_collection(range(2000)).key_by(lambda n: n % 11)
    windowed = keyed.window(TumblingWindow(0.002), time="processing")
    counted = windowed.count(parallelism=parallelism, name="windows")
    sink = CollectingSink()
    counted.sink(sink)
    metrics = env.submit().wait().metrics
    assert sum(n for _, n in sink.records) == 2000
    assert metrics["windows"].late == 0
    check_conservation(metrics, env.graph())


def test_a_window_inside_a_loop_is_refused(env: LocalEnvironment) -> None:
    """What goes round would wait for what is in the window, and that for the end of the loop."""
    for assigner in (CountWindow(2), GlobalWindow()):
        looped = env.from_collection([1, 2, 3]).iterate(
            lambda stream, assigner=assigner: stream.window(assigner).reduce(max),
            max_iterations=2,
        )
        with pytest.raises(GraphError, match="keep the loop from ending"):
            looped.collect()
    timed = env.from_collection([1]).assign_timestamps(lambda n: n)
    looped = timed.iterate(
        lambda stream: stream.window(TumblingWindow(5)).reduce(max), max_iterations=2
    )
    with pytest.raises(GraphError, match="inside a loop cannot know how far event time has come"):
        looped.collect()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"assigner": TumblingWindow}, "got the class TumblingWindow"),
    ({"assigner": 60}, "window wants an assigner, got 60"),
    ({"trigger": 5}, "window wants a trigger, got 5"),
    ({"trigger": AfterCount}, "window wants a trigger"),
    ({"allowed_lateness_s": -1}, "allowed_lateness_s must be at least 0, got -1"),
    ({"allowed_lateness_s": math.nan}, "allowed_lateness_s must be finite"),
    ({"allowed_lateness_s": "5"}, "allowed_lateness_s wants seconds"),
    ({"mode": "updating"}, "mode must be accumulating or discarding, got 'updating'"),
    ({"time": "ingestion"}, "time must be event or processing, got 'ingestion'"),
    ({"assigner": CountWindow(2), "trigger": AfterCount(1)}, "takes no trigger"),
    ({"assigner": CountWindow(2), "allowed_lateness_s": 1}, "no record is late"),
    ({"assigner": GlobalWindow(), "allowed_lateness_s": 1}, "no record is late"),
    ({"time": "processing", "allowed_lateness_s": 1}, "no record is late by the clock"),
]


@pytest.mark.parametrize(("arguments", "told"), BAD)
def test_what_is_no_window_is_refused_when_it_is_built(
    visits: DataStream[Visit], arguments: dict[str, Any], told: str
) -> None:
    """Every argument is checked, and the message names what was given."""
    given = {"assigner": TumblingWindow(10), **arguments}
    with pytest.raises(GraphError, match=told):
        visits.window(**given)
    with pytest.raises(GraphError, match=told):
        visits.key_by(lambda visit: visit[0]).window(**given)


def test_functions_that_do_not_fit_are_refused(visits: DataStream[Visit]) -> None:
    """A function of another verb, no function, and a number that is none are named."""
    windowed = visits.window(TumblingWindow(10))
    with pytest.raises(FunctionError, match="reduce wants a ReduceFunction, but Users is"):
        windowed.reduce(Users)  # type: ignore[call-overload]
    with pytest.raises(FunctionError, match="aggregate wants an AggregateFunction"):
        windowed.aggregate(Latest)  # type: ignore[call-overload]
    with pytest.raises(FunctionError, match="wants an AggregateFunction, got the lambda") as caught:
        windowed.aggregate(lambda a, b: a)  # type: ignore[call-overload]
    assert caught.value.hint == "a class with add, create, merge and result"
    with pytest.raises(FunctionError, match="process wants a ProcessWindowFunction"):
        windowed.process(Users)
    with pytest.raises(FunctionError, match="apply wants a function, got int"):
        windowed.apply(5)  # type: ignore[arg-type]
    with pytest.raises(FunctionError, match="emit wants a function, got str"):
        windowed.count(emit="n")  # type: ignore[call-overload]
    with pytest.raises(GraphError, match="top: count must be at least 1, got 0"):
        windowed.top(0, Time)


def test_an_option_that_no_verb_has_is_refused(visits: DataStream[Visit]) -> None:
    """A misspelt one is not passed over in silence."""
    windowed = visits.window(TumblingWindow(10))
    with pytest.raises(GraphError, match="count has no option 'parallelims'; did you mean 'parall"):
        windowed.count(parallelims=2)
    with pytest.raises(GraphError, match="apply has no option 'nam'; did you mean 'name'"):
        windowed.apply(lambda key, window, records: records, nam="windows")


@pytest.mark.parametrize("verb", ["collect", "map", "side_output", "sum"])
def test_windows_alone_are_no_stream(visits: DataStream[Visit], verb: str) -> None:
    """What is made of their records has to be said first, and the error says so."""
    with pytest.raises(UnknownVerbError, match=f"windows have no verb '{verb}'") as caught:
        getattr(visits.window(TumblingWindow(10)), verb)
    assert caught.value.hint is not None
    assert ".window(...).count()" in caught.value.hint


def test_a_result_that_is_no_list_is_told(visits: DataStream[Visit]) -> None:
    """A number returned by process is told as what it is."""
    windowed = visits.window(TumblingWindow(10))
    with pytest.raises(JobFailedError, match="process function returned int 5, which is not itera"):
        windowed.process(lambda key, records, ctx: 5).collect()  # type: ignore[arg-type,return-value]


def test_what_cannot_be_ordered_is_told_with_its_record(visits: DataStream[Visit]) -> None:
    """NaN has no place among the largest."""
    with pytest.raises(JobFailedError, match=r"top cannot order NaN, got it for \('ann', 1\)"):
        visits.window(TumblingWindow(10)).top(1, by=lambda visit: math.nan).collect()


def test_a_time_that_no_window_can_have_is_told_with_its_record(env: LocalEnvironment) -> None:
    """Floats far from zero are further apart than windows; the record is refused by name."""
    far = env.from_collection([1e300]).assign_timestamps(lambda time_s: time_s)
    for assigner in (TumblingWindow(0.1), SlidingWindow(0.3, 0.1), SessionWindow(1)):
        with pytest.raises(JobFailedError, match=r"at record 1e\+300: ValueError: .*too large"):
            far.window(assigner).count().collect()


def test_an_unkeyed_window_runs_in_one_subtask(visits: DataStream[Visit]) -> None:
    """One key cannot be spread, whatever the environment's parallelism."""
    visits.env.set_parallelism(3)
    windowed = visits.window(TumblingWindow(10), trigger=AfterProcessingTime(60)).count()
    [window] = [t for t in visits.env.graph() if t.operator.kind == "window"]
    assert window.parallelism == 1
    assert [n for _, n in windowed.collect()] == [3, 1, 1]
