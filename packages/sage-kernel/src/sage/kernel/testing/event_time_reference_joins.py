"""Joins in event time and deduplication on plain lists: slow, and obviously right.

Each function is told what has come, in its order, with the watermark beside each record,
and how far event time is now; it looks at everything again, with no state from before, and says
what must have been emitted until then, each result with its time, and which records were late.

Example:
    >>> arrived = arrivals([(0, "k", 10, "a"), (1, "k", 12, "b")], 0)
    >>> interval_join(arrived, 12, lower_s=0, upper_s=5)
    Said(results=[(('a', 'b'), 12)], late=[])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sage.kernel.operators.event_time import just_before
from sage.kernel.operators.windowing import SessionWindow, Window, WindowAssigner
from sage.kernel.testing.operator_harness import Arrival, arrivals

__all__ = ["Said", "arrivals", "deduplicate", "interval_join", "temporal_join", "window_join"]

Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Said:
    """What an operator must have emitted.

    Attributes:
        results: Each with its time.
        late: The records that it must have refused.
    """

    results: list[tuple[Any, float]]
    late: list[Any]


def interval_join(
    arrived: Sequence[Arrival], now_s: float, *, lower_s: float, upper_s: float, how: str = "inner"
) -> Said:
    """Return every pair that is close enough, and alone what no future record could be close to."""
    in_time, late = _by_lateness(arrived)
    lefts, rights = _sides(in_time)
    results: list[tuple[Any, float]] = []
    paired: set[int] = set()
    for left in lefts:
        for right in rights:
            near = lower_s <= right.time_s - left.time_s <= upper_s
            if near and left.key == right.key:
                results.append(((left.record, right.record), max(left.time_s, right.time_s)))
                paired |= {id(left), id(right)}
    if how in ("left", "full"):
        over = [a for a in lefts if now_s - a.time_s > upper_s and id(a) not in paired]
        results += [((a.record, None), a.time_s) for a in over]
    if how in ("right", "full"):
        over = [a for a in rights if a.time_s - now_s < lower_s and id(a) not in paired]
        results += [((None, a.record), a.time_s) for a in over]
    return Said(results, late)


def temporal_join(arrived: Sequence[Arrival], now_s: float, *, how: str = "inner") -> Said:
    """Return each left record whose time is over with the latest version not after it."""
    in_time, late = _by_lateness(arrived)
    lefts, rights = _sides(in_time)
    results: list[tuple[Any, float]] = []
    for left in lefts:
        valid = [v for v in rights if v.key == left.key and v.time_s <= left.time_s]
        if left.time_s < now_s and (valid or how == "left"):
            # Of equal times max would take the first; the last is wanted.
            version = max(reversed(valid), key=lambda v: v.time_s).record if valid else None
            results.append(((left.record, version), left.time_s))
    return Said(results, late)


def deduplicate(arrived: Sequence[Arrival], *, within_s: float) -> Said:
    """Return the records that are near none of their key that was passed on before."""
    in_time, late = _by_lateness(arrived)
    passed: list[Arrival] = []
    for a in in_time:
        if all(p.key != a.key or abs(p.time_s - a.time_s) >= within_s for p in passed):
            passed.append(a)
    return Said([(a.record, a.time_s) for a in passed], late)


def window_join(
    arrived: Sequence[Arrival],
    now_s: float,
    *,
    assigner: WindowAssigner,
    how: str = "inner",
    allowed_lateness_s: float = 0.0,
) -> Said:
    """Return the pairs of each window that is complete, and alone what is in one that is over."""
    if isinstance(assigner, SessionWindow):
        return _session_join(arrived, now_s, assigner, how, allowed_lateness_s)
    inside: dict[tuple[Any, Window], list[Arrival]] = {}
    late = []
    for a in arrived:
        windows = assigner.windows(a.time_s)
        open_ones = [w for w in windows if w.end_s + allowed_lateness_s > a.watermark]
        if windows and not open_ones:
            late.append(a.record)
        for window in open_ones:
            inside.setdefault((a.key, window), []).append(a)
    results: list[tuple[Any, float]] = []
    for (_, window), records in inside.items():
        time = just_before(window.end_s)
        if window.end_s <= now_s:
            results += [(pair, time) for pair in _pairs(records)]
        if window.end_s + allowed_lateness_s <= now_s:
            results += [(pair, time) for pair in _alone(records, how)]
    return Said(results, late)


def _session_join(
    arrived: Sequence[Arrival], now_s: float, assigner: SessionWindow, how: str, lateness_s: float
) -> Said:
    """Go from record to record; find the sessions anew, from those records that are still open."""
    opened: list[Arrival] = []
    given: dict[tuple[int, int], tuple[Any, float]] = {}
    alone: list[tuple[Any, float]] = []
    late = []

    def go_on(watermark: float) -> None:
        for records in _sessions(opened, assigner.gap_s):
            end = _end(records, assigner.gap_s)
            if end <= watermark:
                for left in (a for a in records if a.input_index == 0):
                    for right in (a for a in records if a.input_index == 1):
                        pair = ((left.record, right.record), just_before(end))
                        given.setdefault((id(left), id(right)), pair)
            if end + lateness_s <= watermark:
                alone.extend((pair, just_before(end)) for pair in _alone(records, how))
                opened[:] = [a for a in opened if a not in records]

    for a in arrived:
        go_on(a.watermark)
        [mine] = [s for s in _sessions([*opened, a], assigner.gap_s) if a in s]
        if _end(mine, assigner.gap_s) + lateness_s <= a.watermark:
            late.append(a.record)
        else:
            opened.append(a)
    go_on(now_s)
    return Said([*given.values(), *alone], late)


def _sessions(records: Sequence[Arrival], gap_s: float) -> list[list[Arrival]]:
    sessions: list[list[Arrival]] = []
    for a in sorted(records, key=lambda a: a.time_s):
        mine = [s for s in sessions if s[0].key == a.key and a.time_s < _end(s, gap_s)]
        if mine:
            mine[-1].append(a)
        else:
            sessions.append([a])
    return sessions


def _end(session: Sequence[Arrival], gap_s: float) -> float:
    return max(a.time_s for a in session) + gap_s


def _pairs(records: Sequence[Arrival]) -> list[Pair]:
    lefts, rights = _sides(records)
    return [(left.record, right.record) for left in lefts for right in rights]


def _alone(records: Sequence[Arrival], how: str) -> list[Pair]:
    lefts, rights = _sides(records)
    alone: list[Pair] = []
    if how in ("left", "full") and not rights:
        alone += [(a.record, None) for a in lefts]
    if how in ("right", "full") and not lefts:
        alone += [(None, a.record) for a in rights]
    return alone


def _by_lateness(arrived: Sequence[Arrival]) -> tuple[list[Arrival], list[Any]]:
    late = [a.record for a in arrived if a.time_s < a.watermark]
    return [a for a in arrived if a.time_s >= a.watermark], late


def _sides(arrived: Sequence[Arrival]) -> tuple[list[Arrival], list[Arrival]]:
    return [a for a in arrived if a.input_index == 0], [a for a in arrived if a.input_index == 1]
