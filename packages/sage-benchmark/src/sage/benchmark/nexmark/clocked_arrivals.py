"""A source that drives the job's clock by hand, so that processing time is the same in each run.

The clock stands still while a handful of events is worked off and ticks before the next handful is
read; the source runs in the chain that processes what it reads, so no event sees another reading
than its own. That ends at an exchange: what is processed in another thread is processed whenever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sage.benchmark.nexmark.model import Event, is_bid
from sage.kernel import SourceFunction
from sage.kernel.testing import ManualClock

__all__ = ["CLOCK_START_S", "ClockedArrivals", "clock_readings"]

CLOCK_START_S = 1_500_000_000.0
HANDFUL = 256
TICK_S = 0.5
"""Exact in binary, as its multiples are: a reading is a window's edge or it is not."""


def clock_readings(events: Sequence[Event]) -> Iterator[float]:
    """Yield what the clock says at each bid among the events, in seconds."""
    for number, event in enumerate(events):
        if is_bid(event):
            yield CLOCK_START_S + number // HANDFUL * TICK_S


class ClockedArrivals(SourceFunction[Event]):
    """Gives events 256 at a time and lets half a second pass between two times.

    Args:
        events: In the order of arrival.
        clock: The clock of the job, at ``CLOCK_START_S``.
    """

    def __init__(self, events: Sequence[Event], clock: ManualClock) -> None:
        self.events = events
        self.clock = clock
        self.position = 0

    def read(self, max_records: int) -> Sequence[Event] | None:
        """Return what is left of a handful, or tick and begin the next."""
        start = self.position
        if start >= len(self.events):
            return None
        if start and start % HANDFUL == 0:
            self.clock.advance(TICK_S)
        end = min(start - start % HANDFUL + HANDFUL, start + max_records)
        self.position = end
        return self.events[start:end]
