"""The rules in their order, and the one function that applies them."""

from __future__ import annotations

from sage.kernel.graph.job_graph import JobGraph
from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.optimizer.chaining import chain
from sage.kernel.optimizer.partitioning import choose_partitioning
from sage.kernel.optimizer.rule import Rule
from sage.kernel.optimizer.validation import validate

__all__ = ["RULES", "optimize"]

RULES: tuple[Rule, ...] = (validate, choose_partitioning)


def optimize(graph: StreamGraph) -> JobGraph:
    """Return the physical plan: every rule applied in order, then chained.

    Raises:
        GraphError: if the plan cannot run.
    """
    for rule in RULES:
        graph = rule(graph)
    return chain(graph)
