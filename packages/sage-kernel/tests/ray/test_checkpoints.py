"""Checkpoints on Ray: what is lost with an actor is done again, and nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import SageError
from sage.kernel import LocalEnvironment, MapFunction, TumblingWindow
from sage.kernel.api.environment import Environment
from sage.kernel.checkpoint import steps
from sage.kernel.errors import GraphError, JobCancelledError
from sage.kernel.testing import check_conservation
from sage.kernel.testing.recovery import CommittingSink, Once, PausingSource

COUNT = 4000
Remote = Callable[..., Environment]


def tolerance(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {
        "checkpoint_dir": tmp_path / "checkpoints",
        "checkpoint_interval": 0.1,
        "restart": {"strategy": "fixed", "max_attempts": 3, "delay_s": 0.01},
        **more,
    }


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop(path: Path) -> None:
    path.write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)


def test_a_job_ends_with_all_its_results_committed(remote: Remote, tmp_path: Path) -> None:
    """The last checkpoint covers everything, and a job that has ended does nothing again."""
    sink = CommittingSink(tmp_path / "results")
    for _ in range(2):
        env = remote(fault_tolerance=tolerance(tmp_path))
        numbers = env.from_collection(range(COUNT), name="numbers").rebalance()
        numbers.map(abs, parallelism=2, name="work").sink(sink, parallelism=1)
        result = env.execute()
        assert sorted(sink.committed()) == list(range(COUNT))
        assert result.metrics["work"].received == COUNT
        check_conservation(result.metrics, env.graph())


def build_work(env: Environment, once: Once, sink: CommittingSink) -> None:
    """Build: two actors, one of which has an accident, between a source and a sink."""

    def work(n: int) -> int:
        if n == COUNT // 2:
            once()
        return n

    numbers = env.from_source(PausingSource(COUNT, sink), name="numbers").rebalance()
    numbers.map(work, parallelism=2, name="work").sink(sink, parallelism=1)


def test_the_loss_of_an_actor_changes_no_result(remote: Remote, tmp_path: Path) -> None:
    """An actor that is killed takes nothing with it: results and counts are those of one run."""
    sink, once = CommittingSink(tmp_path / "results"), Once(tmp_path / "happened", kill)
    env = remote(fault_tolerance=tolerance(tmp_path))
    build_work(env, once, sink)
    result = env.execute()
    assert once.has_happened
    assert sorted(sink.committed()) == list(range(COUNT))
    assert result.metrics["work"].received == COUNT
    check_conservation(result.metrics, env.graph())


def test_an_actor_that_goes_on_after_its_time_is_refused(
    remote: Remote, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    """One that was stopped is replaced; what it says later is not mixed with its replacement's."""
    sink, pid = CommittingSink(tmp_path / "results"), tmp_path / "pid"
    once = Once(tmp_path / "happened", lambda: stop(pid))
    env = remote(fault_tolerance=tolerance(tmp_path), worker_timeout_s=2.0)
    build_work(env, once, sink)
    job = env.submit()
    eventually(lambda: job._run.attempts)
    with suppress(ProcessLookupError):  # Ray may have killed it by now
        os.kill(int(pid.read_text()), signal.SIGCONT)
    result = job.wait(120)
    assert sorted(sink.committed()) == list(range(COUNT))
    assert result.metrics["work"].received == COUNT
    check_conservation(result.metrics, env.graph())


def counted(env: Environment, source: PausingSource, sink: CommittingSink, **options: Any) -> None:
    """Build: count the numbers by their remainder; a result is a remainder and its count."""
    numbers = env.from_source(source, name="numbers", uid="numbers")
    by_rest = numbers.key_by(lambda n: n % 37, name="rest", uid="rest")
    by_rest.count(name="counts", uid="counts", **options).sink(
        sink, name="results", uid="results", parallelism=1
    )


def every_count() -> list[tuple[int, int]]:
    """Return what `counted` gives, in some order."""
    return [(n % 37, n // 37 + 1) for n in range(COUNT)]


def test_keyed_state_is_that_of_the_checkpoint(remote: Remote, tmp_path: Path) -> None:
    """Counts over two actors, one of which is killed, go on where the checkpoint stands."""
    sink = CommittingSink(tmp_path / "results")
    env = remote(fault_tolerance=tolerance(tmp_path))
    once = Once(tmp_path / "happened", kill)

    def at_half(counted: tuple[int, int]) -> tuple[int, int]:
        if counted[1] > COUNT // 37 // 2 + 1:
            once()
        return counted

    numbers = env.from_source(PausingSource(COUNT, sink)).key_by(lambda n: n % 37)
    numbers.count(parallelism=2).map(at_half, parallelism=2).sink(sink, parallelism=1)
    env.execute()
    assert once.has_happened
    assert sorted(sink.committed()) == sorted(every_count())


@pytest.mark.parametrize("starts_on_ray", [False, True])
def test_a_checkpoint_of_one_runtime_goes_on_in_the_other(
    remote: Remote, tmp_path: Path, eventually: Callable[..., Any], *, starts_on_ray: bool
) -> None:
    """Locally or on Ray, and with another parallelism: the state is the same."""
    config = {"fault_tolerance": tolerance(tmp_path)}
    sink, nobody = CommittingSink(tmp_path / "results"), CommittingSink(tmp_path / "nothing")
    first = remote(**config) if starts_on_ray else LocalEnvironment("remote", config)
    counted(first, PausingSource(COUNT, nobody), sink, parallelism=1)
    job = first.submit()
    eventually(lambda: sink.has_committed)
    job.drain()
    job.wait(60)
    before = sink.committed()
    assert 0 < len(before) <= COUNT // 2

    second = LocalEnvironment("remote", config) if starts_on_ray else remote(**config)
    counted(second, PausingSource(COUNT, sink), sink, parallelism=2)
    result = second.execute()
    assert sink.committed()[: len(before)] == before
    assert sorted(sink.committed()) == sorted(every_count())
    assert result.metrics["counts"].received == COUNT
    check_conservation(result.metrics, second.graph())


def test_a_savepoint_starts_another_job(
    remote: Remote, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    """A copy of a running job's state, taken on Ray, is where a job of this process begins."""
    sink, nobody = CommittingSink(tmp_path / "results"), CommittingSink(tmp_path / "nothing")
    env = remote(fault_tolerance=tolerance(tmp_path))
    counted(env, PausingSource(COUNT, nobody), sink)
    job = env.submit()
    eventually(lambda: sink.has_committed)
    there = job.savepoint(str(tmp_path / "saved"))
    job.cancel()
    with pytest.raises(JobCancelledError):
        job.wait(60)

    rest = CommittingSink(tmp_path / "rest")
    options = {"checkpoint_dir": tmp_path / "others", "restore_from": there}
    other = LocalEnvironment("other", {"fault_tolerance": options})
    counted(other, PausingSource(COUNT, sink), rest)
    other.execute()
    assert Counter(rest.committed()) <= Counter(every_count())
    assert set(every_count()[COUNT // 2 :]) <= set(rest.committed())


class KilledAt(MapFunction[int, int]):
    """Passes everything on; its process dies when it comes to a step."""

    def __init__(self, step: str, once: Once) -> None:
        self.step, self.once = step, once

    def open(self, context: Any) -> None:
        steps.watch(self.reached)

    def map(self, record: int) -> int:
        return record

    def close(self) -> None:
        steps.watch(None)

    def reached(self, step: str) -> None:
        if step == self.step:
            self.once()


@pytest.mark.parametrize(
    "step",
    ["task.snapshot", "sink.prepare.after", "task.write.after", "sink.commit.before"],
)
def test_an_actor_that_dies_in_a_checkpoint_leaves_nothing_half_done(
    remote: Remote, tmp_path: Path, step: str
) -> None:
    """Killed between any two steps, the actor of a sink has neither lost nor doubled a record."""
    sink, once = CommittingSink(tmp_path / "results"), Once(tmp_path / "happened", kill)
    env = remote(fault_tolerance=tolerance(tmp_path))
    numbers = env.from_source(PausingSource(COUNT, sink)).rebalance().map(abs, parallelism=2)
    numbers.map(KilledAt, step, once, parallelism=1).sink(sink, parallelism=1)
    env.execute()
    assert once.has_happened
    assert sorted(sink.committed()) == list(range(COUNT))


def test_windows_are_those_of_one_run(remote: Remote, tmp_path: Path) -> None:
    """Windows, watermarks and late records behind an exchange go on with the state they had."""
    sink, once = CommittingSink(tmp_path / "results"), Once(tmp_path / "happened", kill)
    env = remote(fault_tolerance=tolerance(tmp_path))

    def work(counted: Any) -> Any:
        if sink.has_committed:
            once()
        return counted

    numbers = env.from_source(PausingSource(COUNT, sink)).assign_timestamps(lambda n: n / 10)
    windows = numbers.key_by(lambda n: n % 5).window(TumblingWindow(10)).count(parallelism=2)
    windows.map(work, parallelism=2).sink(sink, parallelism=1)
    env.execute()
    assert once.has_happened
    assert Counter(sink.committed()) == {(key, 20): COUNT // 100 for key in range(5)}


def fails_at_tens(n: int) -> int:
    if n % 10 == 0:
        raise ValueError(f"no {n}")
    return n


def test_dead_letters_are_those_of_one_run(remote: Remote, tmp_path: Path) -> None:
    """What was set aside before the checkpoint is kept, what came behind it is not there twice."""
    sink = CommittingSink(tmp_path / "results")
    env = remote(fault_tolerance=tolerance(tmp_path))
    once = Once(tmp_path / "happened", kill)

    def work(n: int) -> int:
        if n == COUNT - 5:
            once()
        return fails_at_tens(n)

    numbers = env.from_source(PausingSource(COUNT, sink)).rebalance()
    numbers.map(work, parallelism=2, on_error="dead_letter").sink(sink, parallelism=1)
    job = env.submit()
    job.wait(90)
    assert once.has_happened
    assert sorted(letter.record for letter in job.dead_letters()) == list(range(0, COUNT, 10))
    assert sorted(sink.committed()) == [n for n in range(COUNT) if n % 10]


def test_a_worker_process_of_an_actor_is_replaced(remote: Remote, tmp_path: Path) -> None:
    """Functions in worker processes behind actors survive as they do locally."""
    sink = CommittingSink(tmp_path / "results")
    env = remote(fault_tolerance=tolerance(tmp_path))
    once = Once(tmp_path / "happened", kill)

    def work(n: int) -> int:
        if n == COUNT // 2:
            once()
        return n

    env.from_source(PausingSource(COUNT, sink)).map(work, executor="process").sink(sink)
    env.execute()
    assert once.has_happened
    assert sink.committed() == list(range(COUNT))


class Unsayable(MapFunction[int, int]):
    """Has a state that cannot be stored."""

    def map(self, record: int) -> int:
        return record

    def snapshot_state(self) -> object:
        return object()


def test_state_that_cannot_be_stored_fails_the_job(remote: Remote, tmp_path: Path) -> None:
    """The error comes from the actor and names the operator; trying again would not help."""
    env = remote(fault_tolerance=tolerance(tmp_path))
    nobody = CommittingSink(tmp_path / "nothing")
    numbers = env.from_source(PausingSource(COUNT, nobody))
    numbers.map(Unsayable, name="odd").sink(CommittingSink(tmp_path / "results"))
    with pytest.raises(SageError, match=r"'odd'.*object"):
        env.submit().wait(60)


def test_checkpoints_in_the_memory_of_one_process_are_refused(remote: Remote) -> None:
    """Actors are in other processes, which would write where nobody reads."""
    env = remote(fault_tolerance={"checkpoint_dir": "memory://here"})
    env.from_collection([1]).sink(print)
    with pytest.raises(GraphError, match="memory://here"):
        env.execute()


DRIVER = """
import sys
from sage.kernel.api.remote_environment import RemoteEnvironment
from sage.kernel.testing.recovery import CommittingSink, PausingSource

count, address, folder, looked_at = int(sys.argv[1]), *sys.argv[2:]
env = RemoteEnvironment("killed", {
    "fault_tolerance": {"checkpoint_dir": folder + "/checkpoints", "checkpoint_interval": 0.1},
    "ray": {"address": address},
})
sink = CommittingSink(folder + "/results")
source = PausingSource(count, CommittingSink(folder + "/" + looked_at))
numbers = env.from_source(source, name="numbers", uid="numbers").key_by(
    lambda n: n % 37, name="rest", uid="rest"
)
numbers.count(name="counts", uid="counts").sink(sink, name="results", uid="results")
env.execute()
"""


def test_a_driver_that_is_killed_goes_on_when_it_is_started_again(
    cluster: Environment, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    """The same script, run again, takes the job over and finishes it, nothing twice."""
    import ray

    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    address = ray.get_runtime_context().gcs_address
    sink = CommittingSink(tmp_path / "results")

    def command(looked_at: str) -> list[str]:
        return [sys.executable, str(script), str(COUNT), address, str(tmp_path), looked_at]

    with subprocess.Popen(command("nothing"), stderr=subprocess.PIPE, text=True) as first:
        try:
            eventually(lambda: sink.has_committed or first.poll() is not None)
        finally:
            first.kill()
            assert first.stderr is not None
            told = first.stderr.read()
    assert sink.has_committed, told
    done = subprocess.run(command("results"), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "goes on at checkpoint" in done.stderr
    assert sorted(sink.committed()) == sorted(every_count())
