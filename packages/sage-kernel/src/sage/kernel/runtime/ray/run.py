"""Places the actors of one job, watches them, and ends them.

Everything happens on one supervisor thread, which waits for whichever call returns first: an actor
that was built, a task that has ended, a chunk of results. User code never runs here.

Invariant: the first error of any task, or the death of any actor, ends the whole run and is what
``wait`` raises; when ``join`` returns, no actor does anything for the run any more. (One that was
stopped may go on before it is killed: whatever it says then is refused, see ``wiring``.)
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle
from ray.exceptions import RayActorError, RayError

from sage.kernel.config import EngineConfig
from sage.kernel.errors import JobFailedError
from sage.kernel.graph.job_graph import JobGraph
from sage.kernel.metrics.checkpoints import CheckpointMetrics
from sage.kernel.metrics.fates import OperatorMetrics
from sage.kernel.metrics.snapshot import EdgeMetrics
from sage.kernel.runtime.dead_letters import DeadLetters
from sage.kernel.runtime.ray.actor import Report
from sage.kernel.runtime.ray.cluster import Cluster
from sage.kernel.runtime.ray.failures import actor_died, reason_of, unpacked
from sage.kernel.runtime.ray.news import unpacked_news
from sage.kernel.runtime.ray.placement import cannot_be_placed, check_resources, fits_somewhere
from sage.kernel.runtime.ray.plan import (
    Receiver,
    Subtask,
    edge_metrics,
    receivers_of,
    results_of,
    subtasks_of,
)
from sage.kernel.runtime.ray.pool import keep_actor, take_actor
from sage.kernel.runtime.ray.results import printing_at_home
from sage.kernel.runtime.ray.shipping import check_shape, shipments
from sage.kernel.runtime.ray.silence import Silence
from sage.kernel.runtime.ray.wiring import Carried
from sage.kernel.runtime.run_state import RunState
from sage.kernel.runtime.services import ServiceFactory
from sage.kernel.runtime.wiring import LinkKey

if TYPE_CHECKING:
    from sage.kernel.checkpoint.coordinator import Coordinator
    from sage.kernel.runtime.recovery import Beginning

__all__ = ["RayRun"]

# A task that was cancelled has so long to let its user's function return, then its actor is killed.
_GRACE_S = 10.0
_LOOK_S = 0.1
_REPORT_S = 5.0
_NEWS_S = 2.0


class _Stopped(Exception):
    """The job is over; why is in ``state`` and ``error``."""


class RayRun:
    """One execution of a job graph on Ray.

    Args:
        graph: The physical plan.
        config: The environment's options.
        services: How to make each service.
        cluster: Where it runs.
        start_timeout_s: Longest wait for the next actor to be placed.
        beginning: Where checkpoints are made, and what the run begins with; None without any.

    Raises:
        GraphError: if the plan cannot run on Ray.
        FunctionError: if a function or service cannot travel.
    """

    def __init__(
        self,
        graph: JobGraph,
        config: EngineConfig,
        services: dict[str, ServiceFactory],
        cluster: Cluster,
        start_timeout_s: float,
        beginning: Beginning | None = None,
    ) -> None:
        check_shape(graph)
        check_resources(graph)
        self.graph = graph = printing_at_home(graph)
        self.state = RunState.CREATED
        self.error: BaseException | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.actors: dict[Subtask, Any] = {}
        self._name = uuid.uuid4().hex
        self._shipments = shipments(graph, config, services)
        self._config = config
        self._cluster = cluster
        self._start_timeout_s = start_timeout_s
        self._letters = DeadLetters(config.max_dead_letters)
        self._reports: dict[Subtask, Report] = {}
        self._joining: dict[Any, Subtask] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._draining = False
        self._silence = Silence(_LOOK_S)
        self._participation = b""
        self._coordinator: Coordinator | None = None
        if beginning is not None:
            from sage.kernel.runtime.local.checkpoints import Participation

            self._participation = cloudpickle.dumps(Participation.of(beginning))
            self._coordinator = beginning.coordinator(
                subtasks_of(graph),
                request=lambda barrier: self._tell_all("request", barrier),
                complete=lambda checkpoint: self._tell_all("complete", checkpoint),
                stop=self._stop,
                fail=self._fail,
            )

    @property
    def runs_inline(self) -> bool:
        """Never: tasks run in actors."""
        return False

    @property
    def dead_letters(self) -> DeadLetters:
        """The records that were set aside so far."""
        self._ask_running()
        return self._letters

    def start(self) -> None:
        """Connect to Ray, and place the actors in the background."""
        self._cluster.connect()
        with self._lock:
            if self.state is RunState.CREATED:
                self.state = RunState.RUNNING
        self.started_at = time.time()
        threading.Thread(target=self._supervise, name="sage-ray", daemon=True).start()

    def run_inline(self) -> None:
        """The same as `start`, and wait."""
        self.start()
        self.join()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; say whether it came in time."""
        return self._done.wait(timeout_s)

    def drain(self) -> None:
        """Let the sources end now; what was read is worked off."""
        self._draining = True
        self._tell_all("drain")

    def cancel(self) -> None:
        """Stop as soon as every user function that is being called has returned."""
        with self._lock:
            if self.state is RunState.CREATED:
                self._done.set()
            if self.state in (RunState.CREATED, RunState.RUNNING):
                self.state = RunState.CANCELLED

    @property
    def checkpoints(self) -> CheckpointMetrics | None:
        """How its checkpoints went; None if it makes none."""
        return self._coordinator.statistics if self._coordinator is not None else None

    @property
    def coordinator(self) -> Coordinator:
        """Who makes its checkpoints."""
        assert self._coordinator is not None
        return self._coordinator

    def subtask_metrics(self) -> list[OperatorMetrics]:
        """Return the counts of every operator in every subtask."""
        self._ask_running()
        reports = [self._reports.get(at) for at in subtasks_of(self.graph)]
        return [metrics for report in reports if report for metrics in report.metrics]

    def edge_metrics(self) -> list[EdgeMetrics]:
        """Return the counts of every channel, as of the last `subtask_metrics`."""
        sent: dict[LinkKey, Carried] = {}
        received: dict[LinkKey, Carried] = {}
        for report in list(self._reports.values()):
            sent.update(report.sent)
            received.update(report.received)
        capacity = self._config.channel_batches
        return [
            edge_metrics(self.graph, key, sent.get(key, Carried()), took, capacity)
            for key, took in received.items()
        ]

    # The supervisor.

    def _supervise(self) -> None:
        try:
            self._place()
            self._watch()
        except _Stopped:
            pass
        except Exception as error:  # raised in wait()
            self._fail(error)
        self._end()

    def _place(self) -> None:
        """Create the actors, have each build its task, and start them, receivers first."""
        shipped = [ray.put(data) for data in self._shipments]
        participation = ray.put(self._participation)
        self._shipments, self._participation = [], b""
        self._check_room()
        built: dict[Any, Subtask] = {}
        for vertex in self.graph.vertices:
            for subtask in range(vertex.parallelism):
                at = (vertex.id, subtask)
                self.actors[at] = take_actor(vertex)
                building = self.actors[at].build.options(concurrency_group="control")
                where = (shipped[vertex.id], vertex.id, subtask)
                built[building.remote(self._name, *where, participation)] = at
        self._await_built(built)
        self._start_all()

    def _check_room(self) -> None:
        if self._cluster.is_ours:  # no node will join it
            for vertex in self.graph.vertices:
                if not fits_somewhere(vertex, ray.nodes()):
                    raise cannot_be_placed(vertex, ray.nodes(), None)

    def _await_built(self, built: dict[Any, Subtask]) -> None:
        waited_since = time.monotonic()
        while built:
            self._look()
            for call in ray.wait(list(built), timeout=_LOOK_S)[0]:
                at = built.pop(call)
                waited_since = time.monotonic()
                if (problem := self._got(call, at)) is not None:
                    raise unpacked(problem)
            if built and time.monotonic() - waited_since > self._start_timeout_s:
                vertex = self.graph.vertices[next(iter(built.values()))[0]]
                raise cannot_be_placed(vertex, ray.nodes(), self._start_timeout_s)

    def _start_all(self) -> None:
        starting = {}
        for at, actor in self.actors.items():
            peers = {to: self.actors[to] for to in receivers_of(self.graph, at)}
            starting[actor.start.options(concurrency_group="control").remote(peers)] = at
        for call, at in starting.items():
            self._got(call, at)
            joining = self.actors[at].join.options(concurrency_group="join")
            self._joining[joining.remote()] = at
        if self._draining:
            self._tell_all("drain")
        if self._coordinator is not None:
            self._coordinator.start()

    def _watch(self) -> None:
        """Handle whatever call returns next until every task has ended."""
        waiting: dict[Any, Callable[[Any], None]] = dict.fromkeys(self._joining, self._on_end)
        for at in list(self._joining.values()):
            self._listen(at, waiting)
        for at, uid, receive in results_of(self.graph):
            self._fetch(at, uid, receive, waiting)
        while waiting:
            self._look()
            for call in ray.wait(list(waiting), timeout=_LOOK_S)[0]:
                waiting.pop(call)(call)
            self._look_for_silent()
        if self._coordinator is not None:
            self._coordinator.wait_for_end()

    def _listen(self, at: Subtask, waiting: dict[Any, Callable[[Any], None]]) -> None:
        """Hear what a task says to the coordinator, and that its actor lives."""

        def heard(call: Any) -> None:
            packed, is_last = self._got(call, at)
            if self._coordinator is not None:
                for message in unpacked_news(packed):
                    self._coordinator.report(message)
            if is_last:
                self._silence.forget(at)
            else:
                self._listen(at, waiting)

        self._silence.heard(at)
        listening = self.actors[at].news.options(concurrency_group="news")
        waiting[listening.remote(self._news_s)] = heard

    @property
    def _news_s(self) -> float:
        """How long an actor may wait for news before it answers without any."""
        timeout_s = self._config.worker_timeout_s
        return _NEWS_S if timeout_s is None else min(_NEWS_S, timeout_s / 3)

    def _look_for_silent(self) -> None:
        """Give up an actor that does not answer."""
        timeout_s = self._config.worker_timeout_s
        at = self._silence.longer_than(timeout_s)
        if at is not None:
            self._joining = {call: task for call, task in self._joining.items() if task != at}
            ray.kill(self.actors[at])
            raise self._died(at, f"it did not answer for {timeout_s:g} s and was killed")

    def _fetch(
        self,
        at: Subtask,
        uid: str,
        receive: Receiver,
        waiting: dict[Any, Callable[[Any], None]],
    ) -> None:
        def arrived(call: Any) -> None:
            records, is_last = self._got(call, at)
            receive(records)
            if not is_last:
                self._fetch(at, uid, receive, waiting)

        fetching = self.actors[at].fetch.options(concurrency_group="fetch")
        waiting[fetching.remote(uid)] = arrived

    def _on_end(self, call: Any) -> None:
        at = self._joining.pop(call)
        report: Report = self._got(call, at)
        self._keep(at, report)
        if report.error is not None:
            raise unpacked(report.error)

    def _look(self) -> None:
        if self.state is not RunState.RUNNING:
            raise _Stopped

    def _got(self, call: Any, at: Subtask) -> Any:
        """Return what a call gave.

        Raises:
            JobFailedError: if the actor is gone.
        """
        try:
            return ray.get(call)
        except RayActorError as error:
            failed = self._died(at, reason_of(error), error)
            raise failed from failed.__cause__

    def _died(self, at: Subtask, why: str, error: RayActorError | None = None) -> JobFailedError:
        return actor_died(self.graph.vertices[at[0]].name, at[1], why, error)

    # The end.

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self.state is RunState.RUNNING:
                self.state = RunState.FAILED
                self.error = error

    def _stop(self) -> None:
        """End where a checkpoint stands."""
        with self._lock:
            if self.state is RunState.RUNNING:
                self.state = RunState.FINISHED

    def _end(self) -> None:
        try:
            if self._joining:
                self._stop_tasks()
            self._let_go()
        except Exception as error:  # Ray itself is gone
            self._fail(error)
        if self._coordinator is not None:
            self._coordinator.close()
        with self._lock:
            if self.state is RunState.RUNNING:
                self.state = RunState.FINISHED
            self.ended_at = time.time()
        self._done.set()

    def _let_go(self) -> None:
        for at, actor in self.actors.items():
            report = self._reports.get(at)
            if report is not None and report.is_reusable:
                keep_actor(actor, self.graph.vertices[at[0]])
            else:
                ray.kill(actor)

    def _stop_tasks(self) -> None:
        """Cancel what still runs, and keep what it has to report."""
        self._tell_all("cancel")
        until = time.monotonic() + _GRACE_S
        while self._joining and (left := until - time.monotonic()) > 0:
            for call in ray.wait(list(self._joining), timeout=left)[0]:
                at = self._joining.pop(call)
                try:
                    self._keep(at, ray.get(call))
                except RayError:
                    continue  # it died, which is or is not why the job ended

    def _tell_all(self, what: str, *said: Any) -> None:
        for actor in list(self.actors.values()):
            getattr(actor, what).options(concurrency_group="control").remote(*said)

    # What subtasks report.

    def _ask_running(self) -> None:
        calls = {
            self.actors[at].report.options(concurrency_group="control").remote(): at
            for at in list(self._joining.values())
            if self.state is RunState.RUNNING
        }
        if not calls:
            return
        for call in ray.wait(list(calls), num_returns=len(calls), timeout=_REPORT_S)[0]:
            try:
                self._keep(calls[call], ray.get(call))
            except RayError:
                continue  # it has just died; the supervisor tells the job

    def _keep(self, at: Subtask, report: Report) -> None:
        with self._lock:
            known = self._reports.get(at)
            # The last report stands, also against one that was asked for earlier and came later.
            if known is None or not known.is_last:
                self._reports[at] = report
        letters = cloudpickle.loads(report.dead_letters) if report.dead_letters else []
        for letter in letters:
            if not self._letters.add(letter):
                too_many = f"more than {self._config.max_dead_letters} dead letters"
                error = OverflowError(f"{too_many} (max_dead_letters)")
                self._fail(JobFailedError(letter.operator, error, record=letter.record))
                return
