"""Turns a physical plan into tasks and the channels between them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from sage.kernel.config import EngineConfig
from sage.kernel.errors import KeyRefusedError
from sage.kernel.graph.job_graph import JobGraph, JobVertex
from sage.kernel.graph.transformation import Edge, Partitioning, Transformation
from sage.kernel.operators.source import SourceOperator
from sage.kernel.runtime.chain import Chain, DeadLetterHandler, Node, Segment, set_aside
from sage.kernel.runtime.channel import Channel, Mailbox
from sage.kernel.runtime.output import Columns, OutputEdge
from sage.kernel.runtime.services import Services
from sage.kernel.runtime.task import Task

__all__ = ["Deployment", "deploy"]


class Deployment:
    """Builds the tasks of a job.

    Args:
        graph: The physical plan.
        config: The environment's options.
        services: The job's services.
        dead_letter: Takes records that are set aside.
        interrupted: Waits for so many seconds; True if the job is being cancelled.
    """

    def __init__(
        self,
        graph: JobGraph,
        config: EngineConfig,
        services: Services,
        *,
        dead_letter: DeadLetterHandler,
        interrupted: Callable[[float], bool],
    ) -> None:
        self._graph = graph
        self._config = config
        self._services = services
        self._dead_letter = dead_letter
        self._interrupted = interrupted
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
                batch_size=self._config.batch_size,
                linger_s=self._config.linger_ms / 1000,
            )
            for vertex, subtask, source, chain in chains
        ]

    def _chain(self, vertex: JobVertex, subtask: int) -> tuple[Node | None, Chain]:
        source = None
        if isinstance(vertex.head.operator, SourceOperator):
            source = self._node(vertex.head, vertex)
            root = self._after_source(vertex, subtask)
        else:
            keyed = any(self._carries_key(edge) for edge in vertex.head.inputs)
            root = self._segment(vertex, subtask, vertex.head, keyed)
        chain = Chain(root, dead_letter=self._dead_letter, interrupted=self._interrupted)
        return source, chain

    def _node(self, transformation: Transformation, vertex: JobVertex) -> Node:
        live = transformation.operator.live(may_share=vertex.parallelism == 1)
        return Node(transformation, live, transformation.on_error or self._config.on_error)

    def _after_source(self, vertex: JobVertex, subtask: int) -> Segment:
        """The source is no part of a loop: what it reads is the batch that enters the loop."""
        inner = vertex.inner_consumers(vertex.head.uid)
        if len(inner) == 1 and not self._outer(vertex.head):
            return self._segment(vertex, subtask, inner[0][1], keyed=False)
        return self._fan_out(Segment([], keyed=False), vertex, subtask, vertex.head)

    def _segment(
        self, vertex: JobVertex, subtask: int, head: Transformation, keyed: bool
    ) -> Segment:
        segment = Segment([], keyed)
        transformation = head
        while True:
            segment.nodes.append(self._node(transformation, vertex))
            inner = vertex.inner_consumers(transformation.uid)
            if len(inner) != 1 or self._outer(transformation):
                return self._fan_out(segment, vertex, subtask, transformation)
            transformation = inner[0][1]

    def _fan_out(
        self, segment: Segment, vertex: JobVertex, subtask: int, last: Transformation
    ) -> Segment:
        keyed = last.operator.kind == "key_by"
        if last.operator.terminal:
            return segment
        refuse = functools.partial(self._refuse_key, segment)
        segment.edges = [
            self._output(edge, to, subtask, keyed, refuse) for edge, to in self._outer(last)
        ]
        segment.children = [
            self._segment(vertex, subtask, to, keyed) for _, to in vertex.inner_consumers(last.uid)
        ]
        single = len(segment.edges) == 1 and not segment.children
        segment.out = segment.edges[0].columns if single else Columns(keyed)
        return segment

    def _outer(self, transformation: Transformation) -> Sequence[tuple[Edge, JobVertex]]:
        return list(self._graph.outer_consumers(transformation.uid))

    def _refuse_key(self, segment: Segment, record: object, error: KeyRefusedError) -> None:
        set_aside(segment.nodes[-1], record, error, 1, self._dead_letter)

    def _output(
        self,
        edge: Edge,
        to: JobVertex,
        subtask: int,
        keyed: bool,
        refuse: Callable[[object, KeyRefusedError], None],
    ) -> OutputEdge:
        receivers = range(to.parallelism)
        if edge.partitioning is Partitioning.FORWARD:
            receivers = range(subtask, subtask + 1)
        channels = [self._channel(edge, to, receiver) for receiver in receivers]
        return OutputEdge(
            edge.partitioning,
            channels,
            keyed=keyed,
            batch_size=self._config.batch_size,
            refuse=refuse,
        )

    def _channel(self, edge: Edge, to: JobVertex, receiver: int) -> Channel:
        at = (to.id, receiver)
        names = (self._graph.stream_graph[edge.upstream].name, to.head.name)
        channel = Channel(
            self._mailboxes[at], edge.input_index, self._config.channel_batches, names
        )
        self._channels[at].append(channel)
        return channel

    def _carries_key(self, edge: Edge) -> bool:
        return self._graph.stream_graph[edge.upstream].operator.kind == "key_by"


def deploy(
    graph: JobGraph,
    config: EngineConfig,
    services: Services,
    *,
    dead_letter: DeadLetterHandler,
    interrupted: Callable[[float], bool],
) -> list[Task]:
    """Return the tasks of a job, connected and ready to run; see `Deployment` for the arguments."""
    deployment = Deployment(
        graph, config, services, dead_letter=dead_letter, interrupted=interrupted
    )
    return deployment.tasks()
