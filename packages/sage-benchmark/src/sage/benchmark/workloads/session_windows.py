"""E2: sums by key in session windows, which end after 3 s of silence and merge when they meet."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any

from sage.benchmark.row import Contestant, Request, Role, Row, Sample
from sage.benchmark.workloads.events import (
    BOUND_S,
    FIGURES,
    Event,
    Outcome,
    Windowed,
    add,
    events,
    key_of,
    measure_windowed,
    merge,
    time_of,
)

__all__ = ["GAP_S", "ROW", "by_hand", "measure", "sage"]

KEYS = 1_000
GAP_S = 3.0

MERGED = -math.inf

Session = list[Any]
"""Start, end and total, changed in place; the end is `MERGED` if another session has taken it."""

Ends = list[tuple[float, int, int, Session]]
"""A heap: when to look at a session, a serial number, its key, and the session."""


def by_hand(records: Sequence[Event]) -> Outcome:
    """The limit: the few open sessions of each key in a list, and a heap of when to look at them.

    A session's place in the heap is the end that it had when it was put there. When that comes and
    the session has grown, it is put in again: that is rare, and growing costs nothing.
    """
    sessions: dict[int, list[Session]] = {}
    ends: Ends = []
    results: list[Any] = []
    late: list[Event] = []
    latest = watermark = -math.inf
    due = math.inf
    for serial, record in enumerate(records):
        time = time_of(record)
        key = key_of(record)
        end = time + GAP_S
        of_key = sessions.get(key, ())
        for session in of_key:
            if session[0] < end and time < session[1]:
                session[2] = add(session[2], record)
                if time < session[0]:
                    session[0] = time
                elif end > session[1]:
                    session[1] = end
                else:
                    break
                if len(of_key) > 1:
                    _merge(sessions[key], session)
                break
        else:
            if end <= watermark:
                late.append(record)
                continue
            session = [time, end, add(0, record)]
            if of_key:
                sessions[key].append(session)
            else:
                sessions[key] = [session]
            heapq.heappush(ends, (end, serial, key, session))
            due = ends[0][0]
        if time > latest:
            latest = time
            watermark = time - BOUND_S
            if watermark >= due:
                due = _close(watermark, sessions, ends, results)
    _close(math.inf, sessions, ends, results)
    return Outcome(results, late)


def _merge(of_key: list[Session], grown: Session) -> None:
    """Put the sessions that one has come to meet into it."""
    for other in of_key[:]:
        if other is not grown and other[0] < grown[1] and grown[0] < other[1]:
            grown[:] = (
                min(grown[0], other[0]),
                max(grown[1], other[1]),
                merge(grown[2], other[2]),
            )
            other[1] = MERGED
            of_key.remove(other)


def _close(
    watermark: float, sessions: dict[int, list[Session]], ends: Ends, results: list[Any]
) -> float:
    """Give the sessions that are complete; return when to look again."""
    while ends and ends[0][0] <= watermark:
        _, serial, key, session = heapq.heappop(ends)
        if session[1] > watermark:
            heapq.heappush(ends, (session[1], serial, key, session))
        elif session[1] != MERGED:
            results.append((key, *session))
            of_key = sessions[key]
            if len(of_key) == 1:
                del sessions[key]
            else:
                of_key.remove(session)
    return ends[0][0] if ends else math.inf


def sage(records: Sequence[Event]) -> Outcome:
    """The same in SAGE."""
    from sage.benchmark.workloads.total import Total
    from sage.kernel import LocalEnvironment, SessionWindow

    results: list[Any] = []
    late: list[Event] = []
    env = LocalEnvironment()
    totals = (
        env.from_collection(records)
        .assign_timestamps(time_of, max_out_of_orderness_s=BOUND_S)
        .key_by(key_of)
        .window(SessionWindow(GAP_S))
        .aggregate(
            Total, emit=lambda key, window, total: (key, window.start_s, window.end_s, total)
        )
    )
    totals.sink(results.append)
    totals.side_output("late").sink(late.append)
    env.execute()
    return Outcome(results, late)


def measure(contestant: Windowed, request: Request) -> Sample:
    """Time one contestant over the events."""
    records = events(request["scratch"], request["size"], keys=KEYS)
    return measure_windowed(contestant, request, records)


_HERE = "sage.benchmark.workloads.session_windows"

ROW = Row(
    key="E2",
    title="session windows: sums, gap 3 s, 500,000 events, 1,000 keys, 2 s disorder",
    limit="by hand: a list of open sessions for each key, a heap of their ends",
    measure=f"{_HERE}:measure",
    size=500_000,
    quick_size=40_000,
    contestants=(
        Contestant(name="by hand", target=f"{_HERE}:by_hand", role=Role.LIMIT),
        Contestant(name="SAGE", target=f"{_HERE}:sage", role=Role.SAGE, judged=True),
    ),
    figures=FIGURES,
)
