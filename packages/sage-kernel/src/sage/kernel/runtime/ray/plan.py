"""What the driver reads from a plan: who there is, who sends to whom, whose records come home."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sage.kernel.graph.job_graph import JobGraph
from sage.kernel.graph.transformation import Partitioning
from sage.kernel.metrics.snapshot import EdgeMetrics
from sage.kernel.operators.sink import SinkOperator
from sage.kernel.runtime.ray.results import ResultSink
from sage.kernel.runtime.ray.wiring import Carried
from sage.kernel.runtime.wiring import LinkKey

__all__ = ["Receiver", "Subtask", "edge_metrics", "receivers_of", "results_of", "subtasks_of"]

Subtask = tuple[int, int]
Receiver = Callable[[list[Any]], object]


def subtasks_of(graph: JobGraph) -> list[Subtask]:
    """Return vertex and number of every subtask."""
    return [(vertex.id, i) for vertex in graph.vertices for i in range(vertex.parallelism)]


def receivers_of(graph: JobGraph, at: Subtask) -> set[Subtask]:
    """Return the subtasks that one sends to."""
    vertex = graph.vertices[at[0]]
    found = set()
    for transformation in vertex.transformations:
        for edge, to in graph.outer_consumers(transformation.uid):
            if edge.partitioning is Partitioning.FORWARD:
                found.add((to.id, at[1]))
            else:
                found |= {(to.id, receiver) for receiver in range(to.parallelism)}
    return found


def results_of(graph: JobGraph) -> Iterator[tuple[Subtask, str, Receiver]]:
    """Yield the subtasks and uids of sinks whose records come home, and who receives them."""
    for vertex in graph.vertices:
        for transformation in vertex.transformations:
            operator = transformation.operator
            target = operator.function.target if isinstance(operator, SinkOperator) else None
            if isinstance(target, ResultSink) and target.receive is not None:
                for subtask in range(vertex.parallelism):
                    yield (vertex.id, subtask), transformation.uid, target.receive


def edge_metrics(
    graph: JobGraph, key: LinkKey, sent: Carried, received: Carried, capacity: int
) -> EdgeMetrics:
    """Return the counts of a link, of which each end has told its own."""
    head = graph.vertices[key[0]].head
    edge = next(e for e in head.inputs if e.input_index == key[2])
    return EdgeMetrics(
        graph.stream_graph[edge.upstream].name,
        head.name,
        sent.records + received.restored,
        received.records,
        max(0, sent.batches - received.batches),
        capacity,
    )
