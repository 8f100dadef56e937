"""The coordinator completes what is whole, gives up what is not, and says so to who asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.checkpoint.coordinator import Completed, Coordinator, Pending
from sage.kernel.checkpoint.manifest import Manifest
from sage.kernel.checkpoint.messages import (
    Acknowledged,
    Committed,
    Declined,
    Finished,
    TaskName,
)
from sage.kernel.checkpoint.state_file import WrittenFile
from sage.kernel.checkpoint.stored_checkpoint import StoredCheckpoint
from sage.kernel.errors import CheckpointError, FencedError, StateCodecError
from sage.kernel.fault_tolerance import FaultTolerance

A, B = (0, 0), (1, 0)
FILE = WrittenFile("chk/a.state", 10, "sum")
PATIENCE_S = 20


class FakeLedger:
    """Remembers what was completed; may refuse."""

    def __init__(self) -> None:
        self.completed: list[tuple[int, str, set[TaskName]]] = []
        self.given_up: list[int] = []
        self.refusal: CheckpointError | None = None

    def begin(self, checkpoint: int) -> str:
        return f"chk-{checkpoint}"

    def complete(self, pending: Pending, finished: Mapping[TaskName, Finished]) -> Completed:
        if self.refusal is not None:
            raise self.refusal
        self.completed.append((pending.checkpoint, pending.kind, set(pending.acknowledged)))
        folder = f"chk-{pending.checkpoint}"
        manifest = Manifest(checkpoint=pending.checkpoint, epoch=1, job="job", folder=folder)
        return Completed(StoredCheckpoint(folder, manifest), 10)

    def copy(self, stored: StoredCheckpoint, path: str | None) -> str:
        if path == "/full":
            raise CheckpointError("no room there")
        return path or "savepoints"

    def abandon(self, checkpoint: int) -> None:
        self.given_up.append(checkpoint)

    def heartbeat(self) -> None:
        pass


class Scene:
    """A coordinator of two tasks, and everything that it has said."""

    def __init__(self, *answering: TaskName, starts: bool = True, **options: Any) -> None:
        self.ledger = FakeLedger()
        self.said: list[tuple[str, Any]] = []
        self.answer = self.acknowledge(*answering)
        self._changed = threading.Condition()
        self.coordinator = Coordinator(
            FaultTolerance(checkpoint_dir="x", **{"checkpoint_interval": 1e6, **options}),
            [A, B],
            self.ledger,
            first=1,
            request=self._requested,
            complete=lambda checkpoint: self._say("complete", checkpoint),
            stop=lambda: self._say("stop", None),
            fail=lambda error: self._say("fail", error),
        )
        if starts:
            self.coordinator.start()

    def _requested(self, barrier: Barrier) -> None:
        self._say("request", barrier.checkpoint)
        self.answer(barrier)

    def _say(self, what: str, value: Any) -> None:
        with self._changed:
            self.said.append((what, value))
            self._changed.notify_all()

    def wait_for(self, what: str) -> Any:
        """Return what was said first under that name."""
        with self._changed:
            said = self._changed.wait_for(
                lambda: [value for name, value in self.said if name == what], PATIENCE_S
            )
        assert said, f"{what} was never said, only {self.said}"
        return said[0]

    def acknowledge(self, *tasks: TaskName) -> Callable[[Barrier], None]:
        """Return what has these tasks acknowledge."""

        def answer(barrier: Barrier) -> None:
            for task in tasks:
                self.coordinator.report(Acknowledged(task, barrier.checkpoint, FILE))

        return answer


@pytest.fixture
def scene() -> Iterator[Scene]:
    """A running coordinator that makes checkpoints only when asked."""
    made = Scene()
    yield made
    made.coordinator.close()


def test_a_checkpoint_is_complete_when_every_task_has_acknowledged_it(scene: Scene) -> None:
    """The manifest is written after the last acknowledgement, and then the tasks are told."""
    scene.answer = scene.acknowledge(A, B)
    assert scene.coordinator.checkpoint(PATIENCE_S) == "chk-1"
    assert scene.ledger.completed == [(1, "checkpoint", {A, B})]
    assert scene.wait_for("complete") == 1
    assert scene.coordinator.statistics.completed == 1


def test_the_last_words_of_a_finished_task_stand_for_it(scene: Scene) -> None:
    """A task that had finished before needs to acknowledge nothing."""
    scene.coordinator.report(Finished(B, ()))
    scene.answer = scene.acknowledge(A)
    scene.coordinator.checkpoint(PATIENCE_S)
    assert scene.ledger.completed == [(1, "checkpoint", {A})]


def test_a_job_whose_tasks_have_all_finished_has_a_final_checkpoint(scene: Scene) -> None:
    """It comes at once, whatever the interval, and is the last."""
    scene.coordinator.report(Finished(A, ()))
    scene.coordinator.report(Finished(B, ()))
    assert scene.coordinator.wait_for_end()
    assert scene.ledger.completed == [(1, "final", set())]


def test_checkpoints_come_by_themselves() -> None:
    """Without anybody asking, one follows the other."""
    scene = Scene(A, B, checkpoint_interval=0.001)
    try:
        scene.wait_for("complete")
        assert scene.ledger.completed[0] == (1, "checkpoint", {A, B})
    finally:
        scene.coordinator.close()


def test_what_takes_too_long_is_given_up_and_counted() -> None:
    """The timeout ends it; one answer that comes later changes nothing."""
    scene = Scene(checkpoint_timeout=0.01, max_failed=2)
    try:
        with pytest.raises(CheckpointError, match="checkpoint_timeout"):
            scene.coordinator.checkpoint(PATIENCE_S)
        assert scene.ledger.given_up == [1]
        assert scene.coordinator.statistics.failed == 1
        scene.acknowledge(A, B)(Barrier(1))
        scene.answer = scene.acknowledge(A, B)
        assert scene.coordinator.checkpoint(PATIENCE_S) == "chk-2"
        assert [number for number, *_ in scene.ledger.completed] == [2]
    finally:
        scene.coordinator.close()


def test_too_many_failures_in_a_row_fail_the_job(scene: Scene) -> None:
    """A disk that stays full is told of, with the number of failures."""
    scene.ledger.refusal = CheckpointError("the disk is full")
    scene.answer = scene.acknowledge(A, B)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="the disk is full"):
            scene.coordinator.checkpoint(PATIENCE_S)
    with pytest.raises(CheckpointError, match="the disk is full"):
        scene.coordinator.checkpoint(PATIENCE_S)
    assert "3 checkpoints in a row" in str(scene.wait_for("fail"))


def test_a_value_that_cannot_be_stored_fails_the_job_at_once(scene: Scene) -> None:
    """Trying again would not help; the error is the one that names operator and type."""
    error = StateCodecError("a lock", operator="count", state="s", type_name="lock")
    scene.answer = lambda barrier: scene.coordinator.report(Declined(A, 1, error, fatal=True))
    with pytest.raises(StateCodecError):
        scene.coordinator.checkpoint(PATIENCE_S)
    assert scene.wait_for("fail") is error


def test_a_run_that_was_taken_over_ends(scene: Scene) -> None:
    """Being fenced is never a mere failed checkpoint."""
    scene.ledger.refusal = FencedError("another run has taken over")
    scene.answer = scene.acknowledge(A, B)
    with pytest.raises(FencedError):
        scene.coordinator.checkpoint(PATIENCE_S)
    assert isinstance(scene.wait_for("fail"), FencedError)


def test_a_savepoint_is_put_where_it_was_asked_for(scene: Scene) -> None:
    """Who asks learns where it is."""
    scene.answer = scene.acknowledge(A, B)
    assert scene.coordinator.savepoint("/elsewhere", PATIENCE_S) == "/elsewhere"
    assert scene.ledger.completed == [(1, "savepoint", {A, B})]


def test_a_savepoint_that_cannot_be_copied_is_a_checkpoint_all_the_same(scene: Scene) -> None:
    """Who asked is told; the job goes on, and its sinks commit."""
    scene.answer = scene.acknowledge(A, B)
    with pytest.raises(CheckpointError, match="no room there"):
        scene.coordinator.savepoint("/full", PATIENCE_S)
    assert scene.wait_for("complete") == 1
    assert scene.coordinator.statistics.failed == 0


def test_a_stop_waits_until_every_task_has_committed(scene: Scene) -> None:
    """Only then is the run ended; no further checkpoint is begun."""
    scene.answer = scene.acknowledge(A, B)
    scene.coordinator.stop_with_checkpoint()
    assert scene.wait_for("complete") == 1
    scene.coordinator.report(Committed(A, 1))
    assert "stop" not in dict(scene.said)
    scene.coordinator.report(Committed(B, 1))
    scene.wait_for("stop")


def test_who_waits_when_the_job_ends_is_told(scene: Scene) -> None:
    """A savepoint that will never be complete is an error, not a wait for ever."""
    asked = threading.Thread(target=scene.coordinator.close)
    scene.answer = lambda barrier: asked.start()
    with pytest.raises(CheckpointError, match="ended"):
        scene.coordinator.savepoint(None, PATIENCE_S)
    asked.join(PATIENCE_S)


def test_who_waits_for_a_job_that_never_began_is_told() -> None:
    """A run that ends before its tasks were placed has nobody to make a savepoint."""
    scene, told = Scene(starts=False), []

    def wait() -> None:
        with pytest.raises(CheckpointError, match="the job has ended"):
            scene.coordinator.savepoint(None)
        told.append(True)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    scene.coordinator.close()
    waiting.join(PATIENCE_S)
    assert told == [True]
