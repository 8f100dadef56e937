"""A job that survives: one run after the other, each beginning where a checkpoint stands.

The job is taken over (see `sage.kernel.checkpoint.ownership`), the newest checkpoint that is
complete and intact is found, and an *attempt* begins with it: a run like any other, local or on
Ray. When it fails, the restart strategy says whether and when the next one begins, from the
checkpoint that is the newest then. Invariant: at no time are there two attempts, and what an
attempt begins with is written down before its first record.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.checkpoint.coordinator import Coordinator
from sage.kernel.checkpoint.filesystem import filesystem_of
from sage.kernel.checkpoint.journal import JournalFolder
from sage.kernel.checkpoint.ledger import PlannedTask, StoredLedger
from sage.kernel.checkpoint.manifest import OperatorEntry
from sage.kernel.checkpoint.messages import TaskName
from sage.kernel.checkpoint.ownership import Ownership
from sage.kernel.checkpoint.steps import reached
from sage.kernel.checkpoint.storage import CheckpointStorage, safe_name
from sage.kernel.checkpoint.stored_checkpoint import StoredCheckpoint, load
from sage.kernel.errors import CheckpointError, FencedError, JobCancelledError, StateMismatchError
from sage.kernel.fault_tolerance import FaultTolerance
from sage.kernel.graph.job_graph import JobGraph
from sage.kernel.metrics.checkpoints import CheckpointMetrics
from sage.kernel.metrics.fates import OperatorMetrics
from sage.kernel.metrics.snapshot import EdgeMetrics
from sage.kernel.metrics.trace import Tracer
from sage.kernel.runtime.dead_letters import DeadLetters
from sage.kernel.runtime.restoration import Restoration
from sage.kernel.runtime.run import CheckpointedRun
from sage.kernel.runtime.run_state import RunState

__all__ = ["Beginning", "RecoveringRun"]

_logger = logging.getLogger("sage.checkpoint")


@dataclass(frozen=True)
class Beginning:
    """What an attempt begins with, and where it writes its checkpoints.

    Attributes:
        options: When checkpoints are made.
        restoration: The state of the tasks.
        ledger: Where complete checkpoints are written down.
        journals: Where results are journalled.
    """

    options: FaultTolerance
    restoration: Restoration
    ledger: StoredLedger
    journals: JournalFolder

    def coordinator(
        self,
        tasks: Sequence[TaskName],
        *,
        request: Callable[[Barrier], None],
        complete: Callable[[int], None],
        stop: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> Coordinator:
        """Return who makes the checkpoints of this attempt; see `Coordinator`."""

        def retire_and_request(barrier: Barrier) -> None:
            try:
                self.journals.retire(self.ledger.oldest_kept)
            except OSError as error:  # there is only more than is needed
                _logger.warning("old journals cannot be deleted yet: %s", error)
            request(barrier)

        coordinator = Coordinator(
            self.options,
            tasks,
            self.ledger,
            first=self.restoration.highest_begun + 1,
            request=retire_and_request,
            complete=complete,
            stop=stop,
            fail=fail,
        )
        coordinator.statistics = CheckpointMetrics(restored=self.restoration.checkpoint)
        return coordinator


class RecoveringRun:
    """Runs attempts until one ends well or it is not worth going on.

    Args:
        graph: The physical plan.
        options: What the job survives.
        attempt: Makes a run of a beginning.
    """

    def __init__(
        self,
        graph: JobGraph,
        options: FaultTolerance,
        attempt: Callable[[Beginning], CheckpointedRun],
    ) -> None:
        self.graph = graph
        self.error: BaseException | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.state = RunState.CREATED  # it runs while the next attempt is waited for
        self._options = options
        self._attempt = attempt
        self._storage: CheckpointStorage | None = None
        self._owner: Ownership | None = None
        self._run: CheckpointedRun | None = None
        self._restarts = options.restart.begin() if options.restart is not None else None
        self._count = 0
        self._before = CheckpointMetrics()
        self._over = threading.Event()  # cancelled or drained: no further attempt
        self._done = threading.Event()
        self._lock = threading.Lock()

    @property
    def attempts(self) -> int:
        """How often it was started again."""
        return max(0, self._count - 1)

    @property
    def dead_letters(self) -> DeadLetters:
        """The records that the present attempt has set aside."""
        return self._run.dead_letters if self._run is not None else DeadLetters(1)

    @property
    def tracer(self) -> Tracer | None:
        """The present attempt's."""
        return getattr(self._run, "tracer", None)

    @property
    def checkpoints(self) -> CheckpointMetrics:
        """How checkpoints went, in all attempts."""
        now = (self._run.checkpoints if self._run is not None else None) or CheckpointMetrics()
        before = self._before
        return replace(
            now,
            completed=before.completed + now.completed,
            failed=before.failed + now.failed,
            last=now.last or before.last,
            last_duration_s=now.last_duration_s or before.last_duration_s,
            last_size_bytes=now.last_size_bytes or before.last_size_bytes,
            last_completed_at=now.last_completed_at or before.last_completed_at,
            restarts=self.attempts,
        )

    @property
    def runs_inline(self) -> bool:
        """Whether the caller's thread can run it."""
        return sum(vertex.parallelism for vertex in self.graph.vertices) == 1

    def start(self) -> None:
        """Take the job over, find where it goes on, and start.

        Raises:
            CheckpointError: if that cannot be done: nothing has run then.
        """
        self._prepare()
        threading.Thread(target=self._supervise, name="sage-recovery", daemon=True).start()

    def run_inline(self) -> None:
        """The same, in this thread, to the end."""
        self._prepare()
        self._supervise(inline=True)

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; say whether it came in time."""
        return self._done.wait(timeout_s)

    def drain(self) -> None:
        """The same as `stop_with_checkpoint`."""
        self.stop_with_checkpoint()

    def stop_with_checkpoint(self) -> None:
        """Stop where a checkpoint can go on: read no further, and end when it is complete."""
        self._over.set()
        run = self._run
        if run is not None:
            run.coordinator.stop_with_checkpoint()

    def cancel(self) -> None:
        """Stop at once; what is behind the newest checkpoint will be done again."""
        with self._lock:
            if self.state in (RunState.CREATED, RunState.RUNNING):
                self.state = RunState.CANCELLED
        self._over.set()
        run = self._run
        if run is not None:
            run.cancel()
        else:
            self._done.set()

    def savepoint(self, path: str | None, timeout_s: float | None = None) -> str:
        """Make a checkpoint that is kept; return where it is.

        Raises:
            CheckpointError: if the job does not run, or it cannot be completed.
        """
        return self._running("a savepoint").coordinator.savepoint(path, timeout_s)

    def checkpoint(self, timeout_s: float | None = None) -> str:
        """Make a checkpoint out of turn; return where it is.

        Raises:
            CheckpointError: if the job does not run, or it cannot be completed.
        """
        return self._running("a checkpoint").coordinator.checkpoint(timeout_s)

    def _running(self, what: str) -> CheckpointedRun:
        run = self._run
        if run is None or self.state is not RunState.RUNNING:
            raise CheckpointError(f"the job is {self.state.value}; {what} needs a running one")
        return run

    def subtask_metrics(self) -> list[OperatorMetrics]:
        """Return the counts of every operator in every subtask, with those of the checkpoint."""
        return self._run.subtask_metrics() if self._run is not None else []

    def edge_metrics(self) -> list[EdgeMetrics]:
        """Return the counts of every channel."""
        return self._run.edge_metrics() if self._run is not None else []

    # The beginning.

    def _prepare(self) -> None:
        options = self._options
        self._storage = CheckpointStorage(
            options.checkpoint_dir, self.graph.stream_graph.name, retain=options.retain
        )
        self._owner = self._storage.take_over(options.lease_s)
        try:
            self._run = self._begin(fresh=options.fresh)
        except BaseException:
            self._owner.release()
            raise
        with self._lock:
            if self.state is RunState.CREATED:
                self.state = RunState.RUNNING
        self.started_at = time.time()

    def _begin(self, *, fresh: bool = False) -> CheckpointedRun:
        """Make the next attempt."""
        assert self._storage is not None
        assert self._owner is not None
        stored = None if fresh else self._newest()
        reached("recovery.found")
        files = self._storage.files
        if stored is None and self._options.restore_from is not None and not fresh:
            stored = load(self._options.restore_from)
            files, _ = filesystem_of(self._options.restore_from)
            number, own = stored.manifest.checkpoint, 0
        else:
            number = own = stored.manifest.checkpoint if stored is not None else 0
        begun = max(self._owner.highest_begun, number)
        restoration = Restoration(files, stored, begun, self._count, starts_over=fresh)
        restoration.check_fit(self.graph, allow_dropped_state=self._options.allow_dropped_state)
        self._owner.continue_from(own)
        # Sinks begin an epoch at once; whoever takes over must know its number.
        self._owner.heartbeat(highest_begun=begun + 1)
        self._storage.remove_leftovers(self._owner.epoch)
        journals = self._journals(own)
        if fresh:
            journals.clear()
        self._count += 1
        return self._attempt(Beginning(self._options, restoration, self._ledger(), journals))

    def _say_where(self, stored: StoredCheckpoint) -> None:
        """Tell where the job goes on; on the error stream, where the output is not."""
        name, manifest = self.graph.stream_graph.name, stored.manifest
        told = f"job {name!r} goes on at checkpoint {manifest.checkpoint}"
        if manifest.kind == "final":
            told = (
                f"job {name!r} has been run to its end (checkpoint {manifest.checkpoint}), nothing "
                f"is done again; fresh=True starts over"
            )
        print(f"sage: {told} ({stored.path})", file=sys.stderr)

    def _journals(self, from_checkpoint: int) -> JournalFolder:
        assert self._storage is not None
        assert self._owner is not None
        folder = self._options.journal_dir
        if folder is not None:
            folder = f"{folder}/{safe_name(self.graph.stream_graph.name)}"
        elif self._storage.files.is_local:
            folder = f"{self._storage.path}/journal"
        elif journalled := [t.name for t in self.graph.stream_graph if t.operator.is_journalled]:
            raise CheckpointError(
                f"operator {journalled[0]!r} journals its results, and a journal cannot be kept "
                f"in {self._options.checkpoint_dir!r}",
                hint="give fault_tolerance a journal_dir, a folder on this machine",
            )
        else:
            folder = ""  # nothing is ever written there
        epoch = (self._owner.epoch << 20) + self._count
        return JournalFolder(folder, epoch=epoch, from_checkpoint=from_checkpoint)

    def _newest(self) -> StoredCheckpoint | None:
        assert self._storage is not None
        assert self._owner is not None
        found = self._storage.newest_valid(self._owner.lineage)
        for passed_over in found.passed_over:
            level = logging.WARNING if passed_over.is_damaged else logging.INFO
            _logger.log(level, "passing over %s: %s", passed_over.path, passed_over.reason)
        if found.checkpoint is not None:
            self._say_where(found.checkpoint)
        return found.checkpoint

    def _ledger(self) -> StoredLedger:
        assert self._storage is not None
        assert self._owner is not None
        operators = [
            OperatorEntry(t.uid, t.name, t.operator.state_kind, t.parallelism)
            for vertex in self.graph.vertices
            for t in vertex.transformations
        ]
        tasks = {
            (vertex.id, subtask): PlannedTask(
                f"{vertex.head.uid}-{subtask}",
                vertex.head.uid,
                tuple(t.uid for t in vertex.transformations),
                subtask,
                vertex.parallelism,
            )
            for vertex in self.graph.vertices
            for subtask in range(vertex.parallelism)
        }
        return StoredLedger(
            self._storage, self._owner, self.graph.stream_graph.name, operators, tasks
        )

    # One attempt after the other.

    def _supervise(self, *, inline: bool = False) -> None:
        try:
            run = self._run
            while run is not None:
                self._run_once(run, inline=inline)
                run = self._after(run)
        except BaseException as error:
            self._end(RunState.FAILED, error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._done.set()

    def _run_once(self, run: CheckpointedRun, *, inline: bool) -> None:
        if self.state is RunState.CANCELLED:
            run.cancel()
            return
        if self._over.is_set():  # it may have been told to the attempt before
            run.coordinator.stop_with_checkpoint()
        if inline:
            run.run_inline()
        else:
            run.start()
        run.join()

    def _after(self, run: CheckpointedRun) -> CheckpointedRun | None:
        """Return the next attempt, or None if this was the last one."""
        state, error = run.state, run.error
        if state is RunState.FAILED and error is not None:
            error = self._explained(error)
            while self._is_worth_it(error):
                delay_s = self._restarts.next_delay_s(time.monotonic()) if self._restarts else None
                if delay_s is None:
                    break
                _logger.warning(
                    "job %r failed and is started again in %.3g s: %s",
                    self.graph.stream_graph.name, delay_s, error,
                )  # fmt: skip
                if self._over.wait(delay_s):
                    break
                try:
                    following = self._begin()
                except Exception as again:
                    error = again  # what the job failed of may not be over yet
                else:
                    self._before, self._run = self.checkpoints, following
                    return following
        self._end(state, error)
        return None

    def _explained(self, error: BaseException) -> BaseException:
        """Return why a run failed: one that was taken over meets strange things before it learns of
        it, such as files that somebody else has moved."""
        assert self._owner is not None
        try:
            self._owner.check()
        except FencedError as fenced:
            if not isinstance(error, FencedError):
                fenced.__cause__ = error
                return fenced
        except CheckpointError as unreadable:
            error.add_note(f"then {unreadable}")
        return error

    def _is_worth_it(self, error: BaseException) -> bool:
        never = (FencedError, StateMismatchError, JobCancelledError)
        return isinstance(error, Exception) and not isinstance(error, never)

    def _end(self, state: RunState, error: BaseException | None) -> None:
        with self._lock:
            if self.state is not RunState.CANCELLED:
                self.state, self.error = state, error
            self.ended_at = time.time()
        if self._owner is not None:
            try:
                self._owner.release()
            except CheckpointError as problem:
                _logger.warning("the job ended, but could not say so: %s", problem)
