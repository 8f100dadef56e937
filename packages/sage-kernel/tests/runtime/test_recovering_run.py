"""A job that survives ends when it is told to, at whatever moment of its attempts that is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sage.common.core.functions import MapFunction, SinkFunction, SourceFunction
from sage.kernel import LocalEnvironment
from sage.kernel.api.job import Job
from sage.kernel.checkpoint import steps
from sage.kernel.checkpoint.journal import JournalFolder
from sage.kernel.errors import JobCancelledError
from sage.kernel.runtime.local.hosting import LocalHosts
from sage.kernel.runtime.run_state import RunState
from sage.kernel.runtime.services import Services

PATIENCE_S = 20


AtStep = Callable[[str, Callable[[], Any]], None]


@pytest.fixture
def at_step() -> Iterator[AtStep]:
    """Has something done when a step is reached from now on, once."""

    def do(step: str, action: Callable[[], Any]) -> None:
        def watch(name: str) -> None:
            if name == step:
                steps.watch(None)
                action()

        steps.watch(watch)

    yield do
    steps.watch(None)


class Fails(MapFunction[int, int]):
    """Raises in the first attempt, when the test lets it."""

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate

    def map(self, record: int) -> int:
        assert self.context is not None
        if self.context.attempt == 0:
            assert self.gate.wait(PATIENCE_S)
            raise RuntimeError("not yet")
        return record


def submitted(folder: Path) -> tuple[Job, threading.Event, list[int]]:
    """Submit a job that fails once when it is let, and is started again."""
    restart = {"strategy": "fixed", "max_attempts": 3, "delay_s": 0}
    env = LocalEnvironment(
        "job", config={"fault_tolerance": {"checkpoint_dir": folder, "restart": restart}}
    )
    gate, results = threading.Event(), list[int]()
    env.from_collection(range(3)).map(Fails, gate).for_each(results.append)
    return env.submit(), gate, results


def test_cancelled_while_it_is_started_again_it_ends(tmp_path: Path, at_step: AtStep) -> None:
    """An attempt that was made and is not wanted any more is not waited for."""
    job, gate, results = submitted(tmp_path)
    at_step("recovery.found", job.cancel)
    gate.set()
    with pytest.raises(JobCancelledError):
        job.wait(PATIENCE_S)
    assert results == []
    job, gate, results = submitted(tmp_path)  # nobody owns it any more
    gate.set()
    assert job.wait(PATIENCE_S).status == "finished"
    assert results == [0, 1, 2]


def test_stopped_while_it_is_started_again_it_stops_at_a_checkpoint(
    tmp_path: Path, at_step: AtStep
) -> None:
    """The attempt that follows is asked to stop as soon as it runs."""
    job, gate, before = submitted(tmp_path)
    at_step("recovery.found", job.drain)
    gate.set()
    assert job.wait(PATIENCE_S).status == "finished"
    again, gate, results = submitted(tmp_path)
    gate.set()
    again.wait(PATIENCE_S)
    assert before + results == [0, 1, 2]


class Gated(SourceFunction[int]):
    """Gives numbers, each when its gate is open; without gates it gives nothing and has no end."""

    def __init__(self, waits: threading.Event, *gates: threading.Event) -> None:
        self.waits, self.gates, self.next = waits, gates, 0

    def read(self, max_records: int) -> Sequence[int] | None:
        assert self.waits.wait(PATIENCE_S)
        if not self.gates:
            return []
        if self.next == len(self.gates):
            return None
        if not self.gates[self.next].wait(0.01):
            return []
        self.next += 1
        return [self.next]

    def snapshot_position(self) -> int:
        return self.next

    def seek(self, position: int) -> None:
        self.next = position


class SlowlyCommitting(SinkFunction[int]):
    """Keeps what was written by epoch; its first commit waits until it may go on."""

    def __init__(self) -> None:
        self.epochs: list[list[int]] = []
        self.prepared = [threading.Event(), threading.Event()]
        self.is_committing, self.may_commit = threading.Event(), threading.Event()
        self.committed: list[int] = []

    def begin(self, epoch: int) -> None:
        self.epochs.append([])

    def write(self, record: int) -> None:
        self.epochs[-1].append(record)

    def prepare(self, epoch: int) -> None:
        self.prepared[len(self.epochs) - 1].set()

    def commit(self, epoch: int) -> None:
        self.is_committing.set()
        assert self.may_commit.wait(PATIENCE_S)
        self.committed += self.epochs.pop(0)

    def abort(self, epoch: int) -> None:
        """There is nothing to abort."""


def test_a_stop_commits_the_last_words_of_tasks_that_had_ended(tmp_path: Path) -> None:
    """What the checkpoint covers that stops the job is visible when the job has stopped."""
    config = {"fault_tolerance": {"checkpoint_dir": tmp_path, "checkpoint_interval": 1000}}
    env = LocalEnvironment("job", config=config)
    first, second, ready, other = (threading.Event() for _ in range(4))
    sink = SlowlyCommitting()
    ready.set()
    env.from_source(Gated(ready, first, second)).sink(sink)
    env.from_source(Gated(other)).for_each(print)
    job = env.submit()
    first.set()
    asking = threading.Thread(target=job.checkpoint, args=(PATIENCE_S,))
    asking.start()
    assert sink.prepared[0].wait(PATIENCE_S)
    second.set()
    assert sink.prepared[1].wait(PATIENCE_S)  # it has ended, and the checkpoint is not complete
    other.set()
    asking.join()
    assert sink.is_committing.wait(PATIENCE_S)
    job.drain()
    run = job._run._run  # type: ignore[attr-defined]
    while run.state is RunState.RUNNING:
        assert not job.join(0.01)
    sink.may_commit.set()
    job.wait(PATIENCE_S)
    assert sink.committed == [1, 2]


def test_a_journal_that_cannot_be_deleted_ends_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is deleted later; the checkpoint is made all the same."""

    def refuses(self: JournalFolder, before_checkpoint: int) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(JournalFolder, "retire", refuses)
    config = {"fault_tolerance": {"checkpoint_dir": tmp_path}}
    env = LocalEnvironment("job", config=config)
    env.from_collection([1]).for_each(print)
    result = env.execute()
    assert result.metrics.checkpoints is not None
    assert result.metrics.checkpoints.completed == 1


def test_nobody_waits_for_ever_for_a_run_that_cannot_be_tidied_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has failed then, and everything else was let go of."""
    let_go: list[str] = []

    def breaks(self: LocalHosts) -> None:
        raise OSError("the event loop is stuck")

    monkeypatch.setattr(LocalHosts, "close", breaks)
    monkeypatch.setattr(Services, "close", lambda self: let_go.append("services"))
    env = LocalEnvironment("job")
    env.from_collection([1]).rebalance().map(abs, parallelism=2).for_each(print)
    with pytest.raises(OSError, match="stuck"):
        env.submit().wait(PATIENCE_S)
    assert let_go == ["services"]
