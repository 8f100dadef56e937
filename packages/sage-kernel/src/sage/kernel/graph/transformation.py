"""One node of the logical plan, and the edges into it: immutable values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sage.kernel.config import ErrorPolicy
from sage.kernel.operators.operator import Operator

__all__ = ["AUTO", "Edge", "Partitioning", "Transformation"]

AUTO = 0  # a parallelism that the optimizer has yet to choose


class Partitioning(enum.Enum):
    """How records are spread over the subtasks at the end of an edge."""

    ANY = "any"  # nothing was asked for: the optimizer chooses forward or rebalance
    FORWARD = "forward"  # subtask i to subtask i; keeps the order
    HASH = "hash"  # by key
    REBALANCE = "rebalance"  # in turn
    BROADCAST = "broadcast"  # to all


@dataclass(frozen=True)
class Edge:
    """An input of a transformation.

    Attributes:
        upstream: The uid of the transformation that sends.
        partitioning: How its records are spread.
        input_index: Which input of the receiver it is, from 0.
        tag: The side output that is read, or None for the main output.
        closes_loop: Whether it leads back to the head of a loop.
        batch_size: Most records in a batch; None for the environment's size.
    """

    upstream: str
    partitioning: Partitioning = Partitioning.ANY
    input_index: int = 0
    tag: str | None = None
    closes_loop: bool = False
    batch_size: int | None = None


@dataclass(frozen=True)
class Transformation:
    """An operator in a graph: who it is, what feeds it and how it is to run.

    Attributes:
        uid: Stable identity; state and checkpoints are found by it.
        name: For people.
        operator: What it does.
        inputs: Its edges, in the order of their inputs.
        parallelism: Number of subtasks, or `AUTO`.
        on_error: What happens when its function raises.
        executor: Where its function runs: in the task's thread or in worker processes.
        resources: ``num_cpus``, ``num_gpus``, ``memory`` (bytes) for each subtask.
        loop: The uid of the loop head that it goes round with, or None.
        counts_rounds: Whether that loop counts how often a record has gone round.
        note: Why the optimizer chose what it chose, for ``explain``.
    """

    uid: str
    name: str
    operator: Operator
    inputs: tuple[Edge, ...] = ()
    parallelism: int = 1
    on_error: ErrorPolicy | None = None
    executor: str | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)
    loop: str | None = None
    counts_rounds: bool = False
    note: str = ""
