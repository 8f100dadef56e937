"""Decides when checkpoints are made and when they count.

The coordinator knows the tasks by name only. It is handed two callables: one asks every task for a
cut, the other tells them that a checkpoint is complete. Tasks answer with messages, from whatever
thread or process they run in; everything else happens on the coordinator's own thread, one message
after the other, so that its state needs no lock.

Invariant: a checkpoint is complete when each task has acknowledged it or had finished before (then
its last words stand for it); its manifest is written after everything that it names, and sinks are
told to commit after the manifest. At most one checkpoint is under way.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any, Literal, Protocol

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.checkpoint.messages import (
    Acknowledged,
    Committed,
    Declined,
    Finished,
    Message,
    TaskName,
)
from sage.kernel.checkpoint.steps import reached
from sage.kernel.checkpoint.stored_checkpoint import StoredCheckpoint
from sage.kernel.errors import CheckpointError, FencedError
from sage.kernel.fault_tolerance import FaultTolerance
from sage.kernel.metrics.checkpoints import CheckpointMetrics

__all__ = ["Coordinator", "Ledger"]

_logger = logging.getLogger("sage.checkpoint")

Kind = Literal["checkpoint", "savepoint", "final"]


class Ledger(Protocol):
    """Where complete checkpoints are written down; see ``recovery``."""

    def begin(self, checkpoint: int) -> str:
        """Make room for a checkpoint, note that it was begun, and return where it is."""

    def complete(self, pending: Pending, finished: Mapping[TaskName, Finished]) -> Completed:
        """Write what finished tasks have said, then the manifest."""

    def copy(self, stored: StoredCheckpoint, path: str | None) -> str:
        """Copy a checkpoint to where it is kept, and return where that is; on any thread."""

    def abandon(self, checkpoint: int) -> None:
        """A checkpoint will not be completed."""

    def heartbeat(self) -> None:
        """Show that this run is alive, and learn whether another one has taken over."""


@dataclass(frozen=True)
class Completed:
    """A checkpoint that counts.

    Attributes:
        stored: What it is, and where.
        size_bytes: All its files together, those of earlier checkpoints not counted.
    """

    stored: StoredCheckpoint
    size_bytes: int


@dataclass
class Pending:
    """A checkpoint under way."""

    checkpoint: int
    kind: Kind
    started_s: float
    path: str | None = None
    stops: bool = False
    acknowledged: dict[TaskName, Acknowledged] = field(default_factory=dict)
    done: Callable[[str | BaseException], None] | None = None


@dataclass(frozen=True)
class _Wanted:
    """Somebody asks for a checkpoint out of turn."""

    kind: Kind
    path: str | None = None
    stops: bool = False
    done: Callable[[str | BaseException], None] | None = None


class _Closed:
    """The run is over."""


class Coordinator:
    """Makes the checkpoints of one run.

    Args:
        options: When, and how long a checkpoint may take.
        tasks: The names of all tasks.
        ledger: Where checkpoints are written down.
        first: Number of the first checkpoint to be made.
        request: Asks every task for a cut.
        complete: Tells every task that a checkpoint is complete.
        stop: Ends the run, behind a checkpoint that stops the sources.
        fail: Ends the run with an error.
    """

    def __init__(
        self,
        options: FaultTolerance,
        tasks: Sequence[TaskName],
        ledger: Ledger,
        *,
        first: int,
        request: Callable[[Barrier], None],
        complete: Callable[[int], None],
        stop: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self.statistics = CheckpointMetrics()
        self._options = options
        self._tasks = frozenset(tasks)
        self._ledger = ledger
        self._next = first
        self._request, self._complete = request, complete
        self._stop, self._fail = stop, fail
        self._messages: SimpleQueue[Any] = SimpleQueue()
        self._pending: Pending | None = None
        self._waiting: list[_Wanted] = []
        self._finished: dict[TaskName, Finished] = {}
        self._stops_at: int | None = None
        self._committed: dict[TaskName, int] = {}
        self._failed_in_a_row = 0
        self._due_s = time.monotonic() + options.checkpoint_interval
        self._beat_s = time.monotonic()
        self._ended = threading.Event()  # nothing more is to be written
        self._thread = threading.Thread(target=self._work, name="sage-checkpoints", daemon=True)

    def start(self) -> None:
        """Begin to make checkpoints."""
        self._thread.start()

    def report(self, message: Message) -> None:
        """Take what a task says; from any thread."""
        self._messages.put(message)

    def savepoint(self, path: str | None, timeout_s: float | None = None) -> str:
        """Make a checkpoint that is kept until somebody deletes it; return where it is.

        Raises:
            CheckpointError: if it cannot be completed, or not in time.
        """
        return self._asked(_Wanted("savepoint", path), timeout_s)

    def checkpoint(self, timeout_s: float | None = None) -> str:
        """Make a checkpoint now; return where it is."""
        return self._asked(_Wanted("checkpoint"), timeout_s)

    def stop_with_checkpoint(self) -> None:
        """Let sources read no further, and end the run when what they read is safe."""
        self._messages.put(_Wanted("checkpoint", stops=True))

    def wait_for_end(self) -> bool:
        """Wait until the last checkpoint is complete; say whether there is one."""
        self._ended.wait()
        return len(self._finished) == len(self._tasks)

    def close(self) -> None:
        """Stop making checkpoints; one that is under way is given up."""
        self._messages.put(_Closed())
        if not self._thread.is_alive():  # it may not even have begun
            self._ended.set()
            self._refuse_what_waits()
        elif self._thread is not threading.current_thread():
            self._thread.join()

    def _asked(self, wanted: _Wanted, timeout_s: float | None) -> str:
        answered, answers = threading.Event(), list[str | BaseException]()

        def done(answer: str | BaseException) -> None:
            answers.append(answer)
            answered.set()

        self._messages.put(_Wanted(wanted.kind, path=wanted.path, stops=wanted.stops, done=done))
        if self._ended.is_set() and not answers:
            raise CheckpointError("the job has ended; there is nothing to be kept any more")
        if not answered.wait(timeout_s):
            raise CheckpointError(f"the {wanted.kind} is not complete after {timeout_s} s")
        if isinstance(answers[0], BaseException):
            raise answers[0]
        return answers[0]

    # On the coordinator's thread.

    def _work(self) -> None:
        try:
            while not self._ended.is_set():
                try:
                    message = self._messages.get(timeout=self._rest_s())
                except Empty:
                    message = None
                self._handle(message)
                self._look()
        except Exception as error:
            self._give_up(error)
            self._fail(error)
        finally:
            self._ended.set()
            self._give_up(CheckpointError("the job has ended before the checkpoint was complete"))
            self._refuse_what_waits()

    def _refuse_what_waits(self) -> None:
        while True:
            try:
                message = self._messages.get_nowait()
            except Empty:
                return
            if isinstance(message, _Wanted) and message.done is not None:
                message.done(CheckpointError("the job has ended"))

    def _rest_s(self) -> float:
        """Return how long nothing has to be done if nobody says anything."""
        now, options = time.monotonic(), self._options
        waits = [self._beat_s + options.lease_s / 3 - now]
        if self._pending is not None:
            waits.append(self._pending.started_s + options.checkpoint_timeout - now)
        else:
            waits.append(self._due_s - now)
        return max(0.0, min(waits))

    def _handle(self, message: Any) -> None:
        if isinstance(message, Acknowledged):
            pending = self._pending
            if pending is not None and message.checkpoint == pending.checkpoint:
                pending.acknowledged[message.task] = message
                reached("task.acknowledged")
        elif isinstance(message, Finished):
            self._finished[message.task] = message
        elif isinstance(message, Committed):
            self._committed[message.task] = message.checkpoint
        elif isinstance(message, Declined):
            self._declined(message)
        elif isinstance(message, _Wanted):
            self._waiting.append(message)
        elif isinstance(message, _Closed):
            self._ended.set()

    def _declined(self, message: Declined) -> None:
        if message.fatal:
            raise message.error
        pending = self._pending
        if pending is not None and message.checkpoint == pending.checkpoint:
            self._abort(message.error)

    def _look(self) -> None:
        """Do what has become due."""
        now = time.monotonic()
        if self._ended.is_set():
            return
        if now >= self._beat_s + self._options.lease_s / 3:
            self._beat_s = now
            self._give_sign_of_life()
        pending = self._pending
        if pending is not None:
            if self._is_whole(pending):
                self._try_to_complete(pending)
            elif now >= pending.started_s + self._options.checkpoint_timeout:
                waits = f"{self._options.checkpoint_timeout:g} s"
                self._abort(
                    CheckpointError(f"it was not complete after {waits} (checkpoint_timeout)")
                )
        self._look_for_stop()
        if self._pending is None and not self._ended.is_set():
            self._look_for_next(now)

    def _give_sign_of_life(self) -> None:
        """A disk that does not take it will refuse checkpoints too, and they are counted."""
        try:
            self._ledger.heartbeat()
        except FencedError:
            raise
        except CheckpointError as error:
            _logger.warning("no sign of life could be given: %s", error)

    def _is_whole(self, pending: Pending) -> bool:
        return self._tasks <= pending.acknowledged.keys() | self._finished.keys()

    def _look_for_next(self, now: float) -> None:
        if len(self._finished) == len(self._tasks):
            self._begin(_Wanted("final"))
        elif self._waiting:
            self._begin(self._waiting.pop(0))
        elif now >= self._due_s and self._stops_at is None:
            self._begin(_Wanted("checkpoint"))

    def _begin(self, wanted: _Wanted) -> None:
        checkpoint, self._next = self._next, self._next + 1
        now = time.monotonic()
        self._due_s = now + self._options.checkpoint_interval
        pending = Pending(checkpoint, wanted.kind, now, wanted.path, wanted.stops)
        pending.done = wanted.done
        self._pending = pending
        try:
            folder = self._ledger.begin(checkpoint)
        except CheckpointError as error:
            if isinstance(error, FencedError):
                raise
            self._abort(error)
            return
        reached("checkpoint.requested")
        self._request(Barrier(checkpoint, folder, wanted.stops))
        if self._is_whole(pending):
            self._try_to_complete(pending)

    def _try_to_complete(self, pending: Pending) -> None:
        try:
            completed = self._ledger.complete(pending, self._finished)
        except CheckpointError as error:
            if isinstance(error, FencedError):
                raise
            self._abort(error)
            return
        self._pending, self._failed_in_a_row = None, 0
        self.statistics = replace(
            self.statistics,
            completed=self.statistics.completed + 1,
            last=pending.checkpoint,
            last_duration_s=time.monotonic() - pending.started_s,
            last_size_bytes=completed.size_bytes,
            last_completed_at=time.time(),
        )
        if pending.stops:
            self._stops_at = pending.checkpoint
        self._answer(pending, completed.stored)
        self._complete(pending.checkpoint)
        if pending.kind == "final":
            self._ended.set()

    def _answer(self, pending: Pending, stored: StoredCheckpoint) -> None:
        """Tell who asked where it is; a savepoint is copied while the job goes on."""
        if pending.done is None:
            return
        if pending.kind != "savepoint":
            pending.done(stored.path)
            return
        copying = threading.Thread(
            target=self._copy, args=(pending.done, stored, pending.path), name="sage-savepoint"
        )
        copying.start()

    def _copy(
        self,
        done: Callable[[str | BaseException], None],
        stored: StoredCheckpoint,
        path: str | None,
    ) -> None:
        try:
            done(self._ledger.copy(stored, path))
        except Exception as error:  # for who asked; the job goes on
            done(error)

    def _look_for_stop(self) -> None:
        """End the run when every task has committed what the stopping checkpoint covers."""
        at = self._stops_at
        if at is None:
            return
        open_tasks = self._tasks - self._finished.keys()
        if all(self._committed.get(task, 0) >= at for task in open_tasks):
            self._ended.set()
            self._stop()

    def _abort(self, error: BaseException) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        self.statistics = replace(self.statistics, failed=self.statistics.failed + 1)
        self._failed_in_a_row += 1
        self._ledger.abandon(pending.checkpoint)
        _logger.warning("%s %d was given up: %s", pending.kind, pending.checkpoint, error)
        if pending.done is not None:
            told = f"the {pending.kind} was given up: {error}"
            pending.done(error if isinstance(error, CheckpointError) else CheckpointError(told))
        if pending.stops or self._failed_in_a_row >= self._options.max_failed:
            count = self._failed_in_a_row
            raise CheckpointError(
                f"{count} checkpoint{'s' if count > 1 else ''} in a row could not be completed; "
                f"the last, {pending.checkpoint}: {error}",
                hint="the job goes on from the newest complete checkpoint when it is run again",
            ) from error

    def _give_up(self, error: BaseException) -> None:
        pending, self._pending = self._pending, None
        for wanted in ([pending] if pending is not None else []) + list(self._waiting):
            if wanted.done is not None:
                wanted.done(error)
        self._waiting.clear()
