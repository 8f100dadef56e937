"""The actor around one task.

It runs a `LocalRun` of a single subtask, so that everything a task is promised on a thread of the
driver holds here too: policies, linger, async hosts, services (one of each for this process).

Groups of calls have threads of their own: deliveries, which may wait for room; ``join``, ``fetch``
and ``news``, which wait for the task; and control, which never waits.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ray import cloudpickle

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.metrics.fates import OperatorMetrics
from sage.kernel.runtime.dead_letters import DeadLetter
from sage.kernel.runtime.local.run import LocalRun
from sage.kernel.runtime.ray.failures import packed
from sage.kernel.runtime.ray.news import News
from sage.kernel.runtime.ray.results import ResultSink
from sage.kernel.runtime.ray.shipping import Shipment
from sage.kernel.runtime.ray.wiring import ActorWiring, Carried
from sage.kernel.runtime.run_state import RunState
from sage.kernel.runtime.services import Services
from sage.kernel.runtime.wiring import LinkKey

if TYPE_CHECKING:
    from sage.kernel.runtime.local.checkpoints import Participants

__all__ = ["CONCURRENCY_GROUPS", "Report", "TaskActor"]

# What is in no group, ``deliver``, has one thread of its own.
CONCURRENCY_GROUPS = {"control": 1, "join": 1, "fetch": 1, "news": 1}
_THREAD_S = 0.2


@dataclass(frozen=True)
class Report:
    """What the driver is told of a subtask.

    Attributes:
        metrics: The counts of its operators.
        sent: What was sent over each outgoing link.
        received: What was taken from each incoming link.
        dead_letters: Records set aside since the last report.
        state: Where it stands.
        error: Why it failed, packed, or None.
        is_last: Whether the task has ended and nothing more will change.
        is_reusable: Whether nothing of the task is left in the actor, not even a thread.
    """

    metrics: list[OperatorMetrics] = field(default_factory=list)
    sent: dict[LinkKey, Carried] = field(default_factory=dict)
    received: dict[LinkKey, Carried] = field(default_factory=dict)
    dead_letters: bytes = b""
    state: RunState = RunState.CREATED
    error: bytes | None = None
    is_last: bool = False
    is_reusable: bool = False


class TaskActor:
    """One subtask, in a process of its own."""

    def __init__(self) -> None:
        self._wiring = ActorWiring("")
        self._run: LocalRun | None = None
        self._news = News()
        self._participants: Participants | None = None
        self._where = ""

    def ping(self) -> None:
        """Answer."""

    def build(
        self,
        run: str,
        shipped: bytes,
        vertex: int,
        subtask: int,
        participation: bytes = b"",
    ) -> bytes | None:
        """Make the task of a run; return why it cannot be made, packed, or None.

        Args:
            run: Which run it is.
            shipped: A `Shipment`, pickled.
            vertex: The vertex of the plan.
            subtask: Which of its subtasks.
            participation: A `Participation`, pickled; empty if there are no checkpoints.
        """
        self._wiring, self._news, self._participants = ActorWiring(run), News(), None
        try:
            shipment: Shipment = cloudpickle.loads(shipped)
            self._where = f"in the actor of {shipment.graph.vertices[vertex].name!r} [{subtask}]"
            self._run = LocalRun(
                shipment.graph,
                shipment.config,
                Services(shipment.services),
                wiring=self._wiring,
                only=(vertex, subtask),
            )
            if participation:
                from sage.kernel.runtime.local.checkpoints import Participants

                self._participants = Participants(
                    cloudpickle.loads(participation), self._run.tasks, self._news.put
                )
        except Exception as error:  # raised again in the driver
            return packed(error, self._where)
        return None

    def start(self, peers: Mapping[tuple[int, int], Any]) -> None:
        """Connect to the actors that receive, and start the task."""
        self._wiring.connect(peers)
        self._made.start()

    def deliver(
        self,
        run: str,
        key: LinkKey,
        values: list[Any] | Barrier | None,
        riders: Any,
        mark: tuple[float, bool] | None = None,
    ) -> bool:
        """Take a batch, a barrier, a watermark or the end of an input from another actor."""
        return self._wiring.deliver(run, key, values, riders, mark)

    def fetch(self, uid: str) -> tuple[list[Any], bool]:
        """Return records that a sink sends home, and whether they are the last."""
        return self._result_sinks[uid].fetch()

    def news(self, wait_s: float) -> tuple[bytes, bool]:
        """Return what the task says to the coordinator, packed, and whether that was all."""
        return self._news.take(wait_s)

    def request(self, barrier: Barrier) -> None:
        """Ask the task for a cut."""
        if self._participants is not None:
            self._participants.request(barrier)

    def complete(self, checkpoint: int) -> None:
        """Tell the task that a checkpoint is complete."""
        if self._participants is not None:
            self._participants.complete(checkpoint)

    def join(self) -> Report:
        """Wait for the task's end and report."""
        self._made.join()
        self._wiring.close()
        if self._participants is not None:
            self._participants.close()
        self._news.end()
        return replace(self.report(), is_last=True, is_reusable=_no_thread_is_left())

    def report(self) -> Report:
        """Return the counts as they stand, and the dead letters since the last report."""
        run = self._made
        return Report(
            run.subtask_metrics(),
            self._wiring.sent,
            self._wiring.received,
            self._letters(run),
            run.state,
            packed(run.error, self._where) if run.error is not None else None,
        )

    def drain(self) -> None:
        """Let a source end now."""
        self._made.drain()

    def cancel(self) -> None:
        """Stop as soon as the user function that is being called has returned."""
        self._made.cancel()
        self._wiring.close()
        for sink in self._result_sinks.values():
            sink.abandon()

    @property
    def _made(self) -> LocalRun:
        assert self._run is not None
        return self._run

    @property
    def _result_sinks(self) -> dict[str, ResultSink]:
        return {
            node.transformation.uid: function.owner
            for node in self._made.tasks[0].nodes
            for function in node.live.functions
            if isinstance(function.owner, ResultSink)
        }

    @staticmethod
    def _letters(run: LocalRun) -> bytes:
        """Return the new dead letters; a record that cannot travel is told by its repr."""
        letters = run.dead_letters.take_all()
        if not letters:
            return b""
        try:
            return cloudpickle.dumps(letters)  # type: ignore[no-any-return]
        except Exception:  # one of the records has something that belongs to this process
            return cloudpickle.dumps([_portable(letter) for letter in letters])  # type: ignore[no-any-return]


def _no_thread_is_left() -> bool:
    """Whether the task's threads have ended; one may be stuck in a user's source or service."""
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("sage-")]
    for thread in ours:
        thread.join(_THREAD_S)
    return not any(thread.is_alive() for thread in ours)


def _portable(letter: DeadLetter) -> DeadLetter:
    try:
        cloudpickle.dumps(letter)
    except Exception:  # whatever a user's class does there
        fields = {name: getattr(letter, name) for name in letter.__dataclass_fields__}
        return DeadLetter(**{**fields, "record": repr(letter.record)})
    return letter
