"""Refuses a plan that cannot run, with every problem at once."""

from __future__ import annotations

from collections import Counter

from sage.common.errors import Problem
from sage.kernel.errors import GraphError
from sage.kernel.graph.stream_graph import StreamGraph

__all__ = ["validate"]


def validate(graph: StreamGraph) -> StreamGraph:
    """Return the plan unchanged, or raise with all that is wrong with it.

    Raises:
        GraphError: if there is no source, a uid occurs twice, or a value is out of range.
    """
    problems = []
    if not graph.transformations:
        raise GraphError(
            f"the pipeline {graph.name!r} is empty", hint="start with env.from_source(...)"
        )
    for uid, times in Counter(t.uid for t in graph).items():
        if times > 1:
            problems.append(Problem(uid, f"{times} operators have this uid; a uid must be unique"))
    for transformation in graph:
        if transformation.parallelism < 1:
            problems.append(
                Problem(
                    transformation.name,
                    f"parallelism must be at least 1, got {transformation.parallelism}",
                )
            )
    if problems:
        raise GraphError(f"the pipeline {graph.name!r} cannot run", problems=problems)
    return graph
