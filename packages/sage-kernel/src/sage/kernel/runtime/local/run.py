"""Runs the tasks of one job in this process: a thread for each, or the caller's own thread.

Invariant: the first error in any task ends the whole job and is what ``wait`` raises; every thread
that was started has ended when ``join`` returns.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from sage.kernel.config import EngineConfig
from sage.kernel.errors import JobFailedError
from sage.kernel.graph.job_graph import JobGraph
from sage.kernel.metrics.fates import OperatorMetrics
from sage.kernel.metrics.snapshot import EdgeMetrics
from sage.kernel.metrics.trace import Tracer
from sage.kernel.runtime.channel import ChannelClosed
from sage.kernel.runtime.dead_letters import DeadLetter, DeadLetters
from sage.kernel.runtime.deployment import Deployment
from sage.kernel.runtime.local.hosting import LocalHosts
from sage.kernel.runtime.run_state import RunState
from sage.kernel.runtime.segment import Node
from sage.kernel.runtime.services import Services
from sage.kernel.runtime.task import Task
from sage.kernel.runtime.task_metrics import edge_metrics_of, metrics_of
from sage.kernel.runtime.wiring import LocalWiring, Wiring

if TYPE_CHECKING:
    from sage.kernel.checkpoint.coordinator import Coordinator
    from sage.kernel.metrics.checkpoints import CheckpointMetrics
    from sage.kernel.runtime.local.checkpoints import LocalCheckpoints
    from sage.kernel.runtime.recovery import Beginning

__all__ = ["LocalRun"]


class LocalRun:
    """One execution of a job graph.

    Args:
        graph: The physical plan.
        config: The environment's options.
        services: The job's services.
        wiring: Makes the channels; None if all tasks are in this process.
        only: Vertex and subtask of the only task to run here; None runs all.
        beginning: Where checkpoints are made, and what the run begins with; None without any.
    """

    def __init__(
        self,
        graph: JobGraph,
        config: EngineConfig,
        services: Services,
        *,
        wiring: Wiring | None = None,
        only: tuple[int, int] | None = None,
        beginning: Beginning | None = None,
    ) -> None:
        self.graph = graph
        self.state = RunState.CREATED
        self.error: BaseException | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.dead_letters = DeadLetters(config.max_dead_letters)
        self._services = services
        self._config = config
        self._cancelled = threading.Event()
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._hosts = LocalHosts(config)
        deployment = Deployment(
            graph,
            config,
            services,
            dead_letter=self._set_aside,
            interrupted=self._cancelled.wait,
            hosts=self._hosts,
            wiring=wiring or LocalWiring(),
        )
        self.tasks: list[Task] = (
            deployment.tasks()
            if only is None
            else [deployment.task(graph.vertices[only[0]], only[1])]
        )
        for task in self.tasks:
            task.dead_letters = self.dead_letters
        self._open_tasks = len(self.tasks)
        self._checkpoints: LocalCheckpoints | None = None
        if beginning is not None:
            from sage.kernel.runtime.local.checkpoints import LocalCheckpoints

            self._checkpoints = LocalCheckpoints(
                beginning, self.tasks, stop=self._stop, fail=self._fail
            )
        # A trace is followed by reference, so only where all tasks share a process.
        self.tracer: Tracer | None = None
        if config.sample_trace and only is None:
            self.tracer = Tracer(config.sample_trace, keep=config.max_traces)
            for task in self.tasks:
                task.trace_with(self.tracer)

    @property
    def runs_inline(self) -> bool:
        """Whether there is but one task, which the caller's thread can run."""
        return len(self.tasks) == 1

    def start(self) -> None:
        """Start a thread for each task."""
        if not self._begin():
            return
        for task in self.tasks:
            name = f"sage-{task.vertex.name:.40}-{task.subtask}"
            thread = threading.Thread(target=self._host, args=(task,), name=name, daemon=True)
            self._threads.append(thread)
        if any(task.chain.edges for task in self.tasks):
            threading.Thread(target=self._linger, name="sage-linger", daemon=True).start()
        for thread in self._threads:
            thread.start()

    def run_inline(self) -> None:
        """Run the only task in this thread."""
        if self._begin():
            self._host(self.tasks[0])

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; say whether it came in time."""
        if not self._done.wait(timeout_s):
            return False
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        return True

    def drain(self) -> None:
        """Let the sources end now; what was read is worked off."""
        for task in self.tasks:
            task.drain()

    def cancel(self) -> None:
        """Stop as soon as every user function that is being called has returned."""
        with self._lock:
            began = self.state is not RunState.CREATED
            if self.state in (RunState.CREATED, RunState.RUNNING):
                self.state = RunState.CANCELLED
        self._close_tasks()
        if not began:  # and never will
            if self._checkpoints is not None:
                self._checkpoints.close()
            self._done.set()

    @property
    def checkpoints(self) -> CheckpointMetrics | None:
        """How its checkpoints went; None if it makes none."""
        return self._checkpoints.coordinator.statistics if self._checkpoints else None

    @property
    def coordinator(self) -> Coordinator:
        """Who makes its checkpoints."""
        assert self._checkpoints is not None
        return self._checkpoints.coordinator

    def subtask_metrics(self) -> list[OperatorMetrics]:
        """Return the counts of every operator in every subtask."""
        return [metrics for task in self.tasks for metrics in metrics_of(task)]

    def edge_metrics(self) -> list[EdgeMetrics]:
        """Return the counts of every channel."""
        return [edge_metrics_of(channel) for task in self.tasks for channel in task.inputs]

    def _begin(self) -> bool:
        """Say whether there is something to be done: it may have been cancelled before."""
        with self._lock:
            if self.state is not RunState.CREATED:
                return False
            self.state = RunState.RUNNING
        self.started_at = time.time()
        if self._checkpoints is not None:
            self._checkpoints.start()
        return True

    def _host(self, task: Task) -> None:
        try:
            task.run()
        except ChannelClosed:
            pass  # the job is over already; why is in state and error
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise  # KeyboardInterrupt and the like also end the caller
        finally:
            self._task_ended()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self.state is RunState.RUNNING:
                self.state = RunState.FAILED
                self.error = error
        self._close_tasks()

    def _stop(self) -> None:
        """End where a checkpoint stands."""
        with self._lock:
            if self.state is RunState.RUNNING:
                self.state = RunState.FINISHED
        self._close_tasks()

    def _task_ended(self) -> None:
        with self._lock:
            self._open_tasks -= 1
            if self._open_tasks:
                return
        try:
            self._end()
        except Exception as error:
            if self.state is RunState.FINISHED:
                self.state, self.error = RunState.FAILED, error
        finally:  # whatever happens, nobody waits for ever
            self._done.set()

    def _end(self) -> None:
        if self._checkpoints is not None:
            if self.state is RunState.RUNNING:
                self._checkpoints.coordinator.wait_for_end()
            self._checkpoints.close()
        with self._lock:
            if self.state is RunState.RUNNING:
                self.state = RunState.FINISHED
            self.ended_at = time.time()
        with contextlib.ExitStack() as ends:  # all of them, whichever fails
            if self.tracer is not None:
                ends.callback(self.tracer.close)
            ends.callback(self._services.close)
            ends.callback(self._hosts.close)

    def _close_tasks(self) -> None:
        self._cancelled.set()
        for task in self.tasks:
            task.close()

    def _set_aside(
        self,
        node: Node,
        record: Any,
        error: BaseException,
        attempts: int,
        *,
        is_input: bool = True,
    ) -> None:
        letter = DeadLetter.of(node.transformation, record, error, attempts, is_input=is_input)
        node.letters.append(letter)
        if not self.dead_letters.add(letter):
            raise JobFailedError(
                node.transformation.name,
                OverflowError(
                    f"more than {self._config.max_dead_letters} dead letters (max_dead_letters)"
                ),
                record=record,
                has_record=True,
            ) from error

    def _linger(self) -> None:
        """Send what waits in the buffers of tasks that are stuck in a user's function."""
        linger_s = max(self._config.linger_ms / 1000, 0.001)
        while not self._done.wait(linger_s / 2):
            now = time.monotonic()
            for task in self.tasks:
                since = task.clock.working_since
                if since is not None and now - since > linger_s / 2:
                    self._flush_for(task)

    def _flush_for(self, task: Task) -> None:
        try:
            task.chain.flush_what_waits()
        except ChannelClosed:
            return  # the job is over already
        except Exception as error:
            self._fail(error)
