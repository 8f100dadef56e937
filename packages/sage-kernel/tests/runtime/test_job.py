"""The life of a job: waiting, draining, cancelling whatever it is blocked in, running once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sage.kernel import LocalEnvironment, SourceFunction
from sage.kernel.errors import (
    GraphError,
    JobCancelledError,
    JobError,
    JobFailedError,
    JobTimeoutError,
)
from sage.kernel.testing import CollectingSink, Gate, ScriptedSource, check_conservation


class Endless(SourceFunction[int]):
    """Counts for ever."""

    bounded = False

    def __init__(self) -> None:
        self.next = 0

    def read(self, max_records: int) -> list[int]:
        start, self.next = self.next, self.next + max_records
        return list(range(start, self.next))


_before: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def _threads_of_other_tests() -> None:
    """Threads that are there already, such as those of a cluster, are not this test's."""
    _before.clear()
    _before.update(threading.enumerate())


def no_sage_threads() -> bool:
    """Reader threads that wait in the user's code end when that gives them back."""
    ours = [
        t
        for t in threading.enumerate()
        if t.name.startswith("sage-") and t.name != "sage-reader" and t not in _before
    ]
    for thread in ours:
        thread.join(10)
    return not any(thread.is_alive() for thread in ours)


def test_a_single_chain_runs_in_the_callers_thread() -> None:
    """``execute`` of a job of one task calls the functions where a profiler sees them."""
    threads: set[threading.Thread] = set()

    def note(n: int) -> int:
        threads.add(threading.current_thread())
        return n

    env = LocalEnvironment()
    env.from_collection(range(3)).map(note).sink(note)
    env.execute()
    assert threads == {threading.current_thread()}


def test_submit_returns_at_once_and_wait_gives_the_result() -> None:
    """While it runs the handle says so; afterwards it gives result and metrics."""
    gate, sink = Gate(), CollectingSink()
    env = LocalEnvironment("pipeline")
    env.from_source(ScriptedSource(1, gate, 2)).sink(sink)
    job = env.submit()
    sink.wait_for(1)
    assert job.status == "running"
    with pytest.raises(JobTimeoutError, match="it goes on"):
        job.wait(0)
    with pytest.raises(JobError, match="is running"):
        job.result()
    with pytest.raises(GraphError, match="running already"):
        env.submit()
    gate.open()
    result = job.wait(30)
    assert (result.name, result.status, job.status) == ("pipeline", "finished", "finished")
    assert job.result().metrics["CollectingSink"].received == 2
    assert job.wait().status == "finished"
    assert no_sage_threads()


def test_run_once_after_submit_does_not_run_twice() -> None:
    """``run_once`` waits for the job that was submitted."""
    sink = CollectingSink()
    env = LocalEnvironment()
    env.from_collection([1, 2]).sink(sink)
    env.submit()
    env.run_once()
    assert sink.records == [1, 2]
    fresh = LocalEnvironment()
    fresh.from_collection([1, 2]).sink(sink)
    fresh.run_once()
    assert sink.records == [1, 2, 1, 2]


def test_building_runs_nothing() -> None:
    """Verbs, ``explain`` and ``graph`` read no source and call no function."""
    source = ScriptedSource(1)
    env = LocalEnvironment()
    env.from_source(source).map(lambda n: 1 / 0).sink(print)
    env.explain().to_json()
    env.graph()
    assert source.given == 0


def test_collect_runs_only_what_it_needs() -> None:
    """Other branches and sinks are left alone by ``collect``."""
    sink = CollectingSink()
    env = LocalEnvironment()
    numbers = env.from_collection([1, 2])
    numbers.map(lambda n: 1 / 0).sink(sink)
    assert numbers.map(str).collect() == ["1", "2"]
    assert (sink.records, sink.opened) == ([], 0)


BLOCKED: dict[str, Any] = {
    "in a source": lambda env, gate: env.from_source(ScriptedSource(1, gate)),
    "in a polled source": lambda env, gate: env.from_source(Endless).filter(
        lambda n: gate.arrivals or _arrive(gate) or True
    ),
    "in a full channel": lambda env, gate: (
        env.from_source(Endless)
        .map(lambda n: n)
        .rebalance()
        .map(lambda n: n, parallelism=2)
        .map(lambda n: gate.wait() or n)
    ),
    "in an async call": lambda env, gate: env.from_collection([1, 2]).map_async(_hang_at(gate)),
    "in a retry pause": lambda env, gate: env.from_collection([1]).map(
        lambda n: _arrive(gate) or 1 / 0, on_error=_retry_for_ever()
    ),
    "in a gather": lambda env, gate: env.from_source(ScriptedSource(1, gate)).gather(
        lambda n: n, expected=2
    ),
}


def _arrive(gate: Gate) -> None:
    opened = Gate()
    opened.open()
    opened.wait()
    with gate._condition:
        gate.arrivals += 1
        gate._condition.notify_all()


def _hang_at(gate: Gate) -> Any:
    async def hang(n: int) -> int:
        _arrive(gate)
        await asyncio.Event().wait()
        return n

    return hang


def _retry_for_ever() -> Any:
    from sage.kernel import RetryPolicy

    return RetryPolicy(max_attempts=100, delay_s=1000.0, max_delay_s=1000.0)


@pytest.mark.parametrize("where", sorted(BLOCKED))
def test_cancel_ends_a_job_that_is_blocked(where: str) -> None:
    """Cancel works wherever the job waits; its counts add up, and no thread is left."""
    gate = Gate()
    env = LocalEnvironment(config={"channel_batches": 1, "batch_size": 4})
    BLOCKED[where](env, gate).sink(CollectingSink())
    job = env.submit()
    gate.wait_for_arrival()
    job.cancel()
    if where == "in a full channel":
        gate.open()  # a function that is being called is waited for
    with pytest.raises(JobCancelledError):
        job.wait(10)
    gate.open()
    assert job.status == "cancelled"
    assert no_sage_threads()
    check_conservation(job.metrics(), env.graph(), ended=False)


def test_an_async_function_that_refuses_to_be_cancelled_does_not_hold_the_job() -> None:
    """A coroutine that swallows its cancellation is abandoned, not waited for for ever."""
    gate = Gate()

    async def stubborn(n: int) -> int:
        _arrive(gate)
        for _ in range(3):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue
        return n

    env = LocalEnvironment()
    env.from_collection([1]).map_async(stubborn).sink(CollectingSink())
    job = env.submit()
    gate.wait_for_arrival()
    job.cancel()
    with pytest.raises(JobCancelledError):
        job.wait(20)


def test_drain_works_off_what_was_read() -> None:
    """After a drain no record is read, and every one that was read arrives."""
    sink = CollectingSink()
    env = LocalEnvironment(config={"batch_size": 16})
    env.from_source(Endless).map(lambda n: n, parallelism=2).sink(sink)
    job = env.submit()
    sink.wait_for(100)
    job.drain()
    result = job.wait(30)
    assert sorted(sink.records) == list(range(len(sink.records)))
    assert result.status == "finished"
    assert sink.flushed == sink.closed == 1
    check_conservation(result.metrics, env.graph())


def test_stop_and_close_of_an_environment() -> None:
    """``stop`` drains what ``submit`` started, leaving the ``with`` block cancels it."""
    sink = CollectingSink()
    env = LocalEnvironment()
    env.from_source(Endless).sink(sink)
    job = env.submit()
    sink.wait_for(1)
    env.stop()
    assert job.wait(30).status == "finished"
    with LocalEnvironment() as other:
        other.from_source(Endless).sink(sink)
        second = other.submit()
    assert second.status == "cancelled"


def test_exceptions_of_every_thread_surface_in_wait() -> None:
    """Reader threads, task threads, the event loop: what they raise is raised by ``wait``."""

    def source() -> Iterator[int]:
        yield 1
        raise LookupError("in the reader")

    async def call(n: int) -> int:
        raise LookupError("in the loop")

    def task(n: int) -> int:
        raise LookupError("in a task")

    for build, where in [
        (lambda e: e.from_source(source).map(str, parallelism=2), "in the reader"),
        (lambda e: e.from_collection([1]).map_async(call), "in the loop"),
        (lambda e: e.from_collection([1]).rebalance().map(task, parallelism=3), "in a task"),
    ]:
        env = LocalEnvironment()
        build(env).sink(CollectingSink())
        job = env.submit()
        with pytest.raises(JobFailedError, match=f"LookupError: {where}"):
            job.wait(30)
        assert isinstance(job.error, JobFailedError)
        assert job.status == "failed"
        assert no_sage_threads()


def test_a_slow_map_beside_a_fast_one_loses_nothing() -> None:
    """Where one of two subtasks is held up at its first record, the job ends with every record."""
    gate, sink = Gate(), CollectingSink()
    first = threading.Lock()

    def one_is_slow(n: int) -> int:
        if first.acquire(blocking=False):
            gate.wait()
        return n

    env = LocalEnvironment(config={"batch_size": 4, "channel_batches": 2})
    env.from_collection(range(40)).map(one_is_slow, parallelism=2).sink(sink)
    job = env.submit()
    gate.wait_for_arrival()
    sink.wait_for(1)
    gate.open()
    metrics = job.wait(30).metrics
    assert sorted(sink.records) == list(range(40))
    check_conservation(metrics, env.graph())


def test_metrics_of_a_running_job_say_what_is_held() -> None:
    """Records in a buffer, in a join or in flight are held, not emitted, while the job runs."""
    gate, arrived = Gate(), Gate()
    env = LocalEnvironment()
    numbers = env.from_source(ScriptedSource(1, 2, 3, gate))
    numbers.gather(lambda n: n, expected=2, name="gathered").sink(CollectingSink())
    numbers.map_batches(lambda b: b, max_size=10, name="batched").sink(CollectingSink())
    seen = CollectingSink()
    numbers.sink(seen)
    job = env.submit()
    seen.wait_for(3)
    gate.wait_for_arrival()
    while job.metrics()["gathered"].received < 3 or job.metrics()["batched"].received < 3:
        arrived.arrivals += 1
    metrics = job.metrics()
    gate.open()
    job.wait(30)
    assert metrics["gathered"].held == 3
    assert metrics["batched"].held == 3
    assert metrics["gathered"].emitted == metrics["batched"].emitted == 0


def test_an_environment_can_run_again() -> None:
    """Every run starts afresh: state, copies and metrics are its own."""
    env = LocalEnvironment()
    counted = env.from_collection(["a", "a"]).key_by(lambda w: w).count()
    assert counted.collect() == counted.collect() == [("a", 1), ("a", 2)]
    sink = CollectingSink()
    counted.sink(sink)
    assert env.execute().metrics["count"].received == 2
    assert env.execute().metrics["count"].received == 2
    assert sink.records == [("a", 1), ("a", 2)] * 2
