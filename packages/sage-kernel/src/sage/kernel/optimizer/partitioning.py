"""Chooses how each edge spreads its records.

An edge that nobody asked anything of is a forward edge where both sides have the same number of
subtasks, and in turn otherwise. A keyed edge between single subtasks needs no exchange.
"""

from __future__ import annotations

from dataclasses import replace

from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.graph.transformation import Edge, Partitioning, Transformation

__all__ = ["choose_partitioning"]


def choose_partitioning(graph: StreamGraph) -> StreamGraph:
    """Return the plan with a definite partitioning on every edge."""
    parallelism = {t.uid: t.parallelism for t in graph}

    def chosen(edge: Edge, to: Transformation) -> Edge:
        sent, received = parallelism[edge.upstream], to.parallelism
        if sent == received == 1:
            return replace(edge, partitioning=Partitioning.FORWARD)
        if edge.partitioning is not Partitioning.ANY:
            return edge
        same = sent == received
        return replace(edge, partitioning=Partitioning.FORWARD if same else Partitioning.REBALANCE)

    return graph.replaced(
        tuple(replace(t, inputs=tuple(chosen(e, t) for e in t.inputs)) for t in graph)
    )
