"""Errors: the operator and the record are named, and the policy decides what happens next."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from sage.kernel import (
    AsyncMapFunction,
    LocalEnvironment,
    MapFunction,
    ProcessFunction,
    RetryPolicy,
    SinkFunction,
)
from sage.kernel.errors import GraphError, JobFailedError
from sage.kernel.testing import CollectingSink, check_conservation

NOW = {"delay_s": 0.0}


def no_threes(n: int) -> int:
    if n == 3:
        raise ValueError("three")
    return n


async def no_threes_later(n: int) -> int:
    return no_threes(n)


def no_threes_in(batch: list[int]) -> list[int]:
    return [no_threes(n) for n in batch]


class NoThreesSink(SinkFunction[int]):
    def write(self, record: int) -> None:
        no_threes(record)


class NoThreesProcess(ProcessFunction[int, int]):
    def process(self, record: int, ctx: Any) -> list[int]:
        ctx.output("seen", record)
        return [no_threes(record)]


FAILING: dict[str, Any] = {
    "map": lambda s, **o: s.map(no_threes, name="bad", **o),
    "filter": lambda s, **o: s.filter(lambda n: no_threes(n) + 1, name="bad", **o),
    "flat_map": lambda s, **o: s.flat_map(lambda n: [no_threes(n)], name="bad", **o),
    "map_async": lambda s, **o: s.map_async(no_threes_later, name="bad", **o),
    "map_batches": lambda s, **o: s.map_batches(no_threes_in, max_size=1, name="bad", **o),
    "key_by": lambda s, **o: s.key_by(no_threes, name="bad", **o).reduce(lambda a, b: b),
    "reduce": lambda s, **o: s.key_by(lambda n: 0).reduce(
        lambda a, b: no_threes(b), name="bad", **o
    ),
    "route": lambda s, **o: s.route({"a": no_threes, "b": lambda n: True}, name="bad", **o)["a"],
    "iterate": lambda s, **o: s.iterate(
        lambda inner: inner.map(lambda n: n), until=lambda n: no_threes(n) + 1, name="bad", **o
    ),
    "process": lambda s, **o: s.process(NoThreesProcess, name="bad", **o),
    "comap": lambda s, **o: s.connect(s).map(no_threes, lambda n: None, name="bad", **o),
}


@pytest.mark.parametrize("verb", sorted(FAILING))
@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_failure_names_operator_and_record(verb: str, parallelism: int) -> None:
    """By default the job fails with the operator, the record and the user's exception."""
    env = LocalEnvironment(config={"parallelism": parallelism})
    stream = FAILING[verb](env.from_collection([1, 2, 3, 4]))
    with pytest.raises(JobFailedError, match="operator 'bad' failed") as caught:
        stream.collect()
    assert isinstance(caught.value.__cause__, ValueError)
    assert "ValueError: three" in str(caught.value)
    assert caught.value.record in (3, [3])


@pytest.mark.parametrize("verb", sorted(FAILING))
@pytest.mark.parametrize("parallelism", [1, 3])
def test_skip_goes_on_with_the_next_record(verb: str, parallelism: int) -> None:
    """A skipped record is counted, and every other one arrives."""
    env, sink = LocalEnvironment(config={"parallelism": parallelism}), CollectingSink()
    FAILING[verb](env.from_collection([1, 2, 3, 4]), on_error="skip").sink(sink, parallelism=1)
    metrics = env.submit().wait(30).metrics
    assert sorted(sink.records) == [1, 2, 4]
    assert metrics["bad"].skipped == 1
    check_conservation(metrics, env.graph())
    assert metrics["CollectingSink"].received == len(sink.records)


@pytest.mark.parametrize("verb", sorted(FAILING))
def test_dead_letters_keep_record_error_and_operator(verb: str) -> None:
    """A dead letter says which record failed where, why, and how often it was tried."""
    env, sink = LocalEnvironment(), CollectingSink()
    FAILING[verb](env.from_collection([1, 3, 4]), on_error="dead_letter").sink(sink)
    job = env.submit()
    metrics = job.wait(30).metrics
    (letter,) = job.dead_letters()
    assert (letter.record, letter.operator, letter.attempts) == (3, "bad", 1)
    assert letter.error == "ValueError: three"
    assert "no_threes" in letter.traceback
    assert sorted(sink.records) == [1, 4]
    assert metrics["bad"].dead_lettered == 1
    check_conservation(metrics, env.graph())
    assert metrics["CollectingSink"].received == len(sink.records)


@pytest.mark.parametrize("verb", sorted(FAILING))
def test_a_retry_policy_calls_again_so_often(verb: str) -> None:
    """``max_attempts`` counts the first call, and the last error decides."""
    env, sink = LocalEnvironment(), CollectingSink()
    policy = RetryPolicy(max_attempts=3, then="dead_letter", **NOW)
    FAILING[verb](env.from_collection([1, 3, 4]), on_error=policy).sink(sink)
    job = env.submit()
    metrics = job.wait(30).metrics
    (letter,) = job.dead_letters()
    assert letter.attempts == 3
    assert metrics["bad"].retries == 2
    assert sorted(sink.records) == [1, 4]
    check_conservation(metrics, env.graph())
    assert metrics["CollectingSink"].received == len(sink.records)


class Flaky(MapFunction[int, int]):
    """Raises at the first calls of each record."""

    def __init__(self, failures: int, error: type[Exception] = ConnectionError) -> None:
        self.failures, self.error = failures, error
        self.calls: Counter[int] = Counter()

    def map(self, record: int) -> int:
        self.calls[record] += 1
        if self.calls[record] <= self.failures:
            raise self.error(f"call {self.calls[record]}")
        return record


class FlakyLater(AsyncMapFunction[int, int]):
    def __init__(self, failures: int) -> None:
        self.flaky = Flaky(failures)

    async def map(self, record: int) -> int:
        return self.flaky.map(record)


def test_a_retry_that_succeeds_loses_nothing_and_keeps_the_order() -> None:
    """A function that works at the second call gives every record, once and in its place."""
    policy = RetryPolicy(max_attempts=3, **NOW)
    numbers = LocalEnvironment().from_collection(range(10))
    retried = numbers.map(lambda n: n).map(Flaky, 2, on_error=policy).map(lambda n: n)
    assert retried.collect() == list(range(10))
    later = numbers.map_async(FlakyLater, 2, on_error=policy)
    assert later.collect() == list(range(10))
    assert numbers.map_async(FlakyLater, 2, retries=policy).collect() == list(range(10))


def test_only_listed_exceptions_are_retried() -> None:
    """``retry_on`` gives up at once on anything else."""
    policy = RetryPolicy(max_attempts=5, retry_on=(TimeoutError,), **NOW)
    env = LocalEnvironment()
    stream = env.from_collection([1]).map(Flaky, 3, name="flaky", on_error=policy)
    with pytest.raises(JobFailedError, match="call 1"):
        stream.collect()


def test_the_environments_policy_is_the_default() -> None:
    """``on_error`` of the environment holds for operators that say nothing."""
    env = LocalEnvironment(config={"on_error": "skip"})
    assert env.from_collection([1, 3, 4]).map(no_threes).collect() == [1, 4]
    with pytest.raises(JobFailedError):
        env.from_collection([3]).map(no_threes, on_error="fail").collect()


@pytest.mark.parametrize("fails", ["behind", "inside"])
def test_a_failure_among_a_flat_maps_items_loses_only_one(fails: str) -> None:
    """Where one item of a flat_map fails behind it, the other items go on; inside, the record."""
    env, sink = LocalEnvironment(), CollectingSink()

    def items(n: int) -> Any:
        yield n
        if fails == "inside" and n == 10:
            raise ValueError("ten")
        yield n + 1
        yield n + 2

    def behind(n: int) -> int:
        if fails == "behind" and n == 11:
            raise ValueError("eleven")
        return n

    stream = env.from_collection([0, 10, 20]).flat_map(items, on_error="skip", name="items")
    stream.map(behind, on_error="skip", name="behind").sink(sink)
    metrics = env.submit().wait(30).metrics
    lost = {11} if fails == "behind" else {11, 12}
    assert sink.records == [n for n in (0, 1, 2, 10, 11, 12, 20, 21, 22) if n not in lost]
    assert metrics["items" if fails == "inside" else "behind"].skipped == 1
    check_conservation(metrics, env.graph())
    assert metrics["CollectingSink"].received == len(sink.records)


def test_a_failing_batch_among_a_flat_maps_items_loses_only_itself() -> None:
    """The items behind a batch that failed go on."""
    env, sink = LocalEnvironment(), CollectingSink()
    items = env.from_collection([1, 5]).flat_map(lambda n: [n, n + 1, n + 2, n + 3])
    items.map_batches(no_threes_in, max_size=2, on_error="skip", name="bad").sink(sink)
    metrics = env.submit().wait(30).metrics
    assert sink.records == [1, 2, 5, 6, 7, 8]
    assert metrics["bad"].skipped == 2
    check_conservation(metrics, env.graph())
    assert metrics["CollectingSink"].received == len(sink.records)


def test_nested_flat_maps_go_on_behind_a_failure() -> None:
    """Every loop around a failing operator goes on with its next item."""
    env, sink = LocalEnvironment(), CollectingSink()
    twice = env.from_collection([1, 2]).flat_map(lambda n: [n, n + 10])
    again = twice.flat_map(lambda n: [n, n + 100])
    again.map(lambda n: n // (n - 11), on_error="skip", name="bad").sink(sink)
    metrics = env.submit().wait(30).metrics
    assert len(sink.records) == 7
    assert metrics["bad"].skipped == 1
    check_conservation(metrics, env.graph())
    assert metrics["CollectingSink"].received == len(sink.records)


@pytest.mark.parametrize("text", ["word", b"word"])
def test_a_flat_map_that_returns_text_is_an_error(text: Any) -> None:
    """A str is not split into letters; the error says what to return."""
    stream = LocalEnvironment().from_collection([1]).flat_map(lambda n: text)
    with pytest.raises(JobFailedError, match="return a list of one item instead"):
        stream.collect()


def test_a_sink_that_raises_fails_the_job() -> None:
    """A sink's error names the sink and the record; a policy works for it too."""
    env = LocalEnvironment()
    env.from_collection([1, 2, 3]).sink(NoThreesSink)
    with pytest.raises(JobFailedError, match="'NoThreesSink' failed at record 3"):
        env.execute()
    env = LocalEnvironment()
    env.from_collection([1, 2, 3]).sink(NoThreesSink, on_error="skip")
    assert env.execute().metrics["NoThreesSink"].skipped == 1


def test_a_failing_task_ends_all_the_others() -> None:
    """One error ends a job of many tasks, whatever the others wait for."""
    env = LocalEnvironment(config={"channel_batches": 1, "batch_size": 1})
    endless = env.from_source(lambda: iter(int, 1)).map(lambda n: n, parallelism=3)
    endless.union(env.from_collection([3]).map(no_threes)).sink(CollectingSink())
    with pytest.raises(JobFailedError, match="three"):
        env.submit().wait(30)
    alive = [
        t for t in threading.enumerate() if t.name.startswith("sage-") and "reader" not in t.name
    ]
    assert not [
        t for t in alive if t.name.startswith("sage-map") or t.name.startswith("sage-union")
    ]


def test_the_first_error_is_what_surfaces() -> None:
    """An error while closing does not hide the error that ended the job."""

    class BadClose(MapFunction[int, int]):
        def map(self, record: int) -> int:
            return no_threes(record)

        def close(self) -> None:
            raise RuntimeError("close")

    with pytest.raises(JobFailedError, match="three"):
        LocalEnvironment().from_collection([3]).map(BadClose).collect()
    with pytest.raises(JobFailedError, match=r"failed in close\(\): RuntimeError: close"):
        LocalEnvironment().from_collection([1]).map(BadClose).collect()


def test_more_dead_letters_than_allowed_fail_the_job() -> None:
    """A dead letter is never dropped to make room: the job fails instead."""
    env = LocalEnvironment(config={"max_dead_letters": 2, "on_error": "dead_letter"})
    with pytest.raises(JobFailedError, match="max_dead_letters"):
        env.from_collection([3, 3, 3]).map(no_threes).collect()


def test_an_exception_in_an_async_function_has_the_users_traceback() -> None:
    """The cause of a failed async call is the user's exception."""
    with pytest.raises(JobFailedError) as caught:
        LocalEnvironment().from_collection([3]).map_async(no_threes_later).collect()
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_call_that_takes_too_long_has_failed() -> None:
    """``timeout_s`` ends a call, and the policy decides about its record."""

    async def never(n: int) -> int:
        import asyncio

        await asyncio.Event().wait()
        return n

    env, sink = LocalEnvironment(), CollectingSink()
    env.from_collection([1]).map_async(never, timeout_s=0.01, on_error="dead_letter").sink(sink)
    job = env.submit()
    job.wait(30)
    (letter,) = job.dead_letters()
    assert letter.error.startswith("TimeoutError")


def test_counts_add_up_when_a_job_fails_in_the_middle() -> None:
    """At a failure nothing is negative, and what was under way is held or in a channel."""
    for verb in sorted(FAILING):
        env = LocalEnvironment(config={"batch_size": 2})
        records = [*range(10), 3, *range(100)]
        stream = FAILING[verb](env.from_collection(records).flat_map(lambda n: [n, n]))
        stream.map(str, parallelism=2).sink(CollectingSink())
        job = env.submit()
        with pytest.raises(JobFailedError):
            job.wait(30)
        check_conservation(job.metrics(), env.graph(), ended=False)


@pytest.mark.parametrize("parallelism", [1, 3])
def test_a_refused_key_is_set_aside_by_the_policy_of_key_by(parallelism: int) -> None:
    """The key is at fault, not the operator behind it, with an exchange and without one."""
    env = LocalEnvironment()
    keyed = env.from_collection(["a", None, "b"]).key_by(lambda key: key, on_error="skip")
    got: list[object] = []
    keyed.count(parallelism=parallelism).sink(got.append)
    metrics = env.execute().metrics
    assert sorted(got, key=str) == [("a", 1), ("b", 1)]
    assert metrics["key_by"].skipped == 1
    assert metrics["count"].received == 2


def test_a_stream_from_outside_cannot_join_the_rounds_of_a_loop() -> None:
    """What enters the body of iterate sideways is refused when the plan is made, by name."""
    env = LocalEnvironment()
    other = env.from_collection([1], name="other")
    looped = env.from_collection([2]).iterate(lambda s: s.union(other), max_iterations=2)
    with pytest.raises(GraphError, match="reads 'other', which is outside of the loop"):
        looped.collect()
