"""Turns a physical plan into tasks and the channels between them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from sage.kernel.config import EngineConfig
from sage.kernel.errors import KeyRefusedError
from sage.kernel.graph.event_time import EventTime
from sage.kernel.graph.job_graph import JobGraph, JobVertex
from sage.kernel.graph.transformation import Edge, Partitioning, Transformation
from sage.kernel.operators.event_time import LiveEventTimeOperator
from sage.kernel.operators.key_by import GIVE_KEYS
from sage.kernel.operators.operator import LiveOperator
from sage.kernel.operators.requests import REQUESTS
from sage.kernel.operators.source import SourceOperator
from sage.kernel.runtime.chain import Chain
from sage.kernel.runtime.channel import UNLIMITED, LoopTracker
from sage.kernel.runtime.hosts import HostFactory
from sage.kernel.runtime.output import Columns, OutputEdge, Refuse
from sage.kernel.runtime.policies import DeadLetterHandler, set_aside
from sage.kernel.runtime.segment import Node, Outlet, Segment
from sage.kernel.runtime.services import Services
from sage.kernel.runtime.task import Task
from sage.kernel.runtime.wiring import Link, Wiring
from sage.kernel.time.clock import system_clock

if TYPE_CHECKING:
    from sage.kernel.state.backend import StateBackend
    from sage.kernel.state.keyed_state import KeyedState

__all__ = ["Deployment"]

# CPython compiles at most 20 loops inside each other; a longer chain goes on in another segment.
_MOST_INNER_LOOPS = 12


class Deployment:
    """Builds the tasks of a job.

    Args:
        graph: The physical plan.
        config: The environment's options.
        services: The job's services.
        dead_letter: Takes records that are set aside.
        interrupted: Waits for so many seconds; True if the job is being cancelled.
        hosts: Makes what runs a function elsewhere than in the task's thread.
        wiring: Makes the channels between tasks.
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
        wiring: Wiring,
    ) -> None:
        self._graph = graph
        self._config = config
        self._services = services
        self._dead_letter = dead_letter
        self._interrupted = interrupted
        self._hosts = hosts
        self._wiring = wiring
        self._trackers: dict[str, LoopTracker] = {}
        self._served = graph.stream_graph.downstream_of(REQUESTS)
        self._event_time = EventTime(graph.stream_graph)

    def tasks(self) -> list[Task]:
        """Return the tasks, inputs before what reads them."""
        return [
            self.task(vertex, subtask)
            for vertex in self._graph.vertices
            for subtask in range(vertex.parallelism)
        ]

    def task(self, vertex: JobVertex, subtask: int) -> Task:
        """Return one task, with its ends of the channels to and from the others."""
        source, chain = self._chain(vertex, subtask)
        mailbox = None if source else self._wiring.mailbox((vertex.id, subtask))
        return Task(
            vertex,
            subtask,
            chain,
            source=source,
            mailbox=mailbox,
            inputs=[self._wiring.incoming(link) for link in self._links_into(vertex, subtask)],
            services=self._services,
            config=self._config,
            host=None if mailbox is None else self._hosts(chain, mailbox),
            loop=self._tracker(vertex.head),
            job_name=self._graph.stream_graph.name,
        )

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
        policy = transformation.on_error or self._config.on_error
        if transformation.executor == "process":
            from sage.kernel.runtime.process.live import LiveInProcess

            live: LiveOperator = LiveInProcess(transformation, policy, self._services)
        else:
            live = transformation.operator.live(may_share=vertex.parallelism == 1)
        live.clock = self._config.clock or system_clock
        if self._is_keyed(transformation) and any(f.owner is not None for f in live.functions):
            # A plain callable never sees the context, so it can have no state.
            live.keyed = self._keyed_state(transformation)
        return Node(transformation, live, policy)

    def _is_keyed(self, transformation: Transformation) -> bool:
        graph = self._graph.stream_graph
        if not transformation.operator.has_state or not transformation.inputs:
            return False
        return all(
            graph[edge.upstream].operator.kind in GIVE_KEYS for edge in transformation.inputs
        )

    def _keyed_state(self, transformation: Transformation) -> KeyedState:
        # Imported here, since most pipelines keep no state of their own.
        from sage.kernel.state.keyed_state import KeyedState

        return KeyedState(
            self._backend(transformation),
            operator=transformation.name,
            clock=self._config.clock or system_clock,
            event_time=self._event_time.reaches(transformation),
        )

    def _backend(self, transformation: Transformation) -> StateBackend:
        if self._config.state_backend == "disk":
            from sage.kernel.state.sqlite_backend import SqliteBackend

            return SqliteBackend(self._config.state_dir, operator=transformation.name)
        from sage.kernel.state.heap_backend import HeapBackend

        return HeapBackend(transformation.name)

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
            if transformation.operator.ends_segment:
                return self._with_outlets(segment, vertex, subtask, transformation)
            inner = [c for c in vertex.inner_consumers(transformation.uid) if c[0].tag is None]
            loops = sum(not n.live.operator.one_to_one for n in segment.nodes)
            if len(inner) != 1 or self._outer(transformation) or loops >= _MOST_INNER_LOOPS:
                return self._with_outlets(segment, vertex, subtask, transformation)
            transformation = inner[0][1]

    def _with_outlets(
        self, segment: Segment, vertex: JobVertex, subtask: int, last: Transformation
    ) -> Segment:
        if not last.operator.terminal:
            segment.main = self._outlet(segment, vertex, subtask, last, None)
            live = segment.nodes[-1].live if segment.nodes else None
            if isinstance(live, LiveEventTimeOperator):
                live.collect_in(segment.main.columns)
        return segment

    def _add_sides(self, segment: Segment, node: Node, vertex: JobVertex, subtask: int) -> None:
        for tag in sorted(self._graph.tags(node.transformation.uid)):
            outlet = self._outlet(segment, vertex, subtask, node.transformation, tag)
            outlet.behind = len(segment.nodes) - 1
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

    def _refuse_key(
        self,
        segment: Segment,
        record: object,
        riders: Mapping[str, object],
        error: KeyRefusedError,
    ) -> None:
        set_aside(segment.nodes[-1], record, error, 1, self._dead_letter, riders)

    def _output(
        self,
        edge: Edge,
        to: JobVertex,
        subtask: int,
        refuse: Refuse,
    ) -> OutputEdge:
        receivers = range(to.parallelism)
        if edge.partitioning is Partitioning.FORWARD:
            receivers = range(subtask, subtask + 1)
        return OutputEdge(
            edge.partitioning,
            [self._wiring.outgoing(self._link(edge, to, subtask, r)) for r in receivers],
            layout=self._layout(edge, to.head),
            batch_size=min(edge.batch_size or self._config.batch_size, self._config.batch_size),
            refuse=refuse,
        )

    def _links_into(self, vertex: JobVertex, subtask: int) -> Iterator[Link]:
        for edge in vertex.head.inputs:
            senders = range(self._graph.vertex_of(edge.upstream).parallelism)
            if edge.partitioning is Partitioning.FORWARD:
                senders = range(subtask, subtask + 1)
            for sender in senders:
                yield self._link(edge, vertex, sender, subtask)

    def _link(self, edge: Edge, to: JobVertex, sender: int, receiver: int) -> Link:
        upstream = self._graph.stream_graph[edge.upstream]
        goes_round = upstream.loop is not None and upstream.loop == to.head.loop
        return Link(
            (self._graph.vertex_of(edge.upstream).id, sender),
            (to.id, receiver),
            edge.input_index,
            UNLIMITED if goes_round else self._config.channel_batches,
            (upstream.name, to.head.name),
            loop=self._tracker(to.head),
            feeds_back=edge.closes_loop,
            enters_loop=to.head.loop is not None and not goes_round,
        )

    def _layout(self, edge: Edge, to: Transformation) -> tuple[str, ...]:
        """Which riders an edge carries: the key behind ``key_by``, time where it is needed..."""
        upstream = self._graph.stream_graph[edge.upstream]
        layout: tuple[str, ...] = ()
        if upstream.uid in self._served:
            layout = ("request",)
        if upstream.loop is not None and upstream.loop == to.loop and to.counts_rounds:
            layout = (*layout, "round")
        if self._event_time.rides_on(edge):
            layout = (*layout, "time", "watermark")
        if upstream.operator.kind in GIVE_KEYS:
            layout = (*layout, "key")
        return layout

    def _tracker(self, transformation: Transformation) -> LoopTracker | None:
        if transformation.loop is None:
            return None
        return self._trackers.setdefault(transformation.loop, LoopTracker())
