"""Jobs whose worker processes are killed, or stopped past their time, and that go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sage.kernel import LocalEnvironment, MapFunction
from sage.kernel.testing import check_conservation
from sage.kernel.testing.recovery import CommittingSink, Once, PausingSource

pytestmark = pytest.mark.skipif(os.name != "posix", reason="worker processes need POSIX")

COUNT = 3000


class RunningSum(MapFunction[int, int]):
    """Gives the running sum, which it keeps for itself, and has an accident at a record."""

    def __init__(self, accident: Callable[[], None], at: int) -> None:
        self.accident, self.at = accident, at
        self.total = 0

    def map(self, record: int) -> int:
        if record == self.at:
            self.accident()
        self.total += record
        return self.total

    def snapshot_state(self) -> object:
        return self.total

    def restore_state(self, state: Any) -> None:
        self.total = state


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def environment(tmp_path: Path, **more: Any) -> LocalEnvironment:
    tolerance = {
        "checkpoint_dir": tmp_path / "checkpoints",
        "checkpoint_interval": 0.02,
        "restart": {"strategy": "fixed", "max_attempts": 3, "delay_s": 0.01},
    }
    return LocalEnvironment("job", config={"fault_tolerance": tolerance, **more})


@pytest.mark.parametrize("accident", [kill, stop])
def test_the_loss_of_a_worker_changes_no_result(
    tmp_path: Path, accident: Callable[[], None]
) -> None:
    """A worker that is killed, or stopped past its time, is replaced with the state it had."""
    sink = CommittingSink(tmp_path / "results")
    env = environment(tmp_path, worker_timeout_s=0.5)
    once = Once(tmp_path / "happened", accident)
    sums = env.from_source(PausingSource(COUNT, sink)).map(
        RunningSum, once, COUNT // 2, name="work", executor="process"
    )
    sums.sink(sink)
    result = env.execute()
    assert once.has_happened
    assert sink.committed() == [sum(range(n + 1)) for n in range(COUNT)]
    assert result.metrics["work"].received == COUNT
    check_conservation(result.metrics, env.graph())


def test_the_buffer_of_a_killed_worker_is_filled_again(tmp_path: Path) -> None:
    """Records that waited in ``map_batches`` are neither lost nor doubled."""
    sink = CommittingSink(tmp_path / "results")
    env = environment(tmp_path)
    once = Once(tmp_path / "happened", kill)

    def work(batch: list[int]) -> list[int]:
        if COUNT // 2 in batch:
            once()
        return [n * 2 for n in batch]

    env.from_source(PausingSource(COUNT, sink)).map_batches(
        work, max_size=7, name="work", executor="process"
    ).sink(sink)
    result = env.execute()
    assert once.has_happened
    assert sink.committed() == [n * 2 for n in range(COUNT)]
    assert result.metrics["work"].received == COUNT
    check_conservation(result.metrics, env.graph())


class Context(MapFunction[int, tuple[str, int, str]]):
    """Gives what its context says of the job."""

    def map(self, record: int) -> tuple[str, int, str]:
        context: Any = self.context
        return context.job_name, context.attempt, context.checkpoint_mode


def test_a_worker_knows_what_its_task_knows_of_the_job(tmp_path: Path) -> None:
    """The context of a function in a worker has the job, the attempt and the mode."""
    sink = CommittingSink(tmp_path / "results")
    env = environment(tmp_path)
    env.from_collection([1]).map(Context, executor="process").sink(sink)
    env.execute()
    assert sink.committed() == [("job", 0, "exactly_once")]
