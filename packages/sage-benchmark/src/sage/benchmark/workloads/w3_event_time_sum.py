"""W3: sums by key in tumbling windows of event time; 1 M events, 1,000 keys, some of them late."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any

from sage.benchmark.measuring import digest
from sage.benchmark.row import Contestant, Request, Role, Row, Sample, Target
from sage.benchmark.workloads.events import (
    BOUND_S,
    FIGURES,
    Event,
    Outcome,
    Windowed,
    add,
    events,
    key_of,
    time_of,
    timed_outcome,
)
from sage.benchmark.workloads.lateness import RULES, expected

__all__ = ["ROW", "SIZE_S", "by_hand", "measure", "sage", "sage_calling"]

KEYS = 1_000
SIZE_S = 10.0


def by_hand(records: Sequence[Event], bound_s: float = BOUND_S) -> Outcome:
    """The limit: a dict of dicts, one for each open window, and one loop.

    Whether a record is late needs to be asked only if its window is not open, and whether windows
    are complete only if time has gone on: less cannot be done without giving up exact lateness.
    """
    windows: dict[float, dict[int, int]] = {}  # totals by number of the window
    numbers: list[float] = []  # a heap of the open ones
    results: list[Any] = []
    late: list[Event] = []
    latest = watermark = -math.inf
    due = math.inf  # the end of the first open window
    for record in records:
        time = time_of(record)
        number = time // SIZE_S
        try:
            totals = windows[number]
        except KeyError:
            if (number + 1) * SIZE_S <= watermark:
                late.append(record)
                continue
            totals = windows[number] = {}
            heapq.heappush(numbers, number)
            due = (numbers[0] + 1) * SIZE_S
        key = key_of(record)
        totals[key] = add(totals.get(key, 0), record)
        if time > latest:
            latest = time
            watermark = time - bound_s
            while watermark >= due:
                _close(heapq.heappop(numbers), windows, results)
                due = (numbers[0] + 1) * SIZE_S if numbers else math.inf
    for number in sorted(numbers):
        _close(number, windows, results)
    return Outcome(results, late)


def _close(number: float, windows: dict[float, dict[int, int]], results: list[Any]) -> None:
    start = number * SIZE_S
    results += [(key, start, total) for key, total in windows.pop(number).items()]


def sage(records: Sequence[Event], bound_s: float = BOUND_S) -> Outcome:
    """The same in SAGE."""
    return _sage(records, bound_s, inline=True)


def sage_calling(records: Sequence[Event]) -> Outcome:
    """The same, with each of the user's functions called for each record."""
    return _sage(records, BOUND_S, inline=False)


def _sage(records: Sequence[Event], bound_s: float, *, inline: bool) -> Outcome:
    from sage.benchmark.workloads.total import Total
    from sage.kernel import LocalEnvironment, TumblingWindow

    results: list[Any] = []
    late: list[Event] = []
    env = LocalEnvironment(config={"inline": inline})
    totals = (
        env.from_collection(records)
        .assign_timestamps(time_of, max_out_of_orderness_s=bound_s)
        .key_by(key_of)
        .window(TumblingWindow(SIZE_S))
        .aggregate(Total, emit=lambda key, window, total: (key, window.start_s, total))
    )
    totals.sink(results.append)
    totals.side_output("late").sink(late.append)
    env.execute()
    return Outcome(results, late)


def measure(contestant: Windowed, request: Request) -> Sample:
    """Time one contestant over the events.

    Each is held to a naive computation with the watermark that it says it keeps; who keeps the
    exact one must also agree with the limit.

    Raises:
        ValueError: if results or late events are others.
    """
    records = events(request["scratch"], request["size"], keys=KEYS)
    sample, outcome = timed_outcome(contestant, records)
    if request["verify"]:
        is_late = RULES[outcome.rule](records, SIZE_S)
        results, late = expected(records, is_late, SIZE_S)
        sample["late"] = len(late)
        found = digest(outcome.results)
        if found != digest(results):
            raise ValueError(f"other totals than with a watermark by {outcome.rule}")
        if outcome.late is not None and digest(outcome.late) != digest(late):
            raise ValueError(f"other late events than with a watermark by {outcome.rule}")
        if outcome.rule == "record":
            sample["digest"] = found
    return sample


_HERE = "sage.benchmark.workloads.w3_event_time_sum"
_PEERS = "sage.benchmark.peers"

ROW = Row(
    key="W3",
    title="event-time tumbling sum: 1 M events, 1,000 keys, 10 s windows, 2 s disorder",
    limit="a dict for each open window, one hand-written loop, the same exact lateness",
    measure=f"{_HERE}:measure",
    size=1_000_000,
    quick_size=40_000,
    contestants=(
        Contestant(name="by hand", target=f"{_HERE}:by_hand", role=Role.LIMIT),
        Contestant(name="SAGE", target=f"{_HERE}:sage", role=Role.SAGE, judged=True),
        Contestant(
            name="SAGE, no inlining",
            target=f"{_HERE}:sage_calling",
            role=Role.SAGE,
            note="inline=False: calls the user's functions, as the hand-written loop does",
        ),
        Contestant(
            name="bytewax",
            target=f"{_PEERS}.bytewax_peer:w3",
            role=Role.PEER,
            needs="bytewax",
            note="fold_window, EventClock: a watermark for each key, and all behind it is late; "
            "held to that",
        ),
        Contestant(
            name="pathway",
            target=f"{_PEERS}.pathway_peer:w3",
            role=Role.PEER,
            needs="pathway",
            note="windowby, sum in Rust; its watermark goes on with each commit of 10,000 events; "
            "held to that",
        ),
    ),
    figures=FIGURES,
    targets=(Target(figure="ratio", must=0.5, aim=1.0),),
)
