"""Chooses how many records a batch on each edge may hold.

Most edges take the environment's ``batch_size``: large batches make the cost of an exchange vanish.
An edge into async calls does not: a call costs milliseconds, so a thousand records waiting in a
channel are seconds of work that nothing can overtake, and larger batches would save nothing. There
a batch is as large as the calls that can be in flight. A function that was given threads
(``executor="thread"``) blocks for each record: there every record goes to the next thread at once.
"""

from __future__ import annotations

from dataclasses import replace

from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.graph.transformation import Transformation
from sage.kernel.operators.map_async import MapAsyncOperator

__all__ = ["choose_batch_sizes"]


def choose_batch_sizes(graph: StreamGraph) -> StreamGraph:
    """Return the plan with a batch size on the edges that need one of their own."""
    return graph.replaced(tuple(_with_batch_sizes(t) for t in graph))


def _with_batch_sizes(transformation: Transformation) -> Transformation:
    operator = transformation.operator
    if isinstance(operator, MapAsyncOperator):
        size = operator.concurrency
    elif transformation.executor == "thread":
        size = 1
    else:
        return transformation
    inputs = tuple(replace(edge, batch_size=size) for edge in transformation.inputs)
    return replace(transformation, inputs=inputs)
