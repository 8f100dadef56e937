"""How jobs on Ray fail, stop, and set records aside."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sage.kernel import DataStream
from sage.kernel.api.environment import Environment
from sage.kernel.errors import (
    JobCancelledError,
    JobError,
    JobFailedError,
    RemoteError,
    WorkerDiedError,
)
from sage.kernel.testing import check_conservation

_builtin_print = print


class OddlyMadeError(Exception):
    """Cannot be rebuilt from its arguments, as pickle tries it."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fails_at_7(n: int) -> int:
    if n == 7:
        raise ValueError("seven it is")
    return n


def fails_oddly(n: int) -> int:
    raise OddlyMadeError(n, n)


def endless() -> Iterator[int]:
    n = 0
    while True:
        yield n
        n += 1


def nowhere(record: Any) -> None:
    """Write nothing."""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_error_is_told_as_locally(remote: Callable[..., Environment]) -> None:
    """The error names operator and record; the cause is the user's, with its traceback."""
    numbers = remote().from_collection(range(20)).rebalance()
    with pytest.raises(JobFailedError) as caught:
        numbers.map(fails_at_7, name="picky", parallelism=2).collect()
    assert (caught.value.operator, caught.value.record) == ("picky", 7)
    assert isinstance(caught.value.__cause__, ValueError)
    [note] = caught.value.__cause__.__notes__
    assert "in fails_at_7" in note
    assert "actor" in note


def test_an_error_that_cannot_travel_is_told_in_words(remote: Callable[..., Environment]) -> None:
    """An exception that cannot be rebuilt elsewhere still names its type and message."""
    with pytest.raises(JobFailedError, match="OddlyMadeError: 1 and 1") as caught:
        remote().from_collection([1]).map(fails_oddly).collect()
    assert isinstance(caught.value.__cause__, RemoteError)


def test_a_record_that_cannot_travel_fails_the_job(remote: Callable[..., Environment]) -> None:
    """What cannot be pickled cannot go to another actor; the sender is named."""
    locks = remote().from_collection([1]).map(lambda _: threading.Lock(), name="locksmith")
    with pytest.raises(JobFailedError, match=r"locksmith.*sending records to 'onwards'"):
        locks.map(str, name="onwards", resources={"num_cpus": 0.01}).collect()


class Unwelcome:
    """Can be sent and not be received."""

    def __reduce__(self) -> Any:
        return refuse_to_be_made, ()


def refuse_to_be_made() -> Unwelcome:
    raise ValueError("not in this process")


def test_a_record_that_cannot_be_received_fails_the_job(remote: Callable[..., Environment]) -> None:
    """A batch that cannot be unpickled is an error, also if it is the last one; none is lost."""
    numbers = remote().from_collection([1]).map(lambda _: Unwelcome(), name="maker")
    with pytest.raises(JobFailedError, match=r"maker.*sending(.|\n)*not in this process"):
        numbers.map(str, name="onwards", resources={"num_cpus": 0.01}).collect()


def test_skipped_and_dead_lettered_records_are_counted(remote: Callable[..., Environment]) -> None:
    """Policies work in actors; dead letters come home and can be replayed."""
    env = remote()
    numbers = env.from_collection(range(20)).rebalance()
    skipping = numbers.map(fails_at_7, on_error="skip", name="skips", parallelism=2)
    skipping.map(lambda n: 1 / (n - 3), on_error="dead_letter", name="divides").sink(nowhere)
    job = env.submit()
    metrics = job.wait().metrics
    check_conservation(metrics, env.graph())
    assert metrics["skips"].skipped == 1
    [letter] = job.dead_letters()
    assert (letter.record, letter.operator) == (3, "divides")
    assert "ZeroDivisionError" in letter.traceback
    [again] = job.replay_dead_letters()
    assert again.status == "finished"
    assert [again.record for again in job.dead_letters()] == [3]


def test_too_many_dead_letters_fail_the_job(remote: Callable[..., Environment]) -> None:
    """None is dropped to make room."""
    env = remote(max_dead_letters=5)
    env.from_collection(range(20)).map(lambda n: n / 0, on_error="dead_letter").sink(nowhere)
    with pytest.raises(JobFailedError, match="max_dead_letters"):
        env.execute()


def running(env: Environment, build: Callable[[DataStream[Any]], Any]) -> Any:
    """Start an endless pipeline."""
    build(env.from_source(endless))
    return env.submit()


def test_cancel_ends_an_endless_job(
    remote: Callable[..., Environment], eventually: Callable[..., Any]
) -> None:
    """A cancelled job ends while its source and its channels are busy."""
    job = running(remote(), lambda s: s.rebalance().map(abs, parallelism=2).sink(nowhere))
    eventually(lambda: any(s.received for s in job.metrics().subtasks if s.name == "nowhere"))
    job.cancel()
    with pytest.raises(JobCancelledError):
        job.wait(30)


def test_drain_ends_the_source_and_loses_nothing(
    remote: Callable[..., Environment], eventually: Callable[..., Any]
) -> None:
    """What was read before the drain arrives."""
    env = remote()
    job = running(env, lambda s: s.rebalance().map(abs, parallelism=2).sink(nowhere))
    eventually(lambda: any(s.received for s in job.metrics().subtasks if s.name == "nowhere"))
    job.drain()
    check_conservation(job.wait(30).metrics, env.graph())


def test_a_killed_actor_fails_the_job(
    remote: Callable[..., Environment], eventually: Callable[..., Any]
) -> None:
    """The death of an actor's process is told, and does not hang its neighbours."""
    import ray

    job = running(remote(), lambda s: s.rebalance().map(abs, name="victim", parallelism=2))
    actors = eventually(lambda: job._run.actors if job._run._joining else None)
    ray.kill(actors[1, 0])
    with pytest.raises(JobFailedError, match=r"'victim', subtask 0, died") as caught:
        job.wait(30)
    assert isinstance(caught.value.__cause__, WorkerDiedError)


def test_a_slow_sink_bounds_what_is_under_way(
    remote: Callable[..., Environment], eventually: Callable[..., Any], door: Any
) -> None:
    """A sender stops at its credits, however fast its source is."""
    env = remote(batch_size=10, channel_batches=4)
    passed = door

    def wait_at_door(record: int) -> None:
        passed.wait()

    env.from_source(endless).sink(wait_at_door, resources={"num_cpus": 0.01})
    job = env.submit()
    counts = []

    def has_stopped() -> bool:
        counts.append([(edge.sent, edge.batches) for edge in job.metrics().edges])
        return len(counts) > 5 and counts[-1] == counts[-5] and any(s for s, _ in counts[-1])

    eventually(has_stopped)
    [(sent, under_way)] = counts[-1]
    assert 1 <= under_way <= 4
    assert sent <= 4 * 10
    job.cancel()
    door.open()
    with pytest.raises(JobCancelledError):
        job.wait(30)


def test_actors_with_resources_are_gone_when_the_job_ends(
    remote: Callable[..., Environment], eventually: Callable[..., Any]
) -> None:
    """What was asked of the cluster is given back."""
    where = {"num_cpus": 0.5, "memory": "10MB"}
    [pid] = (
        remote()
        .from_collection([0], resources=where)
        .map(lambda _: os.getpid(), resources=where)
        .collect()
    )
    eventually(lambda: not is_alive(pid))


def test_resources_that_no_node_has_are_told_at_once(remote: Callable[..., Environment]) -> None:
    """Nobody waits for a GPU that cannot come; the message names what was asked for."""
    numbers = remote().from_collection([1]).map(abs, name="trained", resources={"num_gpus": 3})
    with pytest.raises(JobError, match=r"'trained.* num_gpus=3"):
        numbers.collect()


def test_an_actor_that_finds_no_room_is_told_after_a_while(
    remote: Callable[..., Environment],
) -> None:
    """Of two actors that fit alone and not together, one is waited for, then named."""
    env = remote(ray={"start_timeout_s": 3})
    numbers = env.from_collection([1]).map(abs, name="greedy", resources={"num_cpus": 2})
    with pytest.raises(JobError, match=r"'greed.* after 3 s: .* num_cpus="):
        numbers.map(abs, name="greedier", resources={"num_cpus": 1.5}).collect()


def test_print_stays_the_users_own(remote: Callable[..., Environment]) -> None:
    """Ray puts its own function in place of `print` when a worker dies; here it does not."""
    from ray.experimental import tqdm_ray

    assert remote().from_collection([1]).collect() == [1]
    tqdm_ray.instance()  # what Ray calls before it tells of a worker that died
    assert print is _builtin_print
