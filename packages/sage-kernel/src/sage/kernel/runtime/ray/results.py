"""Brings records home to the driver: what ``collect()`` gathers and what ``print()`` shows."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sage.common.core.functions import SinkFunction
from sage.kernel.graph.job_graph import JobGraph, JobVertex
from sage.kernel.graph.transformation import Transformation
from sage.kernel.operators.function_spec import SINK, FunctionSpec
from sage.kernel.operators.sink import SinkOperator

__all__ = ["ResultSink", "printing_at_home"]


class ResultSink(SinkFunction[Any]):
    """A sink in an actor whose records are fetched by the driver.

    The instance that the driver has knows where they go; what travels to the actor, or is copied
    there, only holds them until they are fetched, no more than `MOST` at a time.

    Args:
        receive: Takes a list of records, in the driver.
    """

    MOST = 16_384
    _LOOK_S = 0.1

    def __init__(self, receive: Callable[[list[Any]], object] | None = None) -> None:
        self.receive = receive
        self._waiting: deque[Any] = deque()
        self._arrived = threading.Event()
        self._fetched = threading.Event()
        self._ended = False
        self._abandoned = False

    def __reduce__(self) -> tuple[Any, ...]:
        return ResultSink, ()

    def write(self, record: Any) -> None:
        """Hold a record; wait while the driver is behind."""
        self._waiting.append(record)
        if not self._arrived.is_set():
            self._arrived.set()
        while len(self._waiting) >= self.MOST and not self._abandoned:
            self._fetched.clear()
            if len(self._waiting) >= self.MOST:  # still: else the event may have come and gone
                self._fetched.wait(self._LOOK_S)

    def close(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._arrived.set()

    def abandon(self) -> None:
        """Wait for the driver no longer."""
        self._abandoned = True
        self._fetched.set()

    def fetch(self, wait_s: float = 0.2) -> tuple[list[Any], bool]:
        """Return what is there, waiting a moment if nothing is, and whether that was all."""
        if not self._waiting and not self._ended:
            self._arrived.clear()
            if not self._waiting and not self._ended:
                self._arrived.wait(wait_s)
        ended = self._ended  # before taking: what came last is still taken
        take = self._waiting.popleft
        records = [take() for _ in range(len(self._waiting))]
        self._fetched.set()
        return records, ended


def printing_at_home(graph: JobGraph) -> JobGraph:
    """Return the plan with sinks that print replaced by ones whose records the driver prints.

    An actor's standard output is a log file somewhere.
    """

    def at_home(transformation: Transformation) -> Transformation:
        operator = transformation.operator
        if not isinstance(operator, SinkOperator):
            return transformation
        show = _shown_by(operator.function.target)
        if show is None:
            return transformation
        sink = ResultSink(lambda records: [show(record) for record in records])
        return replace(transformation, operator=SinkOperator(FunctionSpec(SINK, sink)))

    def all_at_home(transformations: tuple[Transformation, ...]) -> tuple[Transformation, ...]:
        return tuple(at_home(t) for t in transformations)

    def vertex_at_home(vertex: JobVertex) -> JobVertex:
        return replace(vertex, transformations=all_at_home(vertex.transformations))

    return JobGraph(
        graph.stream_graph.replaced(all_at_home(graph.stream_graph.transformations)),
        tuple(vertex_at_home(vertex) for vertex in graph.vertices),
    )


def _shown_by(target: Any) -> Callable[[Any], object] | None:
    if target is print:
        return lambda record: print(record)
    if isinstance(target, SinkFunction) and getattr(target, "prints", False):
        write: Callable[[Any], object] = target.write
        return write
    return None
