"""Plans made of other plans: a pipeline that serves requests, and one that replays dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sage.kernel.errors import GraphError
from sage.kernel.graph.event_time import ASSIGNS, EventTime
from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.graph.transformation import Edge, Transformation
from sage.kernel.operators.event_time import EventTimeOperator
from sage.kernel.operators.key_by import GIVE_KEYS
from sage.kernel.operators.requests import AnswerOperator, RequestQueue, RequestsOperator
from sage.kernel.operators.sink import SinkOperator
from sage.kernel.operators.source import SourceOperator

__all__ = ["replayed", "served"]


def served(graph: StreamGraph, answers: Edge | None, queue: RequestQueue) -> StreamGraph:
    """Return the plan with its source replaced by requests and its sink by answers.

    Args:
        graph: The plan.
        answers: What the answers are read from; None means what the only sink reads.
        queue: Where requests come from.

    Raises:
        GraphError: if there is not exactly one source, or not exactly one stream to answer with.
    """
    answers = answers or _only_end(graph)
    part = graph.upstream_of({answers.upstream})
    sources = [t for t in part if isinstance(t.operator, SourceOperator)]
    if len(sources) != 1:
        names = ", ".join(repr(t.name) for t in sources) or "none"
        raise GraphError(f"serve wants a pipeline with one source, this one has {names}")
    waiting = [t.name for t in part if isinstance(t.operator, EventTimeOperator)]
    if waiting:
        raise GraphError(
            f"serve cannot answer through {', '.join(map(repr, waiting))}: "
            f"its results are of many records, and come when event time goes on",
            hint="serve the part before it",
        )
    source = sources[0]
    head = Transformation(f"{source.uid}-queue", "requests", SourceOperator(queue))
    # The operator that takes requests in has the source's uid, so its consumers need no change.
    intake = Transformation(source.uid, "request", RequestsOperator(), (Edge(head.uid),))
    answer = Transformation("answer", "answer", AnswerOperator(), (answers,))
    others = tuple(t for t in part if t is not source)
    return graph.replaced((head, intake, *others, answer))


def _only_end(graph: StreamGraph) -> Edge:
    sinks = [t for t in graph if isinstance(t.operator, SinkOperator)]
    if len(sinks) == 1:
        return sinks[0].inputs[0]
    ends = [t for t in graph if not graph.consumers(t.uid) and not t.operator.terminal]
    if not sinks and len(ends) == 1:
        return Edge(ends[0].uid)
    raise GraphError(
        f"serve cannot tell which stream answers: there are {len(sinks)} sinks "
        f"and {len(ends)} streams that nothing reads",
        hint="give it: env.serve(stream)",
    )


def replayed(graph: StreamGraph, uid: str, records: Sequence[Any]) -> StreamGraph:
    """Return the plan that starts again at one operator, with the given records.

    What the operator needs beside a record, its key and its time, is made again where that is
    possible from the record itself; other branches do not see it twice.

    Raises:
        GraphError: if the operator has several inputs: a dead letter does not say which it came by;
            or if timestamps are needed and were assigned before records were changed.
    """
    failed = graph[uid]
    if len(failed.inputs) > 1 and failed.operator.kind != "union":
        raise GraphError(
            f"dead letters of {failed.name!r}, which has several inputs, cannot be replayed"
        )
    source = Transformation("dead-letters", "dead letters", SourceOperator(list(records)))
    way = _way_to(failed, graph)
    behind = graph.reachable_from({uid}) | {t.uid for t in way}
    start = way[-1] if way else failed
    kept = [
        replace(t, inputs=tuple(e for e in t.inputs if e.upstream in behind))
        for t in graph
        if t.uid in behind and t.uid != start.uid
    ]
    plan = graph.replaced((source, replace(start, inputs=(Edge(source.uid),)), *kept))
    before, after = EventTime(graph), EventTime(plan)
    for t in (t for t in plan if t.operator.uses_time):
        if before.reaches(graph[t.uid]) and not after.reaches(t):
            raise GraphError(
                f"dead letters of {failed.name!r} cannot be replayed: {t.name!r} needs timestamps, "
                f"and they are no more known from the record",
                hint=f"assign timestamps right before {failed.name!r}, with nothing but key_by "
                f"between them",
            )
    return plan


def _way_to(failed: Transformation, graph: StreamGraph) -> list[Transformation]:
    """Return the operators before it that give records their key and time anew, nearest first."""
    way: list[Transformation] = []
    at, needs_time = failed, any(map(EventTime(graph).rides_on, failed.inputs))
    while len(at.inputs) == 1 and at.inputs[0].tag is None:
        at = graph[at.inputs[0].upstream]
        if at.operator.kind in ASSIGNS and needs_time:
            return [*way, at]
        if at.operator.kind not in (*GIVE_KEYS, *ASSIGNS):
            break
        way.append(at)
    # Without times to be had, only the key is of use.
    return way[:1] if way and way[0].operator.kind in GIVE_KEYS else []
