"""What a job asks of the run behind it, wherever its tasks are hosted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from sage.kernel.config import EngineConfig
from sage.kernel.graph.job_graph import JobGraph
from sage.kernel.metrics.fates import OperatorMetrics
from sage.kernel.metrics.snapshot import EdgeMetrics
from sage.kernel.runtime.dead_letters import DeadLetters
from sage.kernel.runtime.run_state import RunState
from sage.kernel.runtime.services import ServiceFactory

if TYPE_CHECKING:
    from sage.kernel.checkpoint.coordinator import Coordinator
    from sage.kernel.metrics.checkpoints import CheckpointMetrics

__all__ = ["CheckpointedRun", "Run", "Runtime"]


class Run(Protocol):
    """One execution of a plan.

    Attributes:
        graph: The plan.
        state: Where it stands.
        error: Why it failed, or None.
        started_at: Seconds since the epoch.
        ended_at: Seconds since the epoch.
    """

    graph: JobGraph
    state: RunState
    error: BaseException | None
    started_at: float | None
    ended_at: float | None

    @property
    def dead_letters(self) -> DeadLetters:
        """The records that were set aside so far."""

    @property
    def runs_inline(self) -> bool:
        """Whether the caller's thread can run it."""

    def start(self) -> None:
        """Start, and return."""

    def run_inline(self) -> None:
        """Run to the end in this thread."""

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; say whether it came in time."""

    def drain(self) -> None:
        """Let the sources end now; what was read is worked off."""

    def cancel(self) -> None:
        """Stop as soon as every user function that is being called has returned."""

    @property
    def checkpoints(self) -> CheckpointMetrics | None:
        """How its checkpoints went; None if it makes none."""

    def subtask_metrics(self) -> list[OperatorMetrics]:
        """Return the counts of every operator in every subtask."""

    def edge_metrics(self) -> list[EdgeMetrics]:
        """Return the counts of every channel."""


class CheckpointedRun(Run, Protocol):
    """A run that makes checkpoints."""

    @property
    def coordinator(self) -> Coordinator:
        """Who makes them: checkpoints out of turn and savepoints are asked of it."""


class Runtime(Protocol):
    """Runs plans: in this process, or on a cluster."""

    def run(
        self, graph: JobGraph, config: EngineConfig, services: dict[str, ServiceFactory]
    ) -> Run:
        """Return a run of a plan, not started yet."""

    def sink_into(self, records: list[Any]) -> Any:
        """Return a sink's function that adds each record to a list of this process."""

    def close(self) -> None:
        """Let go of what was acquired to run plans."""
