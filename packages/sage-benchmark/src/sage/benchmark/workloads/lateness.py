"""Which events are late, by the watermark that somebody keeps, and what is left in the windows.

Nobody's time is measured here: this is what the output of W3 is compared with. The systems agree on
what a watermark is and not on when it goes on, so each is held to what it documents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from sage.benchmark.workloads.events import BOUND_S, Event

__all__ = ["COMMIT_SIZE", "RULES", "by_commit", "by_key", "by_record", "expected"]

COMMIT_SIZE = 10_000

Rule = Callable[[Sequence[Event], float], list[bool]]


def by_record(records: Sequence[Event], size_s: float) -> list[bool]:
    """The watermark goes on with each record; a record is late when its window is complete."""
    return _late(records, size_s, refresh_every=1)


def by_commit(records: Sequence[Event], size_s: float) -> list[bool]:
    """The same, but the watermark goes on behind each commit only (pathway)."""
    return _late(records, size_s, refresh_every=COMMIT_SIZE)


def by_key(records: Sequence[Event], size_s: float) -> list[bool]:
    """Each key has a watermark; what is behind it is late, its window complete or not (bytewax)."""
    latest: dict[int, float] = {}
    late = []
    for time, key, _ in records:
        before = latest.get(key, -math.inf)
        late.append(time < before - BOUND_S)
        latest[key] = max(before, time)
    return late


def _late(records: Sequence[Event], size_s: float, refresh_every: int) -> list[bool]:
    latest = watermark = -math.inf
    late = []
    for number, (time, _, _) in enumerate(records):
        if number % refresh_every == 0:
            watermark = latest - BOUND_S
        late.append((time // size_s + 1) * size_s <= watermark)
        latest = max(latest, time)
    return late


def expected(
    records: Sequence[Event], late: Sequence[bool], size_s: float
) -> tuple[list[Any], list[Event]]:
    """Return the totals of the tumbling windows, and the late events."""
    totals: dict[tuple[int, float], int] = {}
    for (time, key, amount), is_late in zip(records, late, strict=True):
        if not is_late:
            window = (key, time // size_s * size_s)
            totals[window] = totals.get(window, 0) + amount
    refused = [event for event, is_late in zip(records, late, strict=True) if is_late]
    return [(key, start, total) for (key, start), total in totals.items()], refused


RULES: dict[str, Rule] = {"record": by_record, "commit": by_commit, "key": by_key}
