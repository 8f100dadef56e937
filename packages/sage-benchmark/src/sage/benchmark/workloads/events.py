"""Events in disorder, some of them late: what the rows about event time have in common.

An event is ``(time, key, amount)``. Each comes up to two seconds after its time, which the bound of
the watermark allows for; a few come much later, and most of these find their windows closed. The
watermark in front of a record is the largest time before it minus the bound, exactly: so everybody
who keeps to that refuses the same records.
"""

from __future__ import annotations

import os
import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sage.benchmark.measuring import digest, timed
from sage.benchmark.row import Figure, Request, Sample

__all__ = [
    "BOUND_S",
    "FIGURES",
    "START_S",
    "Event",
    "Outcome",
    "Windowed",
    "add",
    "events",
    "key_of",
    "measure_windowed",
    "merge",
    "time_of",
    "timed_outcome",
]

Event = tuple[float, int, int]

START_S = 1_700_000_000.0
RATE = 1_000.0  # events in a second of event time
BOUND_S = 2.0  # disorder that the watermark allows for
LATE_SHARE = 0.01
LATEST_S = 30.0
HIGHEST_AMOUNT = 1_000
SEED = 30
WARM_UP_SHARE = 20


def time_of(event: Event) -> float:
    """The user's timestamp function, the same for everybody."""
    return event[0]


def key_of(event: Event) -> int:
    """The user's key function, the same for everybody."""
    return event[1]


def add(total: int, event: Event) -> int:
    """The user's aggregate function, the same for everybody."""
    return total + event[2]


def merge(total: int, other: int) -> int:
    """The user's function that makes one aggregate of two, the same for everybody."""
    return total + other


@dataclass(frozen=True)
class Outcome:
    """What a contestant made of the events.

    Args:
        results: One tuple for each result.
        late: The events that it refused; None if it drops them without a word.
        rule: When its watermark goes on, see `sage.benchmark.workloads.lateness`.
    """

    results: list[Any]
    late: list[Event] | None
    rule: str = "record"


Windowed = Callable[[Sequence[Event]], Outcome]
"""A contestant of a row about windows."""


def events(
    scratch: str, size: int, *, keys: int, late_share: float = LATE_SHARE, seed: int = SEED
) -> list[Event]:
    """Return ``size`` events, read from a file in ``scratch`` that the first caller writes.

    Args:
        scratch: A directory.
        size: How many.
        keys: Of how many keys; each comes equally often, in an order without pattern.
        late_share: Share of the events that come later than the bound.
        seed: Of the random numbers.
    """
    path = os.path.join(scratch, f"events-{size}-{keys}-{late_share}-{seed}")
    if not os.path.exists(path):
        partial = f"{path}.{os.getpid()}"
        with open(partial, "wb") as file:
            for column in _columns(size, keys, late_share, random.Random(seed)):
                column.tofile(file)
        os.replace(partial, path)
    times, key_numbers, amounts = array("d"), array("q"), array("q")
    with open(path, "rb") as file:
        for column in (times, key_numbers, amounts):
            column.fromfile(file, size)
    return list(zip(times, key_numbers, amounts, strict=True))


def _columns(
    size: int, keys: int, late_share: float, random: random.Random
) -> tuple[array[float], array[int], array[int]]:
    """Return times, keys and amounts.

    An event without delay comes so often that the watermark is never far behind: what comes up to
    the bound after its time is never late.
    """
    times = array("d")
    for number in range(size):
        late = random.random() < late_share
        delay = random.uniform(BOUND_S, LATEST_S) if late else random.uniform(0.0, BOUND_S)
        times.append(round(START_S + number / RATE - delay, 3))
    return (
        times,
        array("q", random.choices(range(keys), k=size)),
        array("q", random.choices(range(1, HIGHEST_AMOUNT + 1), k=size)),
    )


FIGURES = (
    Figure(key="m_records_per_s", label="M records/s"),
    Figure(key="ns_per_record", label="ns/record", digits=0),
    Figure(key="results", label="results", digits=0),
    Figure(key="late", label="late", digits=0),
)


def measure_windowed(contestant: Windowed, request: Request, records: Sequence[Event]) -> Sample:
    """Time a contestant over events; who keeps the exact watermark must agree with the limit."""
    sample, outcome = timed_outcome(contestant, records)
    if request["verify"]:
        sample["digest"] = digest(outcome.results)
        sample["late_digest"] = digest(outcome.late or ())
    return sample


def timed_outcome(contestant: Windowed, records: Sequence[Event]) -> tuple[Sample, Outcome]:
    """Time a contestant over events, and count what came out."""
    outcomes: list[Outcome] = []

    def pipeline(part: Sequence[Event]) -> list[Any]:
        outcomes.append(contestant(part))
        return outcomes[-1].results

    sample, results = timed(pipeline, records, len(records) // WARM_UP_SHARE)
    outcome = outcomes[-1]
    sample["results"] = len(results)
    if outcome.late is not None:
        sample["late"] = len(outcome.late)
    return sample, outcome
