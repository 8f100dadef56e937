"""The rules in their order, and the one function that applies them."""

from __future__ import annotations

import functools

from sage.kernel.graph.job_graph import JobGraph
from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.metrics.snapshot import JobMetrics
from sage.kernel.optimizer.batching import choose_batch_sizes
from sage.kernel.optimizer.chaining import chain
from sage.kernel.optimizer.inlining import inline_expressions
from sage.kernel.optimizer.parallelism import Surroundings, choose_parallelism
from sage.kernel.optimizer.partitioning import choose_partitioning
from sage.kernel.optimizer.pruning import leave_out_unread_unions
from sage.kernel.optimizer.rule import Rule
from sage.kernel.optimizer.validation import validate

__all__ = ["optimize", "rules"]


def rules(surroundings: Surroundings, *, inline: bool = True) -> tuple[Rule, ...]:
    """Return the rules, in the order in which they are applied."""
    chosen = functools.partial(choose_parallelism, surroundings=surroundings)
    needed: tuple[Rule, ...] = (
        validate,
        leave_out_unread_unions,
        chosen,
        choose_partitioning,
        choose_batch_sizes,
    )
    return (*needed, inline_expressions) if inline else needed


def optimize(
    graph: StreamGraph,
    *,
    inline: bool = True,
    distributed: bool = False,
    measured: JobMetrics | None = None,
) -> JobGraph:
    """Return the physical plan: every rule applied in order, then chained.

    Args:
        graph: The logical plan.
        inline: Whether simple functions may be written into the loop; it changes no result.
        distributed: Whether the plan runs on Ray.
        measured: The metrics of an earlier run of the same pipeline.

    Raises:
        GraphError: if the plan cannot run.
    """
    surroundings = Surroundings.here(distributed=distributed, measured=measured)
    for rule in rules(surroundings, inline=inline):
        graph = rule(graph)
    return chain(graph)
