"""Chooses the number of subtasks of every operator whose parallelism is ``"auto"``.

The rules, the first that fits:

==============================  ====================================================================
source                          1: it is read once. Give a number to read a sequence in parts.
sink                            1: one writer.
``map_async``                   1: ``concurrency`` is what scales it.
a loop's ends, one key for all  1: they only pass records on.
several inputs without keys     1: its function sees the records of all of them.
``executor="process"``          The cores, divided by ``num_cpus``; 1 if an earlier run measured
                                less work in a record than it costs to send it to a process
                                (`PAYS_FROM_S`).
``executor="thread"``           4 a core, at most 32: who asks for threads has functions that wait,
                                and waiting overlaps.
on Ray                          The cores, divided by ``num_cpus``: each subtask is a process. Keyed
                                operators divide their keys.
anything else                   1: Python functions in threads of one process take turns at the
                                interpreter lock, and handing records over costs more than it gains.
==============================  ====================================================================

The cores are those that this process may use, also where a cluster has more. What was chosen, and
why, is the operator's note, which ``explain()`` shows. An operator with a number of its own is left
alone.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> env = LocalEnvironment("demo")
    >>> _ = env.from_collection([1]).map(abs, parallelism="auto").print()
    >>> print(env.explain())
    demo: 1 task
    [0] collection → abs → print
        abs: 1 chosen, threads take turns at the interpreter lock
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.graph.transformation import AUTO, Partitioning, Transformation
from sage.kernel.metrics.snapshot import JobMetrics
from sage.kernel.operators.map_async import MapAsyncOperator
from sage.kernel.operators.source import SourceOperator

__all__ = ["PAYS_FROM_S", "Surroundings", "choose_parallelism", "costs_of"]

PAYS_FROM_S = 3e-6
_MEASURED_FROM = 1000  # records; fewer measure the start-up
_THREADS_PER_CORE = 4
_MOST_THREADS = 32
_PASSING_ON = ("loop_head", "loop_tail", "future", "requests")


@dataclass(frozen=True)
class Surroundings:
    """What the choice depends on beside the plan.

    Attributes:
        cores: Cores that may be used.
        distributed: Whether every subtask is a process of its own, on Ray.
        cost_s: Seconds of work in a record by the operator's uid, where an earlier run measured it.
    """

    cores: int
    distributed: bool = False
    cost_s: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def here(cls, *, distributed: bool = False, measured: JobMetrics | None = None) -> Surroundings:
        """Return those of this process.

        Args:
            distributed: Whether the plan runs on Ray.
            measured: The metrics of an earlier run of the same pipeline.
        """
        if hasattr(os, "sched_getaffinity"):
            cores = len(os.sched_getaffinity(0))
        else:
            cores = os.cpu_count() or 1
        return cls(cores, distributed, costs_of(measured) if measured is not None else {})


def costs_of(metrics: JobMetrics) -> dict[str, float]:
    """Return the seconds of work in a record, by uid, of operators that saw enough records.

    The operators of a chain share one clock, so the cost of each is at most what is returned.
    """
    return {
        operator.uid: operator.busy_s / operator.received
        for operator in metrics.operators
        if operator.received >= _MEASURED_FROM
    }


def choose_parallelism(graph: StreamGraph, surroundings: Surroundings) -> StreamGraph:
    """Return the plan with a number of subtasks for every operator."""
    return graph.replaced(tuple(_chosen(t, surroundings) for t in graph))


def _chosen(transformation: Transformation, surroundings: Surroundings) -> Transformation:
    if transformation.parallelism != AUTO:
        return transformation
    parallelism, why = _choice(transformation, surroundings)
    return replace(transformation, parallelism=parallelism, note=f"{parallelism} chosen, {why}")


def _choice(transformation: Transformation, surroundings: Surroundings) -> tuple[int, str]:
    operator = transformation.operator
    if isinstance(operator, SourceOperator):
        return 1, "a source is read once"
    if operator.terminal:
        return 1, "one writer"
    if isinstance(operator, MapAsyncOperator):
        return 1, f"concurrency={operator.concurrency} is what scales it"
    if operator.kind in _PASSING_ON:
        return 1, "it only passes records on"
    if len(transformation.inputs) > 1 and not _is_keyed(transformation):
        return 1, "it sees the records of all its inputs"
    if transformation.executor == "process":
        return _processes(transformation, surroundings)
    if transformation.executor == "thread":
        threads = min(_MOST_THREADS, _THREADS_PER_CORE * surroundings.cores)
        return threads, f"calls that wait overlap, {_THREADS_PER_CORE} threads a core"
    if surroundings.distributed:
        return _by_cores(transformation, surroundings)
    return 1, "threads take turns at the interpreter lock"


def _processes(transformation: Transformation, surroundings: Surroundings) -> tuple[int, str]:
    cost_s = surroundings.cost_s.get(transformation.uid)
    if cost_s is None:
        measured = "work in a record not measured yet"
    else:
        measured = f"{cost_s * 1e6:.1f} µs of work in a record were measured"
        if cost_s < PAYS_FROM_S:
            return 1, f"processes pay from {PAYS_FROM_S * 1e6:.0f} µs, {measured}"
    count, why = _by_cores(transformation, surroundings)
    return count, f"{why}; {measured}"


def _by_cores(transformation: Transformation, surroundings: Surroundings) -> tuple[int, str]:
    share = float(transformation.resources.get("num_cpus") or 1)
    count = max(1, int(surroundings.cores / share))
    divided = f" by num_cpus={share:g}" if share != 1 else ""
    cores = f"{surroundings.cores} core{'s' if surroundings.cores != 1 else ''}"
    return count, f"{cores}{divided}"


def _is_keyed(transformation: Transformation) -> bool:
    return all(edge.partitioning is Partitioning.HASH for edge in transformation.inputs)
