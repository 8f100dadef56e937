"""The handle of a job: what it is doing, and how to wait for it, stop it and learn from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sage.kernel.api.lifetime import forget_job
from sage.kernel.errors import JobCancelledError, JobError, JobTimeoutError
from sage.kernel.metrics.snapshot import JobMetrics, summed
from sage.kernel.runtime.run_state import RunState

if TYPE_CHECKING:
    from sage.kernel.graph.stream_graph import StreamGraph
    from sage.kernel.runtime.dead_letters import DeadLetter
    from sage.kernel.runtime.run import Run

__all__ = ["Job", "JobResult"]


@dataclass(frozen=True)
class JobResult:
    """How a job ended.

    Attributes:
        name: Name of the job.
        status: ``"finished"``; a job that did not finish raises instead.
        elapsed_s: Time from start to end, in seconds.
        metrics: The final metrics.
    """

    name: str
    status: str
    elapsed_s: float
    metrics: JobMetrics = field(repr=False)


class Job:
    """A submitted pipeline."""

    def __init__(
        self, name: str, run: Run, job_of: Callable[[StreamGraph], Job] | None = None
    ) -> None:
        self.name = name
        self._run = run
        self._job_of = job_of

    def __repr__(self) -> str:
        return f"Job({self.name!r}, {self.status})"

    @property
    def status(self) -> str:
        """``created``, ``running``, ``finished``, ``failed`` or ``cancelled``."""
        return self._run.state.value

    @property
    def error(self) -> BaseException | None:
        """Why the job failed, or None."""
        return self._run.error

    def wait(self, timeout: float | None = None) -> JobResult:
        """Wait for the end of the job.

        Args:
            timeout: Longest wait in seconds; the job goes on when it passes.

        Raises:
            JobFailedError: if an operator raised; its cause is the user's exception.
            JobCancelledError: if the job was cancelled.
            JobTimeoutError: if the job has not ended in time.
        """
        if not self._run.join(timeout):
            raise JobTimeoutError(f"job {self.name!r} has not ended after {timeout} s; it goes on")
        return self.result()

    def result(self) -> JobResult:
        """Return how the job ended, raising as `wait` does; the job must have ended."""
        if self._run.state not in (RunState.CREATED, RunState.RUNNING):
            forget_job(self)  # whoever asks knows how it ended; the end of the script need not tell
        if self._run.state is RunState.CANCELLED:
            raise JobCancelledError(f"job {self.name!r} was cancelled")
        if self._run.error is not None:
            raise self._run.error
        if self._run.state is not RunState.FINISHED:
            raise JobError(f"job {self.name!r} is {self.status}; wait() for its end")
        metrics = self.metrics()
        return JobResult(self.name, self.status, metrics.elapsed_s, metrics)

    def drain(self) -> None:
        """Let the sources end now; what was read is still worked off."""
        self._run.drain()

    def cancel(self) -> None:
        """Stop at once: user functions that are being called return, nothing more is called."""
        self._run.cancel()

    def dead_letters(self) -> Iterator[DeadLetter]:
        """Yield the records that were set aside so far."""
        yield from self._run.dead_letters

    def replay_dead_letters(self) -> list[JobResult]:
        """Feed the dead letters in again where they failed, and forget them.

        For each operator that set records aside, a new job runs the pipeline from that operator on:
        with fresh functions, so keyed state starts empty, and into the same sinks. Records that
        fail again become dead letters of this job again.

        Returns:
            How each of these jobs ended, in the order of the plan.

        Raises:
            JobError: if the job still runs; wait for its end first.
            GraphError: if an operator with several inputs set a record aside.
        """
        from sage.kernel.graph.rewriting import replayed

        if self.status == "running" or self._job_of is None:
            raise JobError(f"job {self.name!r} is {self.status}; wait() for its end, then replay")
        graph = self._run.graph.stream_graph
        by_operator: dict[str, list[DeadLetter]] = {}
        for letter in self._run.dead_letters.take_all():
            by_operator.setdefault(letter.uid, []).append(letter)
        results = []
        for uid in [t.uid for t in graph if t.uid in by_operator]:
            again = self._job_of(
                replayed(graph, uid, [letter.record for letter in by_operator[uid]])
            )
            again._run.start()
            results.append(again.wait())
            for letter in again.dead_letters():
                self._run.dead_letters.add(letter)
        return results

    def metrics(self) -> JobMetrics:
        """Return every count of the job as it stands now."""
        run = self._run
        subtasks = run.subtask_metrics()
        ended = run.ended_at or time.time()
        return JobMetrics(
            job=self.name,
            status=self.status,
            elapsed_s=ended - run.started_at if run.started_at else 0.0,
            operators=summed(subtasks),
            subtasks=subtasks,
            edges=run.edge_metrics(),
        )
