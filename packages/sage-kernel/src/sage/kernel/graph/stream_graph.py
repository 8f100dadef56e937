"""The logical plan: every transformation, in an order in which inputs come first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sage.kernel.graph.transformation import Edge, Transformation

__all__ = ["StreamGraph"]


@dataclass(frozen=True)
class StreamGraph:
    """An immutable plan.

    Attributes:
        name: The environment's name.
        transformations: Inputs before what reads them.
    """

    name: str
    transformations: tuple[Transformation, ...] = ()

    def __iter__(self) -> Iterator[Transformation]:
        return iter(self.transformations)

    def __getitem__(self, uid: str) -> Transformation:
        return next(t for t in self.transformations if t.uid == uid)

    def edges(self) -> Iterator[tuple[Edge, Transformation]]:
        """Yield every edge with the transformation that it enters."""
        for transformation in self.transformations:
            for edge in transformation.inputs:
                yield edge, transformation

    def consumers(self, uid: str) -> list[tuple[Edge, Transformation]]:
        """Return the edges that leave a transformation, with what they enter."""
        return [(edge, to) for edge, to in self.edges() if edge.upstream == uid]

    def replaced(self, transformations: tuple[Transformation, ...]) -> StreamGraph:
        """Return the plan with other transformations."""
        return replace(self, transformations=transformations)

    def downstream_of(self, kind: str) -> set[str]:
        """Return the uids of the operators of a kind and of everything behind them."""
        return self.reachable_from({t.uid for t in self if t.operator.kind == kind})

    def between(self, start: str, end: str) -> set[str]:
        """Return the uids on the ways from one operator to another, both included."""
        before = {t.uid for t in self.upstream_of({end})}
        return self.reachable_from({start}) & before if start in before else set()

    def reachable_from(self, uids: set[str]) -> set[str]:
        """Return these uids and everything behind them."""
        reached, found = set[str](), set(uids)
        while found:
            uid = found.pop()
            reached.add(uid)
            found |= {to.uid for _, to in self.consumers(uid)} - reached
        return reached

    def upstream_of(self, uids: set[str]) -> StreamGraph:
        """Return the part of the plan that the given transformations need."""
        wanted, found = set[str](), set(uids)
        while found:
            uid = found.pop()
            wanted.add(uid)
            found |= {edge.upstream for edge in self[uid].inputs} - wanted
        return self.replaced(tuple(t for t in self.transformations if t.uid in wanted))
