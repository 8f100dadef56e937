"""E4: deduplication; of events with one id, only the first within 10 s of event time passes."""

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
    events,
    key_of,
    measure_windowed,
    time_of,
)

__all__ = ["ROW", "WITHIN_S", "by_hand", "measure", "sage"]

WITHIN_S = 10.0
NEIGHBOURS = 8_000  # events among which an id may come again
COPIES = 2  # how often it comes on average


def by_hand(records: Sequence[Event]) -> Outcome:
    """The limit: a dict from id to the time of the event that passed, in two generations.

    An event that is not late lies less than the bound before any other, and that is less than what
    duplicates may lie apart: so only the last time of an id matters. A generation is dropped as a
    whole, when all in it is too old for anything that is not late.
    """
    passed: dict[int, float] = {}
    older: dict[int, float] = {}
    results: list[Any] = []
    late: list[Event] = []
    emit = results.append
    latest = watermark = -math.inf
    generation_ends = -math.inf
    for record in records:
        time = time_of(record)
        if time > latest:
            latest = time
            watermark = time - BOUND_S
            if watermark >= generation_ends:
                older, passed = passed, {}
                generation_ends = watermark + WITHIN_S + BOUND_S
        elif time < watermark:
            late.append(record)
            continue
        key = key_of(record)
        if key in passed:
            if time - passed[key] < WITHIN_S:
                continue
        elif key in older and time - older[key] < WITHIN_S:
            continue
        passed[key] = time
        emit(record)
    return Outcome(results, late)


def sage(records: Sequence[Event]) -> Outcome:
    """The same in SAGE."""
    from sage.kernel import LocalEnvironment

    results: list[Any] = []
    late: list[Event] = []
    env = LocalEnvironment()
    firsts = (
        env.from_collection(records)
        .assign_timestamps(time_of, max_out_of_orderness_s=BOUND_S)
        .key_by(key_of)
        .deduplicate(within_s=WITHIN_S)
    )
    firsts.sink(results.append)
    firsts.side_output("late").sink(late.append)
    env.execute()
    return Outcome(results, late)


def measure(contestant: Windowed, request: Request) -> Sample:
    """Time one contestant over events whose ids come again within some seconds, or not at all."""
    drawn = events(request["scratch"], request["size"], keys=NEIGHBOURS)
    records = [(time, (n + key) // COPIES, amount) for n, (time, key, amount) in enumerate(drawn)]
    return measure_windowed(contestant, request, records)


_HERE = "sage.benchmark.workloads.deduplication"

ROW = Row(
    key="E4",
    title="deduplication within 10 s: 500,000 events, each id about twice, 2 s disorder",
    limit="by hand: two generations of a dict",
    measure=f"{_HERE}:measure",
    size=500_000,
    quick_size=40_000,
    contestants=(
        Contestant(name="by hand", target=f"{_HERE}:by_hand", role=Role.LIMIT),
        Contestant(name="SAGE", target=f"{_HERE}:sage", role=Role.SAGE, judged=True),
    ),
    figures=FIGURES,
)
