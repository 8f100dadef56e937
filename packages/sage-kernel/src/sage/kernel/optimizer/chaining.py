"""Fuses forward-connected transformations into chains that run as one task.

Two neighbours share a chain when the edge between them is a forward edge, they have the same
parallelism and resources, the second has no other input, and neither insists on a task of its own.
"""

from __future__ import annotations

from sage.kernel.graph.job_graph import JobGraph, JobVertex
from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.graph.transformation import Partitioning, Transformation

__all__ = ["chain"]


def chain(graph: StreamGraph) -> JobGraph:
    """Return the physical plan of a logical one whose partitioning is chosen."""
    chains: list[list[Transformation]] = []
    chain_of: dict[str, list[Transformation]] = {}
    for transformation in graph:
        into = (
            chain_of[transformation.inputs[0].upstream]
            if _joins_upstream(graph, transformation)
            else []
        )
        if not into:
            chains.append(into)
        into.append(transformation)
        chain_of[transformation.uid] = into
    return JobGraph(graph, tuple(JobVertex(i, tuple(c)) for i, c in enumerate(chains)))


def _joins_upstream(graph: StreamGraph, transformation: Transformation) -> bool:
    if len(transformation.inputs) != 1 or transformation.operator.starts_chain:
        return False
    edge = transformation.inputs[0]
    upstream = graph[edge.upstream]
    return (
        edge.partitioning is Partitioning.FORWARD
        and upstream.parallelism == transformation.parallelism
        and dict(upstream.resources) == dict(transformation.resources)
        and transformation.executor is None
        and upstream.executor is None
    )
