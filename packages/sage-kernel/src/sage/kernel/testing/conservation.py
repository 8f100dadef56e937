"""Checks that no record of a job is lost, doubled or counted twice.

What is checked is what ``job.metrics()`` promises: each record that an operator received has
exactly one fate, and each edge conserves.
"""

from __future__ import annotations

from collections import Counter

from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.graph.transformation import Edge, Partitioning, Transformation
from sage.kernel.metrics.fates import OperatorMetrics
from sage.kernel.metrics.snapshot import JobMetrics

__all__ = ["check_conservation"]

_FATES = ("emitted", "no_output", "filtered", "late", "skipped", "dead_lettered", "held")


def check_conservation(
    metrics: JobMetrics, graph: StreamGraph | None = None, *, ended: bool = True
) -> None:
    """Raise if the counts of a job do not add up.

    Args:
        metrics: What the job counted.
        graph: Its plan; with it, what an operator sent is compared with what the next received.
        ended: Whether the job came to its end: then nothing may be held or in a channel.

    Raises:
        AssertionError: naming every count that is wrong.
    """
    wrong = [
        *_wrong_operators(metrics, ended),
        *_wrong_sums(metrics),
        *_wrong_edges(metrics, ended),
    ]
    if graph is not None and ended:
        wrong += [
            problem for e, t in graph.edges() for problem in _wrong_flow(metrics, graph, e, t)
        ]
    if wrong:
        raise AssertionError("the counts do not add up:\n  " + "\n  ".join(wrong))


def _wrong_operators(metrics: JobMetrics, ended: bool) -> list[str]:
    wrong = []
    for operator in [*metrics.operators, *metrics.subtasks]:
        where = _named(operator)
        fates = {name: getattr(operator, name) for name in _FATES}
        if sum(fates.values()) != operator.received:
            wrong.append(f"{where}: received {operator.received}, but the fates are {fates}")
        counts = {**fates, "received": operator.received, "sent": operator.sent}
        wrong += [f"{where}: {name} is {n}" for name, n in counts.items() if n < 0]
        if ended and operator.held:
            wrong.append(f"{where}: still holds {operator.held}")
    return wrong


def _wrong_sums(metrics: JobMetrics) -> list[str]:
    wrong = []
    for operator in metrics.operators:
        parts = [s for s in metrics.subtasks if s.uid == operator.uid]
        for name in ("received", "sent", *_FATES):
            total = sum(getattr(part, name) for part in parts)
            if total != getattr(operator, name):
                wrong.append(f"{_named(operator)}: {name} is not the sum of its subtasks {total}")
    return wrong


def _wrong_edges(metrics: JobMetrics, ended: bool) -> list[str]:
    wrong = []
    into: Counter[str] = Counter()
    for edge in metrics.edges:
        into[edge.downstream] += edge.received
        where = f"{edge.upstream} -> {edge.downstream}"
        if not 0 <= edge.received <= edge.sent:
            wrong.append(f"{where}: sent {edge.sent}, received {edge.received}")
        if ended and edge.in_channel:
            wrong.append(f"{where}: {edge.in_channel} records are left in the channel")
    if ended:
        for name, received in into.items():
            if metrics[name].received != received:
                wrong.append(f"{name}: received {metrics[name].received}, its edges {received}")
    return wrong


def _wrong_flow(
    metrics: JobMetrics, graph: StreamGraph, edge: Edge, to: Transformation
) -> list[str]:
    """Compare what the sender of an edge counted with what went over the edge."""
    sender = graph[edge.upstream]
    between = [e for e in to.inputs if e.upstream == edge.upstream]
    if any(e.tag is not None for e in between):
        return []  # side outputs are no part of ``sent``
    times = sum(to.parallelism if e.partitioning is Partitioning.BROADCAST else 1 for e in between)
    wanted = metrics[sender.uid].sent * times
    channels = [c for c in metrics.edges if (c.upstream, c.downstream) == (sender.name, to.name)]
    if channels:
        carried = sum(c.sent for c in channels)
    elif len(to.inputs) == 1:
        carried = metrics[to.uid].received
    else:
        return []
    if carried != wanted:
        return [f"{sender.name} -> {to.name}: sent {wanted}, but the edge carried {carried}"]
    return []


def _named(operator: OperatorMetrics) -> str:
    subtask = "" if operator.subtask is None else f"[{operator.subtask}]"
    return f"{operator.name}{subtask}"
