"""What a chain consists of in one subtask: nodes, in segments, with outlets between them.

A chain is a tree. Where an operator has one consumer, both are in the same loop; where it has
several, or side outputs, results are collected for the batch and each branch runs over them. Such a
stretch without branches is a *segment*, and compiles to one loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sage.kernel.config import ErrorPolicy
from sage.kernel.graph.transformation import Transformation
from sage.kernel.metrics.fates import OperatorStatistics
from sage.kernel.operators.operator import LiveOperator
from sage.kernel.runtime.chain_compiler import CompiledLoop, compile_loop
from sage.kernel.runtime.channel import Batch
from sage.kernel.runtime.dead_letters import DeadLetter
from sage.kernel.runtime.output import Columns, OutputEdge
from sage.kernel.time.watermark import START_OF_TIME

__all__ = ["Node", "Outlet", "Segment"]


@dataclass
class Node:
    """An operator of a chain, in one subtask.

    Attributes:
        watermark_s: How far event time has come behind it.
        letters: The records that it set aside.
    """

    transformation: Transformation
    live: LiveOperator
    policy: ErrorPolicy
    statistics: OperatorStatistics = field(default_factory=OperatorStatistics)
    watermark_s: float = START_OF_TIME
    letters: list[DeadLetter] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.live.statistics = self.statistics


@dataclass
class Outlet:
    """Where results of a segment go: into other tasks, into further segments, or both.

    Attributes:
        columns: Where they are collected. With a single edge these are the edge's own.
        edges: Edges to other tasks.
        children: Segments of this chain.
        behind: Index of the operator that gives these results in its segment; -1 is the last.
    """

    columns: Columns
    edges: list[OutputEdge] = field(default_factory=list)
    children: list[Segment] = field(default_factory=list)
    behind: int = -1
    _for_children: list[Batch] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_direct(self) -> bool:
        """Whether the loop writes straight into the buffer of the only edge."""
        return len(self.edges) == 1 and not self.children

    def spread(self) -> None:
        """Move what was collected to the buffers of the edges, and keep it for the children.

        The linger thread calls this too, while the task is stuck in a user's function; the lock
        keeps the order that records have.
        """
        if self.is_direct:
            return
        with self._lock:  # also to look: what the other thread has taken is on no edge yet
            if not self.columns.values:
                return
            batch = self.columns.take()
            for edge in self.edges:
                edge.columns.extend(batch)
            if self.children and batch.values:
                self._for_children.append(batch)

    def take_for_children(self) -> list[Batch]:
        """Remove and return what the children have not worked on yet."""
        with self._lock:
            batches, self._for_children = self._for_children, []
        return batches


@dataclass
class Segment:
    """A stretch of operators without branches.

    Attributes:
        nodes: The operators; only a source's segment has none.
        layouts: For each input of the first operator, the riders that come in.
        main: Where results go, or None after a sink.
        sides: Where side outputs go.
        relieve: Sends on what waits in the outlets, in the middle of a batch; set by the chain.
    """

    nodes: list[Node]
    layouts: tuple[tuple[str, ...], ...] = ((),)
    main: Outlet | None = None
    sides: list[Outlet] = field(default_factory=list)
    relieve: Callable[[], None] | None = None
    _loops: dict[tuple[int, int], CompiledLoop] = field(default_factory=dict)

    def loop(self, start: int = 0, input_index: int = 0) -> CompiledLoop:
        """Return the loop over the operators from ``start`` on, compiled when first needed."""
        loop = self._loops.get((start, input_index))
        if loop is None:
            nodes = self.nodes[start:]
            loop = self._loops[start, input_index] = compile_loop(
                [n.live for n in nodes],
                [n.statistics for n in nodes],
                layout=self.layout_at(start, input_index),
                input_index=input_index,
                out=self.main.columns if self.main is not None else None,
                relieve=self.relieve,
                most_waiting=self.most_waiting,
            )
        return loop

    def layout_at(self, start: int, input_index: int = 0) -> tuple[str, ...]:
        """Return the riders that come in at operator ``start``."""
        layout = self.layouts[input_index]
        for node in self.nodes[:start]:
            layout = node.live.operator.layout_after(layout)
        return layout

    @property
    def most_waiting(self) -> int:
        """How many results may wait before they are sent on, also in the middle of a batch."""
        edges = self.main.edges if self.main is not None else []
        return max(256, *(edge.batch_size for edge in edges)) if edges else 1024

    @property
    def outlets(self) -> list[Outlet]:
        """Every way out."""
        return [self.main, *self.sides] if self.main is not None else self.sides

    def walk(self) -> Iterator[Segment]:
        """Yield this segment and all behind it, each before those that it leads to."""
        yield self
        for outlet in self.outlets:
            for child in outlet.children:
                yield from child.walk()
