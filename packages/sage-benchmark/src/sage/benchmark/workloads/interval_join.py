"""E3: an interval join; clicks up to 2 s after the impression of the same key."""

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

__all__ = ["LOWER_S", "ROW", "UPPER_S", "by_hand", "measure", "sage", "two_streams"]

KEYS = 1_000
LOWER_S = 0.0
UPPER_S = 2.0
BATCH = 256
WIDTH_S = UPPER_S - LOWER_S  # of a bucket: partners are in two neighbours

Buckets = dict[float, dict[int, list[tuple[float, Event]]]]
"""Times and events by number of the bucket, then by key."""


def two_streams(records: Sequence[Event]) -> tuple[Sequence[Event], Sequence[Event]]:
    """Return impressions and clicks: every other event is one."""
    return records[0::2], records[1::2]


def by_hand(records: Sequence[Event]) -> Outcome:
    """The limit: buckets of time for each side, dropped when nothing can meet them any more.

    The two streams are read in turn, some records at a time; the watermark is the lower of both.
    """
    impressions, clicks = two_streams(records)
    shown: Buckets = {}
    clicked: Buckets = {}
    results: list[Any] = []
    late: list[Event] = []
    emit = results.append
    latest_shown = latest_clicked = watermark = -math.inf
    for start in range(0, len(impressions), BATCH):
        for record in impressions[start : start + BATCH]:
            time = time_of(record)
            if time < watermark:
                late.append(record)
                continue
            key = key_of(record)
            bucket = (time + LOWER_S) // WIDTH_S
            for number in (bucket, bucket + 1):
                if number in clicked and key in (by_key := clicked[number]):
                    for other_time, other in by_key[key]:
                        if time + LOWER_S <= other_time <= time + UPPER_S:
                            emit((record, other))
            if bucket not in shown:
                shown[bucket] = {}
            by_key = shown[bucket]
            if key in by_key:
                by_key[key].append((time, record))
            else:
                by_key[key] = [(time, record)]
            if time > latest_shown:
                latest_shown = time
                watermark = min(latest_shown, latest_clicked) - BOUND_S
        for record in clicks[start : start + BATCH]:
            time = time_of(record)
            if time < watermark:
                late.append(record)
                continue
            key = key_of(record)
            bucket = time // WIDTH_S
            for number in (bucket, bucket - 1):
                if number in shown and key in (by_key := shown[number]):
                    for other_time, other in by_key[key]:
                        if time - UPPER_S <= other_time <= time - LOWER_S:
                            emit((other, record))
            if bucket not in clicked:
                clicked[bucket] = {}
            by_key = clicked[bucket]
            if key in by_key:
                by_key[key].append((time, record))
            else:
                by_key[key] = [(time, record)]
            if time > latest_clicked:
                latest_clicked = time
                watermark = min(latest_shown, latest_clicked) - BOUND_S
        _drop(shown, watermark - WIDTH_S)
        _drop(clicked, watermark + LOWER_S)
    return Outcome(results, late)


def _drop(buckets: Buckets, oldest: float) -> None:
    for number in [number for number in buckets if (number + 1) * WIDTH_S < oldest]:
        del buckets[number]


def sage(records: Sequence[Event]) -> Outcome:
    """The same in SAGE."""
    from sage.kernel import LocalEnvironment

    impressions, clicks = two_streams(records)
    results: list[Any] = []
    late: list[Event] = []
    env = LocalEnvironment()
    shown, clicked = (
        env.from_collection(stream)
        .assign_timestamps(time_of, max_out_of_orderness_s=BOUND_S)
        .key_by(key_of)
        for stream in (impressions, clicks)
    )
    pairs = shown.interval_join(clicked, LOWER_S, UPPER_S)
    pairs.sink(results.append)
    pairs.side_output("late").sink(late.append)
    env.execute()
    return Outcome(results, late)


def measure(contestant: Windowed, request: Request) -> Sample:
    """Time one contestant over the events.

    None comes later than the bound: how two streams fall into each other is free, and with it which
    late ones would still have met.
    """
    records = events(request["scratch"], request["size"], keys=KEYS, late_share=0.0)
    return measure_windowed(contestant, request, records)


_HERE = "sage.benchmark.workloads.interval_join"

ROW = Row(
    key="E3",
    title="interval join: 250,000 impressions, clicks up to 2 s later, 1,000 keys, 2 s disorder",
    limit="by hand: buckets of time with a list for each key",
    measure=f"{_HERE}:measure",
    size=500_000,
    quick_size=20_000,
    contestants=(
        Contestant(name="by hand", target=f"{_HERE}:by_hand", role=Role.LIMIT),
        Contestant(name="SAGE", target=f"{_HERE}:sage", role=Role.SAGE, judged=True),
    ),
    figures=FIGURES,
)
