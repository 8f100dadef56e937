"""E1: sums by key in sliding windows of 10 s that start every 2 s."""

from __future__ import annotations

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

__all__ = ["ROW", "SLIDE_S", "STEPS", "by_hand", "each_window_by_hand", "measure", "sage"]

KEYS = 100
SLIDE_S = 2.0
STEPS = 5  # slides in a window
SIZE_S = SLIDE_S * STEPS

Totals = dict[float, dict[int, int]]


def by_hand(records: Sequence[Event]) -> Outcome:
    """The limit: each event goes into one slice of 2 s, and a window is the merge of its slices.

    An event of a slice whose first windows are complete counts in those that are not, as it must:
    a complete window has been given, and does not look at its slices again.
    """
    slices: Totals = {}  # by number; window n consists of the slices n to n + STEPS - 1
    results: list[Any] = []
    late: list[Event] = []
    latest = watermark = -math.inf
    first = math.inf  # the first window that is not complete
    due = math.inf  # its end
    for record in records:
        time = time_of(record)
        number = time // SLIDE_S
        try:
            totals = slices[number]
        except KeyError:
            if (number + STEPS) * SLIDE_S <= watermark:
                late.append(record)
                continue
            totals = slices[number] = {}
            opened = number - STEPS + 1
            while (opened + STEPS) * SLIDE_S <= watermark:
                opened += 1
            if opened < first:
                first = opened
                due = (first + STEPS) * SLIDE_S
        key = key_of(record)
        totals[key] = add(totals.get(key, 0), record)
        if time > latest:
            latest = time
            watermark = time - BOUND_S
            if watermark >= due:
                first = _close(first, watermark, slices, results)
                due = (first + STEPS) * SLIDE_S
    _close(first, math.inf, slices, results)
    return Outcome(results, late)


def _close(first: float, watermark: float, slices: Totals, results: list[Any]) -> float:
    """Give the windows that are complete, from ``first`` on; return the first one that is not."""
    while slices and (first + STEPS) * SLIDE_S <= watermark:
        merged: dict[int, int] = {}
        for number in range(int(first), int(first) + STEPS):
            for key, total in slices.get(number, {}).items():
                merged[key] = merge(merged[key], total) if key in merged else total
        start = first * SLIDE_S
        results += [(key, start, total) for key, total in merged.items()]
        slices.pop(first, None)
        first += 1
        if not merged and slices:  # nothing for a while
            first = max(first, min(slices) - STEPS + 1)
    return first if slices else math.inf


def each_window_by_hand(records: Sequence[Event]) -> Outcome:
    """The same without slices: each event is added to each of its windows, as most would write."""
    windows: Totals = {}
    results: list[Any] = []
    late: list[Event] = []
    latest = watermark = -math.inf
    due = math.inf
    for record in records:
        time = time_of(record)
        last = time // SLIDE_S
        if (last + STEPS) * SLIDE_S <= watermark:
            late.append(record)
            continue
        key = key_of(record)
        for back in range(STEPS):
            number = last - back
            totals = windows.get(number)
            if totals is None:
                end = (number + STEPS) * SLIDE_S
                if end <= watermark:
                    break
                totals = windows[number] = {}
                due = min(due, end)
            totals[key] = add(totals.get(key, 0), record)
        if time > latest:
            latest = time
            watermark = time - BOUND_S
            if watermark >= due:
                due = _close_each(watermark, windows, results)
    _close_each(math.inf, windows, results)
    return Outcome(results, late)


def _close_each(watermark: float, windows: Totals, results: list[Any]) -> float:
    for number in sorted(windows):
        end = (number + STEPS) * SLIDE_S
        if end > watermark:
            return end
        start = number * SLIDE_S
        results += [(key, start, total) for key, total in windows.pop(number).items()]
    return math.inf


def sage(records: Sequence[Event]) -> Outcome:
    """The same in SAGE."""
    from sage.benchmark.workloads.total import Total
    from sage.kernel import LocalEnvironment, SlidingWindow

    results: list[Any] = []
    late: list[Event] = []
    env = LocalEnvironment()
    totals = (
        env.from_collection(records)
        .assign_timestamps(time_of, max_out_of_orderness_s=BOUND_S)
        .key_by(key_of)
        .window(SlidingWindow(SIZE_S, SLIDE_S))
        .aggregate(Total, emit=lambda key, window, total: (key, window.start_s, total))
    )
    totals.sink(results.append)
    totals.side_output("late").sink(late.append)
    env.execute()
    return Outcome(results, late)


def measure(contestant: Windowed, request: Request) -> Sample:
    """Time one contestant over the events."""
    records = events(request["scratch"], request["size"], keys=KEYS)
    return measure_windowed(contestant, request, records)


_HERE = "sage.benchmark.workloads.sliding_windows"

ROW = Row(
    key="E1",
    title="sliding windows: sums over 10 s every 2 s, 500,000 events, 100 keys, 2 s disorder",
    limit="by hand: one slice an event, windows merged from their slices",
    measure=f"{_HERE}:measure",
    size=500_000,
    quick_size=40_000,
    contestants=(
        Contestant(name="by hand", target=f"{_HERE}:by_hand", role=Role.LIMIT),
        Contestant(name="SAGE", target=f"{_HERE}:sage", role=Role.SAGE, judged=True),
        Contestant(
            name="by hand, each window",
            target=f"{_HERE}:each_window_by_hand",
            role=Role.LIMIT,
            note="adds each event to its five windows",
        ),
    ),
    figures=FIGURES,
)
