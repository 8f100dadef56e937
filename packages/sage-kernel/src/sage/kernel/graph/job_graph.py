"""The physical plan: chains of transformations that run as one task, and the edges between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.graph.transformation import Edge, Transformation

__all__ = ["JobGraph", "JobVertex"]


@dataclass(frozen=True)
class JobVertex:
    """Transformations that run together in one task, a tree whose root is ``head``.

    Attributes:
        id: Position in the plan.
        transformations: The head first, inputs before what reads them.
    """

    id: int
    transformations: tuple[Transformation, ...]

    @property
    def head(self) -> Transformation:
        """The transformation through which records come in."""
        return self.transformations[0]

    @property
    def parallelism(self) -> int:
        """Number of subtasks, the same for all its transformations."""
        return self.head.parallelism

    @property
    def name(self) -> str:
        """The names of its transformations, for people."""
        return " → ".join(t.name for t in self.transformations)

    def __contains__(self, uid: object) -> bool:
        return any(t.uid == uid for t in self.transformations)

    def inner_consumers(self, uid: str) -> list[tuple[Edge, Transformation]]:
        """Return what reads a transformation's output inside this vertex."""
        return [(e, t) for t in self.transformations[1:] for e in t.inputs if e.upstream == uid]


@dataclass(frozen=True)
class JobGraph:
    """An immutable physical plan.

    Attributes:
        stream_graph: The logical plan it was made from.
        vertices: In an order in which inputs come first.
    """

    stream_graph: StreamGraph
    vertices: tuple[JobVertex, ...]

    def vertex_of(self, uid: str) -> JobVertex:
        """Return the vertex that runs a transformation."""
        return next(v for v in self.vertices if uid in v)

    def tags(self, uid: str) -> set[str]:
        """Return the tags of a transformation's side outputs that something reads."""
        return {e.tag for e, _ in self.stream_graph.consumers(uid) if e.tag is not None}

    def outer_consumers(self, uid: str) -> Iterator[tuple[Edge, JobVertex]]:
        """Yield the edges that leave a transformation for another vertex."""
        for vertex in self.vertices:
            for edge in vertex.head.inputs:
                if edge.upstream == uid:
                    yield edge, vertex
