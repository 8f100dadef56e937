"""The list of queries: what each is called, its program on SAGE's API, and its reference."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sage.benchmark.nexmark import queries, reference
from sage.benchmark.nexmark.clocked_arrivals import clock_readings
from sage.benchmark.nexmark.model import Event
from sage.kernel import DataStream

__all__ = ["QUERIES", "Query"]


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query, and how to tell that its result is right.

    Args:
        title: What it asks for.
        build: From the stream of events, with timestamps, to the stream of results.
        expected: The batch program: from all events, as they arrive, to all results.
        settles_by: Where results are improved step by step: the key whose last row is the result.
        by_clock: Whether the result depends on processing time.
    """

    title: str
    build: Callable[[DataStream[Event]], DataStream[Any]]
    expected: Callable[[Sequence[Event]], list[Any]]
    settles_by: Callable[[Any], Hashable] | None = None
    by_clock: bool = False

    def settled(self, emitted: Iterable[Any]) -> list[Any]:
        """Return what remains of the emitted rows when the input has ended, unsorted."""
        if self.settles_by is None:
            return list(emitted)
        return list({self.settles_by(row): row for row in emitted}.values())


def _by_the_clock(events: Sequence[Event]) -> list[Any]:
    return reference.q12(events, clock_readings(events))


QUERIES: Mapping[str, Query] = {
    "q0": Query(title="pass through", build=queries.q0, expected=reference.q0),
    "q1": Query(title="convert currency", build=queries.q1, expected=reference.q1),
    "q2": Query(title="select", build=queries.q2, expected=reference.q2),
    "q3": Query(title="local item suggestion", build=queries.q3, expected=reference.q3),
    "q4": Query(
        title="average price for a category",
        build=queries.q4,
        expected=reference.q4,
        settles_by=lambda row: row[0],
    ),
    "q5": Query(title="hot items", build=queries.q5, expected=reference.q5),
    "q6": Query(
        title="average selling price by seller",
        build=queries.q6,
        expected=reference.q6,
        settles_by=lambda row: row[0],
    ),
    "q7": Query(title="highest bid", build=queries.q7, expected=reference.q7),
    "q8": Query(title="monitor new users", build=queries.q8, expected=reference.q8),
    "q9": Query(title="winning bids", build=queries.q9, expected=reference.q9),
    "q11": Query(title="user sessions", build=queries.q11, expected=reference.q11),
    "q12": Query(
        title="processing-time windows", build=queries.q12, expected=_by_the_clock, by_clock=True
    ),
    "q18": Query(
        title="find last bid",
        build=queries.q18,
        expected=reference.q18,
        settles_by=lambda bid: (bid.bidder, bid.auction),
    ),
}
"""By name, in order."""
