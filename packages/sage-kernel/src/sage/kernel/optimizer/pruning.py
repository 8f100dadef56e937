"""Leaves out the unions that nobody reads.

A union only passes records on; without a reader it is a task that gets them for nothing. They come
of operators that are put behind a union and read its branches one by one instead.
"""

from __future__ import annotations

from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.operators.union import UnionOperator

__all__ = ["leave_out_unread_unions"]


def leave_out_unread_unions(graph: StreamGraph) -> StreamGraph:
    """Return the plan without the unions that no operator reads, nor any that is left out."""
    # What closes a loop reads what stands behind it.
    read = {e.upstream for t in graph.transformations for e in t.inputs if e.closes_loop}
    kept = []
    for transformation in reversed(graph.transformations):
        if isinstance(transformation.operator, UnionOperator) and transformation.uid not in read:
            continue
        kept.append(transformation)
        read |= {edge.upstream for edge in transformation.inputs}
    return graph.replaced(tuple(reversed(kept)))
