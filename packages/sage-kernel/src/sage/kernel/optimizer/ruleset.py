"""The rules in their order, and the one function that applies them."""

from __future__ import annotations

from sage.kernel.graph.job_graph import JobGraph
from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.optimizer.batching import choose_batch_sizes
from sage.kernel.optimizer.chaining import chain
from sage.kernel.optimizer.inlining import inline_expressions
from sage.kernel.optimizer.partitioning import choose_partitioning
from sage.kernel.optimizer.rule import Rule
from sage.kernel.optimizer.validation import validate

__all__ = ["RULES", "optimize"]

RULES: tuple[Rule, ...] = (
    validate,
    choose_partitioning,
    choose_batch_sizes,
    inline_expressions,
)


def optimize(graph: StreamGraph, *, inline: bool = True) -> JobGraph:
    """Return the physical plan: every rule applied in order, then chained.

    Args:
        graph: The logical plan.
        inline: Whether simple functions may be written into the loop; it changes no result.

    Raises:
        GraphError: if the plan cannot run.
    """
    for rule in RULES:
        if inline or rule is not inline_expressions:
            graph = rule(graph)
    return chain(graph)
