"""Which streams of a plan have event time, and which edges have to carry it.

A stream is *timed* if all that flows into it has timestamps. Timestamps and watermarks travel over
an edge only if the stream is timed and something behind the edge makes use of them.
"""

from __future__ import annotations

from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.graph.transformation import Edge, Transformation

__all__ = ["ASSIGNS", "EventTime"]

ASSIGNS = ("assign_timestamps", "processing_time")


class EventTime:
    """The event time of a plan.

    Args:
        graph: The plan, inputs before what reads them.
    """

    def __init__(self, graph: StreamGraph) -> None:
        self._timed: set[str] = set()
        for transformation in graph:
            if transformation.operator.kind in ASSIGNS or self.reaches(transformation):
                self._timed.add(transformation.uid)
        self._wanting: set[str] = set()
        for transformation in reversed(graph.transformations):
            self._note_wanted(graph, transformation)
        self._carrying = {
            edge.upstream
            for edge, to in graph.edges()
            if edge.upstream in self._timed and to.uid in self._wanting
        }

    def reaches(self, transformation: Transformation) -> bool:
        """Whether everything that comes into an operator has timestamps.

        Inside a loop nothing has: a record that goes round holds time back without end.
        """
        if transformation.loop is not None or not transformation.inputs:
            return False
        return self.is_on(*transformation.inputs)

    def is_on(self, *edges: Edge) -> bool:
        """Whether everything that comes by some edges has timestamps."""
        return all(edge.upstream in self._timed for edge in edges)

    def rides_on(self, edge: Edge) -> bool:
        """Whether an edge carries timestamps and watermarks; all of an operator's do, or none."""
        return edge.upstream in self._carrying

    def _note_wanted(self, graph: StreamGraph, transformation: Transformation) -> None:
        operator = transformation.operator
        if operator.kind in ASSIGNS or not self.reaches(transformation):
            return  # what comes in is replaced, or cannot be used
        consumers = graph.consumers(transformation.uid)
        if (
            operator.uses_time
            or operator.reads_time
            or any(to.uid in self._wanting for _, to in consumers)
        ):
            self._wanting.add(transformation.uid)
