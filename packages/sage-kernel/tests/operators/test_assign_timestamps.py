"""Timestamps: what counts as one, what becomes of a record without, and custom watermarks."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.kernel import (
    DataStream,
    LocalEnvironment,
    ProcessFunction,
    RetryPolicy,
    TumblingWindow,
)
from sage.kernel.errors import GraphError, JobFailedError, TimestampError
from sage.kernel.metrics.snapshot import JobMetrics
from sage.kernel.testing import check_conservation

NO_TIMES: list[Any] = [
    None,
    math.nan,
    math.inf,
    -math.inf,
    "12",
    b"12",
    (1, 2),
    1j,
    datetime.datetime(2026, 1, 1),
    datetime.date(2026, 1, 1),
]


def seen(stream: DataStream[Any]) -> DataStream[tuple[Any, Any, float]]:
    """Each record with its timestamp and the watermark beside it."""
    return stream.process(lambda record, ctx: [(record, ctx.timestamp, ctx.watermark)])


def metrics_of(env: LocalEnvironment) -> JobMetrics:
    metrics = env.submit().wait(60).metrics
    check_conservation(metrics, env.graph())
    return metrics


def wrong_at(record: Any, times: list[Any]) -> Any:
    time = times[record]
    if time == "raise":
        raise LookupError(f"no time for {record}")
    return time


def test_the_watermark_is_the_running_maximum_less_the_bound() -> None:
    """It rides beside the record that brought it, exactly, also below zero and between ints."""
    stream = LocalEnvironment().from_collection([-7, -9, 3, 2.5, 2, 3])
    timed = stream.assign_timestamps(lambda t: t, max_out_of_orderness_s=2)
    watermarks = [w for _, _, w in seen(timed).collect()]
    assert watermarks == [-9, -9, 1, 1, 1, 1]


@given(
    times=st.lists(st.one_of(st.integers(-100, 100), st.floats(-100, 100)), max_size=30),
    bound=st.sampled_from([0, 0.5, 7]),
    batch_size=st.sampled_from([1, 2, 7, 1024]),
)
@settings(max_examples=30, deadline=None)
def test_batches_do_not_change_it(times: list[float], bound: float, batch_size: int) -> None:
    """However records are batched, each has the time and watermark of its place in the order."""
    env = LocalEnvironment(config={"batch_size": batch_size})
    timed = env.from_collection(times).assign_timestamps(lambda t: t, max_out_of_orderness_s=bound)
    highest, expected = -math.inf, []
    for time in times:
        highest = max(highest, time)
        expected.append((time, time, highest - bound))
    assert seen(timed).collect() == expected


def test_large_integers_stay_exact() -> None:
    """Nanoseconds as ints are beyond what floats tell apart; no record is late by itself."""
    times = [2**60 + n for n in range(5)]
    timed = LocalEnvironment().from_collection(times).assign_timestamps(lambda t: t)
    assert [w for _, _, w in seen(timed).collect()] == times


def test_booleans_are_the_numbers_that_they_are_in_python() -> None:
    """True is second 1, False second 0: refusing them would cost every record."""
    timed = LocalEnvironment().from_collection([False, True]).assign_timestamps(lambda t: t)
    assert [(t, w) for _, t, w in seen(timed).collect()] == [(0, 0), (1, 1)]


@pytest.mark.parametrize("wrong", NO_TIMES, ids=repr)
@pytest.mark.parametrize("position", [0, 1])
def test_what_is_no_time_ends_the_job_with_the_record_and_the_reason(
    wrong: Any, position: int
) -> None:
    """The first record or a later one: the error names operator, record, value and a hint."""
    times = [5, 5]
    times[position] = wrong
    env = LocalEnvironment()
    timed = env.from_collection([0, 1]).assign_timestamps(lambda n: times[n])
    with pytest.raises(JobFailedError, match="assign_timestamps") as caught:
        seen(timed).collect()
    assert caught.value.record == position
    assert isinstance(caught.value.__cause__, TimestampError)
    assert repr(wrong)[:40] in str(caught.value.__cause__)
    assert "\n  hint: " in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (None, "does its function return what it computes?"),
        (
            "2026-01-01",
            "float(text) for a number, datetime.fromisoformat(text).timestamp() for a date",
        ),
        (datetime.datetime(2026, 1, 1), "its .timestamp() is the number of seconds"),
        (math.nan, "drop such a record before, or set on_error='skip' or 'dead_letter'"),
    ],
    ids=repr,
)
def test_the_hint_is_for_what_was_given(wrong: Any, told: str) -> None:
    """Each usual mistake has its own way out."""
    assert TimestampError(wrong).hint == told


@pytest.mark.parametrize("wrong", [10**400, -(10**400)], ids=["large", "small"])
@pytest.mark.parametrize("position", [0, 1])
def test_an_int_that_no_float_can_hold_is_no_time(wrong: int, position: int) -> None:
    """It is refused with its record, and not where a window that it is in ends."""
    times = [5, 5]
    times[position] = wrong
    env = LocalEnvironment()
    timed = env.from_collection([0, 1]).assign_timestamps(lambda n: times[n], on_error="skip")
    assert timed.window(TumblingWindow(10)).count().collect() == [(0, 1)]


def test_a_stream_of_decimals_is_refused_at_its_first_record() -> None:
    """Windows compute in floats, so the mistake is told where it is made."""
    timed = LocalEnvironment().from_collection([Decimal("1.5")]).assign_timestamps(lambda t: t)
    with pytest.raises(JobFailedError, match=r"finite number of seconds, got Decimal\('1.5'\)"):
        seen(timed).collect()


@pytest.mark.parametrize("policy", ["skip", "dead_letter"])
def test_the_policy_is_applied_to_each_record_without_a_time(policy: Any) -> None:
    """Records without a time have their fate, the others their windows; time is not disturbed."""
    times = [1, *NO_TIMES, "raise", 2, *NO_TIMES, 12]
    env, got = LocalEnvironment(config={"batch_size": 4}), list[Any]()
    timed = env.from_collection(range(len(times))).assign_timestamps(
        lambda n: wrong_at(n, times), on_error=policy, name="when"
    )
    timed.window(TumblingWindow(10)).count(emit=lambda key, window, n: n).sink(got.append)
    job = env.submit()
    metrics = job.wait(60).metrics
    check_conservation(metrics, env.graph())
    assert got == [2, 1]
    bad = 2 * len(NO_TIMES) + 1
    assert metrics["when"].skipped == (bad if policy == "skip" else 0)
    letters = list(job.dead_letters())
    assert len(letters) == (bad if policy == "dead_letter" else 0)
    if letters:
        assert [letter.record for letter in letters][:2] == [1, 2]
        assert letters[len(NO_TIMES)].error == f"LookupError: no time for {len(NO_TIMES) + 1}"


def test_a_retry_may_find_the_time() -> None:
    """A timestamp function that fails once is called again, and the record is not lost."""
    tries: list[int] = []

    def when(n: int) -> float:
        tries.append(n)
        if n == 2 and tries.count(2) < 3:
            raise TimeoutError("ask again")
        return n

    env = LocalEnvironment()
    policy = RetryPolicy(max_attempts=3, delay_s=0)
    timed = env.from_collection([1, 2, 3]).assign_timestamps(when, on_error=policy, name="when")
    got: list[Any] = []
    seen(timed).sink(got.append)
    metrics = metrics_of(env)
    assert got == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]
    assert metrics["when"].retries == 2


def test_a_time_that_was_refused_does_not_bring_the_watermark_on() -> None:
    """After infinity was skipped, records of the present are not late."""
    times: list[float] = [5, math.inf, 6, math.nan, 7]
    env = LocalEnvironment()
    timed = env.from_collection(range(5)).assign_timestamps(lambda n: times[n], on_error="skip")
    assert [w for _, _, w in seen(timed).collect()] == [5, 6, 7]


class Punctuated:
    """Says how far time is whenever a record is marked."""

    def on_event(self, record: tuple[float, Any], timestamp_s: float) -> Any:
        return record[1]


class Lagging:
    """Keeps state: the highest time so far, less a lag."""

    def __init__(self, lag_s: float = 1.0) -> None:
        self.lag_s = lag_s
        self.highest = -math.inf

    def on_event(self, record: Any, timestamp_s: float) -> float | None:
        self.highest = max(self.highest, timestamp_s)
        return self.highest - self.lag_s


def test_a_generator_says_what_holds_behind_its_record() -> None:
    """None says nothing new, an earlier watermark is no step back, and -inf is none at all."""
    records = [(1, None), (2, 2), (3, 1), (4, -math.inf), (5, 5.5), (4, None)]
    stream = LocalEnvironment().from_collection(records)
    timed = stream.assign_timestamps(lambda r: r[0], watermarks=Punctuated)
    watermarks = [w for _, _, w in seen(timed).collect()]
    assert watermarks == [-math.inf, -math.inf, 2, 2, 2, 5.5]


class Where(ProcessFunction[Any, Any]):
    """Says in which subtask a record is, and the watermark beside it."""

    def process(self, record: Any, ctx: Any) -> Any:
        yield self.context.parallel_index, record, ctx.watermark


@pytest.mark.parametrize("given_as", [Lagging, Lagging(1.0)], ids=["class", "instance"])
def test_each_subtask_has_a_generator_of_its_own(given_as: Any) -> None:
    """A class is made and an instance is copied for each subtask; the instance stays as it was."""
    env, got = LocalEnvironment(), list[Any]()
    stream = env.from_collection([10, 20, 30, 1, 2, 3], parallelism=2)
    timed = stream.assign_timestamps(lambda t: t, watermarks=given_as, parallelism=2)
    timed.process(Where, parallelism=2).sink(got.append, parallelism=2)
    metrics_of(env)
    for subtask in (0, 1):
        mine = [(record, watermark) for where, record, watermark in got if where == subtask]
        records = [record for record, _ in mine]
        assert len(records) == 3
        before = [max(records[:n], default=-math.inf) - 1 for n in range(3)]
        assert [watermark for _, watermark in mine] == before
    if not isinstance(given_as, type):
        assert given_as.highest == -math.inf


@pytest.mark.parametrize("told", [math.nan, math.inf, "soon", 10**400, (1,)], ids=repr)
@pytest.mark.parametrize("policy", ["fail", "skip", "dead_letter"])
def test_a_watermark_that_is_none_is_an_error_of_its_record(told: Any, policy: Any) -> None:
    """The end of time, NaN and what is no number do not close every window, they are refused."""
    env, got = LocalEnvironment(), list[Any]()
    records = [(1, None), (2, told), (3, 3)]
    timed = env.from_collection(records).assign_timestamps(
        lambda r: r[0], watermarks=Punctuated(), on_error=policy, name="when"
    )
    timed.map(lambda r: r[0]).window(TumblingWindow(10)).count(emit=lambda key, window, n: n).sink(
        got.append
    )
    if policy == "fail":
        with pytest.raises(JobFailedError, match="a watermark must be a finite number"):
            env.execute()
        return
    metrics = metrics_of(env)
    assert got == [2]
    assert metrics["when"].errors == 1


def test_a_generator_that_raises_is_the_fault_of_its_record() -> None:
    """The policy of assign_timestamps holds for its generator too."""

    class Picky:
        def on_event(self, record: int, timestamp_s: float) -> float:
            if record == 2:
                raise ValueError("not 2")
            return timestamp_s

    env, got = LocalEnvironment(), list[Any]()
    timed = env.from_collection([1, 2, 3]).assign_timestamps(
        lambda t: t, watermarks=Picky, on_error="dead_letter"
    )
    timed.sink(got.append)
    job = env.submit()
    check_conservation(job.wait(60).metrics, env.graph())
    assert [letter.error for letter in job.dead_letters()] == ["ValueError: not 2"]
    assert got == [1, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_out_of_orderness_s": -1}, "max_out_of_orderness_s must be finite seconds"),
        ({"max_out_of_orderness_s": math.nan}, "max_out_of_orderness_s must be finite seconds"),
        ({"max_out_of_orderness_s": math.inf}, "max_out_of_orderness_s must be finite seconds"),
        ({"max_out_of_orderness_s": "2s"}, "max_out_of_orderness_s must be finite seconds"),
        ({"max_out_of_orderness_s": None}, "max_out_of_orderness_s must be finite seconds"),
        ({"idle_timeout_s": 0}, "idle_timeout_s must be finite seconds above 0"),
        ({"idle_timeout_s": math.nan}, "idle_timeout_s must be finite seconds above 0"),
        ({"watermarks": 4}, "on_event"),
        ({"watermarks": object}, "on_event"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused_when_the_pipeline_is_built(
    options: dict[str, Any], message: str
) -> None:
    """What was given and what is wanted are in the message."""
    stream = LocalEnvironment().from_collection([1])
    with pytest.raises(GraphError, match=message):
        stream.assign_timestamps(lambda t: t, **options)


def test_timestamps_may_be_assigned_anew() -> None:
    """The later assignment counts, with a watermark of its own."""
    stream = LocalEnvironment().from_collection([1, 2, 3])
    timed = stream.assign_timestamps(lambda t: t * 100).assign_timestamps(lambda t: -t)
    assert seen(timed).collect() == [(1, -1, -1), (2, -2, -1), (3, -3, -1)]
