"""The handle of a job: what it is doing, and how to wait for it, stop it and learn from it."""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sage.kernel.api.lifetime import forget_job
from sage.kernel.errors import CheckpointError, JobCancelledError, JobError, JobTimeoutError
from sage.kernel.metrics.snapshot import JobMetrics, rated, summed
from sage.kernel.runtime.run_state import RunState

if TYPE_CHECKING:
    from sage.kernel.graph.stream_graph import StreamGraph
    from sage.kernel.metrics.alert import AlertState, Receiver
    from sage.kernel.metrics.prometheus import MetricsServer
    from sage.kernel.metrics.trace import Trace, Tracer
    from sage.kernel.runtime.dead_letters import DeadLetter
    from sage.kernel.runtime.recovery import RecoveringRun
    from sage.kernel.runtime.run import Run

__all__ = ["Job", "JobResult"]

# How long the end of a job waits for an alert to be delivered; a webhook may take ten seconds.
_LAST_ALERT_S = 12.0

# How long a signal may go unnoticed in a wait for the end. One that comes after a waiting thread
# has looked for signals and before it sleeps, or that another thread receives, does not wake it.
_NOTICE_S = 0.2


@dataclass(frozen=True)
class JobResult:
    """How a job ended.

    Attributes:
        name: Name of the job.
        status: ``"finished"``; a job that did not finish raises instead.
        elapsed_s: Time from start to end, in seconds.
        metrics: The final metrics.
        traces: The records that were followed, oldest first, with ``sample_trace``.
    """

    name: str
    status: str
    elapsed_s: float
    metrics: JobMetrics = field(repr=False)
    traces: list[Trace] = field(default_factory=list, repr=False)


class Job:
    """A submitted pipeline."""

    def __init__(
        self,
        name: str,
        run: Run,
        job_of: Callable[[StreamGraph], Job] | None = None,
        guarantees: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._run = run
        self._job_of = job_of
        self._guarantees = guarantees or {}
        self._metrics_before: JobMetrics | None = None
        self._has_warned = False
        self._watches: list[threading.Thread] = []

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

    @property
    def makes_checkpoints(self) -> bool:
        """Whether it survives, by ``config={"fault_tolerance": ...}``."""
        return self._run.checkpoints is not None

    def start(self, *, in_this_thread: bool = False) -> None:
        """Start the job, once; the running verbs of the environment do it.

        Args:
            in_this_thread: Run here and return at the end, if the job consists of a single task.

        Raises:
            JobError: if it was started before.
        """
        if self._run.state is not RunState.CREATED:
            raise JobError(f"job {self.name!r} is {self.status}; a job starts once")
        if in_this_thread and self._run.runs_inline:
            self._run.run_inline()
        else:
            self._run.start()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end, whichever it is, and say whether it came in time.

        Args:
            timeout: Longest wait in seconds.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not self._run.join(max(0.0, min(_NOTICE_S, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                return False
        return True

    def wait(self, timeout: float | None = None) -> JobResult:
        """Wait for the end of the job.

        Args:
            timeout: Longest wait in seconds; the job goes on when it passes.

        Raises:
            JobFailedError: if an operator raised; its cause is the user's exception.
            JobCancelledError: if the job was cancelled.
            JobTimeoutError: if the job has not ended in time.
        """
        if not self.join(timeout):
            raise JobTimeoutError(f"job {self.name!r} has not ended after {timeout} s; it goes on")
        for watch in self._watches:  # the last alert is told before the script may end
            if watch is not threading.current_thread():
                watch.join(_LAST_ALERT_S)
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
        if not self._has_warned:
            self._has_warned = True
            for warning in metrics.warnings():
                logging.getLogger("sage.job").warning("job %r: %s", self.name, warning)
        tracer = self._tracer
        traces = tracer.finished() if tracer is not None else []
        return JobResult(self.name, self.status, metrics.elapsed_s, metrics, traces)

    def drain(self) -> None:
        """Let the sources end now; what was read is still worked off.

        With checkpoints the job stops at one instead, and goes on there when it is run again.
        """
        self._run.drain()

    def cancel(self) -> None:
        """Stop at once: user functions that are being called return, nothing more is called."""
        self._run.cancel()

    def savepoint(self, path: str | None = None, timeout: float | None = None) -> str:
        """Make a checkpoint that is kept until somebody deletes it, and return where it is.

        Another job, or a later version of this one, goes on from it with
        ``fault_tolerance={"restore_from": path}``.

        Args:
            path: An empty folder or an fsspec URL; None for one beside the checkpoints.
            timeout: Longest wait in seconds; None waits as long as the checkpoint may take.

        Raises:
            CheckpointError: if the job does not run or makes no checkpoints, or it fails.
        """
        return self._recovering().savepoint(path, timeout)

    def checkpoint(self, timeout: float | None = None) -> str:
        """Make a checkpoint now, out of turn, and return where it is.

        Args:
            timeout: Longest wait in seconds; None waits as long as it may take.

        Raises:
            CheckpointError: if the job does not run or makes no checkpoints, or it fails.
        """
        return self._recovering().checkpoint(timeout)

    def _recovering(self) -> RecoveringRun:
        from sage.kernel.runtime.recovery import RecoveringRun

        if not isinstance(self._run, RecoveringRun):
            raise CheckpointError(
                f"job {self.name!r} makes no checkpoints",
                hint='config={"fault_tolerance": {"checkpoint_dir": "..."}}',
            )
        return self._run

    def dead_letters(self) -> Iterator[DeadLetter]:
        """Yield the records that were set aside so far."""
        yield from self._run.dead_letters

    def replay_dead_letters(self) -> list[JobResult]:
        """Feed the dead letters in again where they failed, and forget them.

        For each operator that set records aside, a new job runs the pipeline from that operator on:
        with fresh functions, so keyed state starts empty, and into the same sinks. Records that
        fail again become dead letters of this job again. Where timestamps are needed they are
        assigned again. What was no record of the operator's input, such as a timer that failed,
        stays a dead letter.

        Returns:
            How each of these jobs ended, in the order of the plan.

        Raises:
            JobError: if the job still runs; wait for its end first.
            GraphError: if an operator with several inputs set a record aside, or timestamps cannot
                be had again.
        """
        from sage.kernel.graph.rewriting import replayed

        if self.status == "running" or self._job_of is None:
            raise JobError(f"job {self.name!r} is {self.status}; wait() for its end, then replay")
        graph = self._run.graph.stream_graph
        by_operator: dict[str, list[DeadLetter]] = {}
        for letter in (each for each in self._run.dead_letters if each.is_input):
            by_operator.setdefault(letter.uid, []).append(letter)
        # Every plan before the first job, so that one that cannot be made costs no letter.
        plans = [
            (letters, replayed(graph, uid, [letter.record for letter in letters]))
            for uid, letters in ((t.uid, by_operator.get(t.uid)) for t in graph)
            if letters
        ]
        return [self._replay(letters, self._job_of(plan)) for letters, plan in plans]

    def _replay(self, letters: list[DeadLetter], again: Job) -> JobResult:
        """Run one replay; its letters are forgotten only when it has ended well."""
        again.start()
        result = again.wait()
        self._run.dead_letters.remove(letters)
        for letter in again.dead_letters():
            self._run.dead_letters.add(letter)
        return result

    def metrics(self) -> JobMetrics:
        """Return every count of the job as it stands now.

        ``recent_rate_per_s`` counts from the call before, whoever made it.
        """
        self._metrics_before = self._metrics_since(self._metrics_before)
        return self._metrics_before

    def _metrics_since(self, before: JobMetrics | None) -> JobMetrics:
        run, tracer = self._run, self._tracer
        ended = run.ended_at or time.time()
        elapsed_s = ended - run.started_at if run.started_at else 0.0
        subtasks = rated(run.subtask_metrics(), elapsed_s, before, self._guarantees)
        return JobMetrics(
            job=self.name,
            status=self.status,
            elapsed_s=elapsed_s,
            operators=summed(subtasks),
            subtasks=subtasks,
            edges=run.edge_metrics(),
            latency=tracer.latency if tracer is not None else None,
            traces_dropped=tracer.dropped if tracer is not None else 0,
            checkpoints=run.checkpoints,
        )

    def alert(self, rule: str, to: str | Receiver = "log", *, every_s: float = 1.0) -> None:
        """Tell somebody when a metric has crossed a limit for some time, while the job runs.

        Args:
            rule: ``METRIC [of OPERATOR] COMPARISON NUMBER [for TIME]``, such as
                ``"p95_latency_s > 2 for 60s"``; see `sage.kernel.metrics.alert.AlertRule`.
            to: ``"log"`` for the logger ``sage.job``, the URL of a webhook, which gets the alert
                as JSON, or a function, which is called with it on a thread of its own.
            every_s: How often to look, in seconds; and once more at the end of the job.

        Raises:
            ConfigError: if the rule or the receiver is none, or the job has no such metric.
        """
        from sage.kernel.metrics.alert import AlertRule, AlertState, receiver_of

        state, receiver = AlertState(AlertRule.parse(rule)), receiver_of(to)
        state.rule.check_fits(self._metrics_since(None))
        watch = functools.partial(self._watch, state, receiver, every_s)
        thread = threading.Thread(target=watch, name="sage-alert", daemon=True)
        self._watches.append(thread)
        thread.start()

    def _watch(self, state: AlertState, receiver: Receiver, every_s: float) -> None:
        metrics: JobMetrics | None = None
        ended = False
        while not ended:
            ended = self.join(every_s)
            metrics = self._metrics_since(metrics)
            alert = state.check(metrics, time.monotonic())
            if alert is None:
                continue
            try:
                receiver(alert)
            except Exception:  # a webhook that is down must not end the watch
                logging.getLogger("sage.job").exception("alert could not be delivered: %s", alert)

    def serve_metrics(self, port: int = 0) -> MetricsServer:
        """Serve the metrics to Prometheus at ``http://127.0.0.1:<port>/metrics``, until closed.

        Args:
            port: Where to listen; 0 takes a free one.

        Returns:
            The server, a context manager that knows its ``url``.

        Raises:
            MissingExtraError: if ``isage-kernel[prometheus]`` is not installed.
        """
        from sage.kernel.metrics.prometheus import MetricsServer

        return MetricsServer(self.metrics, port)

    def traces(self) -> Iterator[Trace]:
        """Yield the finished traces of sampled records, oldest first; the newest are kept.

        Raises:
            JobError: if no records are sampled.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment(config={"sample_trace": 1})
            >>> _ = env.from_collection([3]).map(abs, name="abs").for_each(str, name="end")
            >>> job = env.submit(autostop=True)
            >>> print([hop.operator for trace in job.traces() for hop in trace.hops])
            ['collection', 'abs', 'end']
        """
        if self._tracer is None:
            raise JobError(
                f"job {self.name!r} follows no records", hint='config={"sample_trace": 0.01}'
            )
        yield from self._tracer.finished()

    @property
    def _tracer(self) -> Tracer | None:
        # Only a run whose tasks share this process has one.
        return getattr(self._run, "tracer", None)
