"""Turns a physical plan into tasks and the channels between them."""

from __future__ import annotations

import functools
from collections.abc import Callable

from sage.kernel.config import EngineConfig
from sage.kernel.errors import KeyRefusedError
from sage.kernel.graph.job_graph import JobGraph, JobVertex
from sage.kernel.graph.transformation import Edge, Partitioning, Transformation
from sage.kernel.operators.requests import REQUESTS
from sage.kernel.operators.source import SourceOperator
from sage.kernel.runtime.chain import Chain, DeadLetterHandler, Node, Outlet, Segment, set_aside
from sage.kernel.runtime.channel import Channel, LoopTracker, Mailbox
from sage.kernel.runtime.hosts import HostFactory
from sage.kernel.runtime.output import Columns, OutputEdge
from sage.kernel.runtime.services import Services
from sage.kernel.runtime.task import Task

__all__ = ["Deployment"]

# A record that goes round must never wait for a credit that only its own progress would free.
_UNLIMITED = 1 << 30


class Deployment:
    """Builds the tasks of a job.

    Args:
        graph: The physical plan.
        config: The environment's options.
        services: The job's services.
        dead_letter: Takes records that are set aside.
        interrupted: Waits for so many seconds; True if the job is being cancelled.
        hosts: Makes what runs a function elsewhere than in the task's thread.
    """

    def __init__(
        self,
        graph: JobGraph,
        config: EngineConfig,
        services: Services,
        *,
        dead_letter: DeadLetterHandler,
        interrupted: Callable[[float], bool],
        hosts: HostFactory,
    ) -> None:
        self._graph = graph
        self._config = config
        self._services = services
        self._dead_letter = dead_letter
        self._interrupted = interrupted
        self._hosts = hosts
        self._trackers: dict[str, LoopTracker] = {}
        self._served = graph.stream_graph.downstream_of(REQUESTS)
        self._mailboxes = {
            (v.id, i): Mailbox()
            for v in graph.vertices
            if v.head.inputs
            for i in range(v.parallelism)
        }
        self._channels: dict[tuple[int, int], list[Channel]] = {at: [] for at in self._mailboxes}

    def tasks(self) -> list[Task]:
        """Return the tasks, inputs before what reads them."""
        chains = [
            (vertex, subtask, *self._chain(vertex, subtask))
            for vertex in self._graph.vertices
            for subtask in range(vertex.parallelism)
        ]
        return [
            Task(
                vertex,
                subtask,
                chain,
                source=source,
                mailbox=self._mailboxes.get((vertex.id, subtask)),
                inputs=self._channels.get((vertex.id, subtask), ()),
                services=self._services,
                config=self._config,
                host=None if source else self._hosts(chain, self._mailboxes[vertex.id, subtask]),
                loop=self._tracker(vertex.head),
            )
            for vertex, subtask, source, chain in chains
        ]

    def _chain(self, vertex: JobVertex, subtask: int) -> tuple[Node | None, Chain]:
        source = None
        if isinstance(vertex.head.operator, SourceOperator):
            source = self._node(vertex.head, vertex)
            root = self._after_source(vertex, subtask)
        else:
            by_input = {e.input_index: self._layout(e, vertex.head) for e in vertex.head.inputs}
            layouts = tuple(by_input.get(i, ()) for i in range(max(by_input) + 1))
            root = self._segment(vertex, subtask, vertex.head, layouts)
        chain = Chain(root, dead_letter=self._dead_letter, interrupted=self._interrupted)
        return source, chain

    def _node(self, transformation: Transformation, vertex: JobVertex) -> Node:
        live = transformation.operator.live(may_share=vertex.parallelism == 1)
        return Node(transformation, live, transformation.on_error or self._config.on_error)

    def _after_source(self, vertex: JobVertex, subtask: int) -> Segment:
        """The source is no part of a loop: what it reads is the batch that enters the loop."""
        inner = vertex.inner_consumers(vertex.head.uid)
        if len(inner) == 1 and not self._outer(vertex.head):
            return self._segment(vertex, subtask, inner[0][1], ((),))
        return self._with_outlets(Segment([]), vertex, subtask, vertex.head)

    def _segment(
        self,
        vertex: JobVertex,
        subtask: int,
        head: Transformation,
        layouts: tuple[tuple[str, ...], ...],
    ) -> Segment:
        segment = Segment([], layouts)
        transformation = head
        while True:
            node = self._node(transformation, vertex)
            segment.nodes.append(node)
            self._add_sides(segment, node, vertex, subtask)
            inner = [c for c in vertex.inner_consumers(transformation.uid) if c[0].tag is None]
            if len(inner) != 1 or self._outer(transformation):
                return self._with_outlets(segment, vertex, subtask, transformation)
            transformation = inner[0][1]

    def _with_outlets(
        self, segment: Segment, vertex: JobVertex, subtask: int, last: Transformation
    ) -> Segment:
        if not last.operator.terminal:
            segment.main = self._outlet(segment, vertex, subtask, last, None)
        return segment

    def _add_sides(self, segment: Segment, node: Node, vertex: JobVertex, subtask: int) -> None:
        for tag in sorted(self._graph.tags(node.transformation.uid)):
            outlet = self._outlet(segment, vertex, subtask, node.transformation, tag)
            node.live.sides[tag] = outlet.columns
            segment.sides.append(outlet)

    def _outlet(
        self,
        segment: Segment,
        vertex: JobVertex,
        subtask: int,
        last: Transformation,
        tag: str | None,
    ) -> Outlet:
        refuse = functools.partial(self._refuse_key, segment)
        outer = self._outer(last, tag)
        inner = [(e, t) for e, t in vertex.inner_consumers(last.uid) if e.tag == tag]
        edges = [self._output(edge, to, subtask, refuse) for edge, to in outer]
        children = [
            self._segment(vertex, subtask, to, (self._layout(edge, to),)) for edge, to in inner
        ]
        outlet = Outlet(Columns(), edges, children)
        if outlet.is_direct:
            outlet.columns = edges[0].columns
        else:
            consumers = [(e, v.head) for e, v in outer] + inner
            outlet.columns = Columns(self._layout(*consumers[0]) if consumers else ())
        return outlet

    def _outer(
        self, transformation: Transformation, tag: str | None = None
    ) -> list[tuple[Edge, JobVertex]]:
        edges = self._graph.outer_consumers(transformation.uid)
        return [(edge, vertex) for edge, vertex in edges if edge.tag == tag]

    def _refuse_key(self, segment: Segment, record: object, error: KeyRefusedError) -> None:
        set_aside(segment.nodes[-1], record, error, 1, self._dead_letter)

    def _output(
        self,
        edge: Edge,
        to: JobVertex,
        subtask: int,
        refuse: Callable[[object, KeyRefusedError], None],
    ) -> OutputEdge:
        receivers = range(to.parallelism)
        if edge.partitioning is Partitioning.FORWARD:
            receivers = range(subtask, subtask + 1)
        return OutputEdge(
            edge.partitioning,
            [self._channel(edge, to, receiver) for receiver in receivers],
            layout=self._layout(edge, to.head),
            batch_size=self._config.batch_size,
            refuse=refuse,
        )

    def _channel(self, edge: Edge, to: JobVertex, receiver: int) -> Channel:
        at = (to.id, receiver)
        upstream = self._graph.stream_graph[edge.upstream]
        goes_round = upstream.loop is not None and upstream.loop == to.head.loop
        channel = Channel(
            self._mailboxes[at],
            edge.input_index,
            _UNLIMITED if goes_round else self._config.channel_batches,
            (upstream.name, to.head.name),
            loop=self._tracker(to.head),
            feeds_back=edge.closes_loop,
            enters_loop=to.head.loop is not None and not goes_round,
        )
        self._channels[at].append(channel)
        return channel

    def _layout(self, edge: Edge, to: Transformation) -> tuple[str, ...]:
        """Which riders an edge carries: the key behind ``key_by``, the round inside a loop."""
        upstream = self._graph.stream_graph[edge.upstream]
        layout: tuple[str, ...] = ()
        if upstream.uid in self._served:
            layout = ("request",)
        if upstream.loop is not None and upstream.loop == to.loop and to.counts_rounds:
            layout = (*layout, "round")
        if upstream.operator.kind in ("key_by", "single_key"):
            layout = (*layout, "key")
        return layout

    def _tracker(self, transformation: Transformation) -> LoopTracker | None:
        if transformation.loop is None:
            return None
        return self._trackers.setdefault(transformation.loop, LoopTracker())
