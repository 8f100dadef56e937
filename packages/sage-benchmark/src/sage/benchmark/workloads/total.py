"""The sum of amounts as SAGE's aggregate function, apart because peers run where SAGE is not."""

from __future__ import annotations

from sage.benchmark.workloads.events import Event
from sage.kernel import AggregateFunction

__all__ = ["Total"]


class Total(AggregateFunction[Event, int, int]):
    """What ``add`` and ``merge`` of `sage.benchmark.workloads.events` do."""

    def create(self) -> int:
        """Return nothing yet."""
        return 0

    def add(self, accumulator: int, record: Event) -> int:
        """Add an event's amount."""
        return accumulator + record[2]

    def result(self, accumulator: int) -> int:
        """Return the total."""
        return accumulator

    def merge(self, a: int, b: int) -> int:
        """Return the total of both."""
        return a + b
