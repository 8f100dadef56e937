"""Runs a query in SAGE and compares what came out with the batch program's result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sage.benchmark.nexmark.catalog import Query
from sage.benchmark.nexmark.clocked_arrivals import CLOCK_START_S, ClockedArrivals
from sage.benchmark.nexmark.model import Event
from sage.benchmark.nexmark.queries import timestamped
from sage.kernel import LocalEnvironment
from sage.kernel.testing import ManualClock

__all__ = ["Difference", "compare", "run"]


@dataclass(frozen=True)
class Difference:
    """How a result differs from the one that is expected.

    Attributes:
        missing: Rows that should be there, as often as they are missing.
        surplus: Rows that should not be there, as often as that.
    """

    missing: Counter[Any]
    surplus: Counter[Any]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.missing or self.surplus)

    def __str__(self) -> str:
        """Both counts, and the smallest rows of each."""
        return "; ".join(
            f"{rows.total()} {word}, the first are {sorted(rows)[:3]}"
            for word, rows in (("missing", self.missing), ("too many", self.surplus))
            if rows
        )


def run(query: Query, events: Sequence[Event], *, parallelism: int = 1) -> list[Any]:
    """Run a query over events and return every row that it emitted, in that order.

    Args:
        query: The query.
        events: In the order in which they arrive.
        parallelism: Subtasks of everything behind the source.
    """
    if query.by_clock:
        clock = ManualClock(CLOCK_START_S)
        env = LocalEnvironment("nexmark", config={"clock": clock})
        source = env.from_source(ClockedArrivals, events, clock)
    else:
        env = LocalEnvironment("nexmark")
        source = env.from_collection(events)
    stream = timestamped(source)
    env.set_parallelism(parallelism)
    emitted: list[Any] = []
    query.build(stream).sink(emitted.append, parallelism=1)
    env.execute()
    return emitted


def compare(query: Query, events: Sequence[Event], emitted: Sequence[Any]) -> Difference:
    """Say how what a query emitted for these events differs from the right result.

    Args:
        query: The query.
        events: In the order in which they arrived.
        emitted: What `run` returned.
    """
    got, expected = Counter(query.settled(emitted)), Counter(query.expected(events))
    return Difference(missing=expected - got, surplus=got - expected)
