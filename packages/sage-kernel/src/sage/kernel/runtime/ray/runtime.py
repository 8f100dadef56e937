"""What an environment holds to run its plans on Ray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sage.common.errors import ConfigError, Problem
from sage.kernel.config import EngineConfig
from sage.kernel.errors import GraphError
from sage.kernel.graph.job_graph import JobGraph
from sage.kernel.runtime.ray.cluster import Cluster, ray_module
from sage.kernel.runtime.run import Run
from sage.kernel.runtime.services import ServiceFactory

__all__ = ["RayRuntime"]


class RayRuntime:
    """Runs plans in Ray actors.

    Args:
        options: ``start_timeout_s``, the longest wait for an actor to be placed; everything else is
            an argument of ``ray.init``.

    Raises:
        ConfigError: if ``start_timeout_s`` is no time.
        MissingExtraError: if Ray is not installed.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        ray_module()
        given = dict(options)
        self._start_timeout_s = _seconds(given.pop("start_timeout_s", 60.0))
        self._cluster = Cluster(given)

    def run(
        self, graph: JobGraph, config: EngineConfig, services: dict[str, ServiceFactory]
    ) -> Run:
        """Return a run of a plan, not started yet.

        Raises:
            GraphError: if the plan, or a function of it, cannot run on Ray.
        """
        from sage.kernel.runtime.ray.run import RayRun

        placed = (graph, config, services, self._cluster, self._start_timeout_s)
        options = config.fault_tolerance
        if options is None:
            return RayRun(*placed)
        if options.checkpoint_dir.startswith("memory:"):
            raise GraphError(
                f"checkpoint_dir {options.checkpoint_dir!r} is in one process, and tasks on Ray "
                "are in several",
                hint="give a folder or URL that all machines of the cluster share",
            )
        from sage.kernel.runtime.recovery import RecoveringRun

        return RecoveringRun(graph, options, lambda begin: RayRun(*placed, beginning=begin))

    def sink_into(self, records: list[Any]) -> Any:
        """Return a sink that brings records back from its actor."""
        from sage.kernel.runtime.ray.results import ResultSink

        return ResultSink(records.extend)

    def close(self) -> None:
        """Stop Ray, if we started it and nobody else uses it."""
        self._cluster.release()


def _seconds(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return float(value)
    problem = Problem("$.ray.start_timeout_s", f"expected seconds above 0, got {value!r}")
    raise ConfigError("environment config", [problem])
