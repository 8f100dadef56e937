"""Refuses a plan that cannot run, with every problem at once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sage.common.errors import Problem
from sage.kernel.errors import GraphError
from sage.kernel.graph.event_time import EventTime
from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.graph.transformation import AUTO, Transformation
from sage.kernel.operators.event_time import EventTimeOperator
from sage.kernel.operators.gather import GatherOperator
from sage.kernel.operators.iterate import FutureOperator, LoopHeadOperator
from sage.kernel.operators.join import JoinOperator
from sage.kernel.operators.map_batches import MapBatchesOperator
from sage.kernel.operators.source import SourceOperator

if TYPE_CHECKING:
    from sage.kernel.fault_tolerance import FaultTolerance

__all__ = ["validate", "validate_for_checkpoints"]


def validate(graph: StreamGraph) -> StreamGraph:
    """Return the plan unchanged, or raise with all that is wrong with it.

    Raises:
        GraphError: if there is no source, a uid occurs twice, or a value is out of range.
    """
    problems = []
    event_time = EventTime(graph)
    if not graph.transformations:
        raise GraphError(
            f"the pipeline {graph.name!r} is empty", hint="start with env.from_source(...)"
        )
    for uid, times in Counter(t.uid for t in graph).items():
        if times > 1:
            problems.append(Problem(uid, f"{times} operators have this uid; a uid must be unique"))
    for transformation in graph:
        if transformation.parallelism < 1 and transformation.parallelism != AUTO:
            problems.append(
                Problem(
                    transformation.name,
                    f"parallelism must be at least 1, got {transformation.parallelism}",
                )
            )
        problems += _loop_problems(graph, transformation)
        problems += _time_problems(event_time, transformation)
        if isinstance(transformation.operator, FutureOperator) and not transformation.inputs:
            hint = "was promised by from_future and never filled; call stream.fill_future(future)"
            problems.append(Problem(transformation.name, hint))
    if problems:
        raise GraphError(f"the pipeline {graph.name!r} cannot run", problems=problems)
    return graph


def validate_for_checkpoints(graph: StreamGraph, options: FaultTolerance) -> None:
    """Raise if a plan cannot keep what checkpoints promise.

    Raises:
        GraphError: naming each source that cannot be read again.
    """
    if not options.is_exact or options.allow_non_replayable:
        return
    problems = [
        Problem(
            t.name,
            "cannot be read again from where a checkpoint was made: use a sequence, or a "
            "SourceFunction with snapshot_position() and seek(position)",
        )
        for t in graph
        if isinstance(t.operator, SourceOperator) and not t.operator.replayable
    ]
    if problems:
        raise GraphError(
            f"the pipeline {graph.name!r} cannot keep checkpoint_mode 'exactly_once'",
            problems=problems,
            hint="allow_non_replayable=True accepts that records are lost or seen twice "
            "at such sources",
        )


def _time_problems(event_time: EventTime, transformation: Transformation) -> list[Problem]:
    """An operator that follows event time must have timestamps on all its inputs."""
    operator = transformation.operator
    if transformation.loop is not None and isinstance(operator, EventTimeOperator):
        told = f"{operator.kind} inside a loop cannot know how far event time has come"
        if not operator.uses_time:
            told = (
                f"{operator.kind} inside a loop holds records or timers, "
                f"which would keep the loop from ending"
            )
    elif not operator.uses_time or event_time.reaches(transformation):
        return []
    else:
        told = (
            f"{operator.kind} needs timestamps on every input; "
            f"call .assign_timestamps(lambda record: ...) before it, behind any loop"
        )
    return [Problem(transformation.name, told)]


def _loop_problems(graph: StreamGraph, transformation: Transformation) -> list[Problem]:
    """An operator of a loop must not hold records until the end of an input that waits for them."""
    operator = transformation.operator
    if transformation.loop is None:
        return []
    if transformation.counts_rounds and not isinstance(operator, LoopHeadOperator):
        outside = [
            e for e in transformation.inputs if graph[e.upstream].loop != transformation.loop
        ]
        if outside:
            name = graph[outside[0].upstream].name
            return [
                Problem(
                    transformation.name,
                    f"reads {name!r}, which is outside of the loop: its records have no round; "
                    f"union it before iterate, or build the loop with from_future",
                )
            ]
    if isinstance(operator, MapBatchesOperator) and operator.max_wait_ms is None:
        return [Problem(transformation.name, "inside a loop map_batches needs max_wait_ms")]
    if isinstance(operator, GatherOperator) and operator.timeout_s is None:
        return [Problem(transformation.name, "inside a loop gather needs timeout_s")]
    if isinstance(operator, JoinOperator) and operator.how != "inner":
        return [Problem(transformation.name, f"inside a loop a {operator.how} join cannot end")]
    return []
