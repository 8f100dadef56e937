"""The runtime of this process."""

from __future__ import annotations

from typing import Any

from sage.kernel.config import EngineConfig
from sage.kernel.graph.job_graph import JobGraph
from sage.kernel.runtime.local.run import LocalRun
from sage.kernel.runtime.run import Run
from sage.kernel.runtime.services import ServiceFactory, Services

__all__ = ["LocalRuntime"]


class LocalRuntime:
    """Runs plans on threads of this process."""

    def run(
        self, graph: JobGraph, config: EngineConfig, services: dict[str, ServiceFactory]
    ) -> Run:
        """Return a run of a plan, not started yet."""
        options = config.fault_tolerance
        if options is None:
            return LocalRun(graph, config, Services(services))
        from sage.kernel.runtime.recovery import RecoveringRun

        return RecoveringRun(
            graph,
            options,
            lambda begin: LocalRun(graph, config, Services(services), beginning=begin),
        )

    def sink_into(self, records: list[Any]) -> Any:
        """Return the list's own ``append``: nothing is faster."""
        return records.append

    def close(self) -> None:
        """Nothing to let go of."""
