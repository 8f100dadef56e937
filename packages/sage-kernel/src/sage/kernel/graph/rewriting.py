"""Plans made of other plans: a pipeline that serves requests, and one that replays dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sage.kernel.errors import GraphError
from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.graph.transformation import Edge, Transformation
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
    waiting = [t.name for t in part if t.operator.uses_time]
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

    Raises:
        GraphError: if the operator has several inputs: a dead letter does not say which it came by.
    """
    start = graph[uid]
    if len(start.inputs) == 1 and graph[start.inputs[0].upstream].operator.kind == "key_by":
        start = graph[start.inputs[0].upstream]  # the key is computed again
    if len(start.inputs) > 1 and start.operator.kind != "union":
        raise GraphError(
            f"dead letters of {start.name!r}, which has several inputs, cannot be replayed"
        )
    source = Transformation("dead-letters", "dead letters", SourceOperator(list(records)))
    behind = graph.reachable_from({start.uid})
    kept = [
        replace(t, inputs=tuple(e for e in t.inputs if e.upstream in behind))
        for t in graph
        if t.uid in behind and t.uid != start.uid
    ]
    begin = replace(start, inputs=(Edge(source.uid),))
    return graph.replaced((source, begin, *kept))
