"""The work by hand of the event-time rows does what a naive computation says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.benchmark.measuring import digest
from sage.benchmark.row import Request
from sage.benchmark.workloads import (
    deduplication,
    interval_join,
    lateness,
    session_windows,
    sliding_windows,
    w3_event_time_sum,
)
from sage.benchmark.workloads.events import BOUND_S, START_S, Event, Outcome, events

quarters = st.integers(-160, 160).map(lambda n: n / 4)
streams = st.lists(st.tuples(quarters, st.integers(1, 3), st.integers(1, 9)), max_size=60)


def _with_watermarks(records: Sequence[Event]) -> Iterator[tuple[Event, float]]:
    """Yield each event with the watermark in front of it."""
    latest = -math.inf
    for record in records:
        yield record, latest - BOUND_S
        latest = max(latest, record[0])


def _same(outcome: Outcome, results: list[Any], late: list[Event]) -> None:
    assert digest(outcome.results) == digest(results)
    assert digest(outcome.late or ()) == digest(late)


@given(streams)
def test_tumbling_sums_by_hand_are_the_naive_ones(records: list[Event]) -> None:
    """The loop that W3 is measured against gives each window's sum and refuses what is late."""
    size_s = w3_event_time_sum.SIZE_S
    late = lateness.by_record(records, size_s)
    _same(w3_event_time_sum.by_hand(records), *lateness.expected(records, late, size_s))


@given(streams)
def test_sliding_sums_by_hand_are_the_naive_ones(records: list[Event]) -> None:
    """Merged slices and single windows give the same, also for events late for some windows."""
    slide_s, steps = sliding_windows.SLIDE_S, sliding_windows.STEPS
    totals: dict[tuple[int, float], int] = {}
    late = []
    for record, watermark in _with_watermarks(records):
        time, key, amount = record
        last = time // slide_s
        numbers = [last - back for back in range(steps)]
        numbers = [number for number in numbers if (number + steps) * slide_s > watermark]
        for number in numbers:
            totals[key, number] = totals.get((key, number), 0) + amount
        if not numbers:
            late.append(record)
    results = [(key, number * slide_s, total) for (key, number), total in totals.items()]
    _same(sliding_windows.by_hand(records), results, late)
    _same(sliding_windows.each_window_by_hand(records), results, late)


@given(streams)
def test_sessions_by_hand_are_the_naive_ones(records: list[Event]) -> None:
    """Sessions merge when an event falls between them, and end at the watermark."""
    gap_s = session_windows.GAP_S
    sessions: list[tuple[int, float, float, int]] = []  # all that there ever were
    late = []
    for record, watermark in _with_watermarks(records):
        time, key, amount = record
        start, end = time, time + gap_s
        met = [
            s for s in sessions if s[0] == key and s[1] < end and start < s[2] and s[2] > watermark
        ]
        if not met and end <= watermark:
            late.append(record)
            continue
        for session in met:
            sessions.remove(session)
            start, end = min(start, session[1]), max(end, session[2])
            amount += session[3]
        sessions.append((key, start, end, amount))
    _same(session_windows.by_hand(records), sessions, late)


@given(st.lists(st.tuples(st.floats(0, BOUND_S), st.integers(1, 3), st.integers(1, 9))))
@settings(max_examples=50)
def test_the_interval_join_by_hand_is_the_naive_one(delays: list[Event]) -> None:
    """All pairs within the interval, and no other, whatever was dropped meanwhile."""
    records = [(n / 4 - delay, key, amount) for n, (delay, key, amount) in enumerate(delays)]
    lefts, rights = interval_join.two_streams(records)
    pairs = [
        (left, right)
        for left in lefts
        for right in rights
        if left[1] == right[1]
        and left[0] + interval_join.LOWER_S <= right[0] <= left[0] + interval_join.UPPER_S
    ]
    _same(interval_join.by_hand(records), pairs, [])


@given(streams)
def test_deduplication_by_hand_is_the_naive_one(records: list[Event]) -> None:
    """An event passes unless one of its id passed less than the distance before or after it."""
    passed: list[Event] = []
    late = []
    for record, watermark in _with_watermarks(records):
        times = [time for time, key, _ in passed if key == record[1]]
        if record[0] < watermark:
            late.append(record)
        elif all(abs(record[0] - time) >= deduplication.WITHIN_S for time in times):
            passed.append(record)
    _same(deduplication.by_hand(records), passed, late)


def test_late_events_really_occur_and_disorder_alone_makes_none(tmp_path: Path) -> None:
    """Events come behind the ends of their windows; without the share that is late none does."""
    size_s = w3_event_time_sum.SIZE_S
    records = events(str(tmp_path), 40_000, keys=1_000)
    assert 100 < sum(lateness.by_record(records, size_s)) < 1_000
    assert min(time for time, _, _ in records) < START_S
    in_bound = events(str(tmp_path), 40_000, keys=1_000, late_share=0.0)
    assert in_bound != sorted(in_bound)
    assert all(record[0] >= watermark for record, watermark in _with_watermarks(in_bound))


def test_events_are_the_same_for_every_process(tmp_path: Path) -> None:
    """Who comes second reads what the first one wrote, or would have written."""
    (tmp_path / "other").mkdir()
    first = events(str(tmp_path), 1_000, keys=10)
    assert events(str(tmp_path), 1_000, keys=10) == first
    assert events(str(tmp_path / "other"), 1_000, keys=10) == first


@pytest.mark.parametrize("rule", sorted(lateness.RULES))
def test_a_contestant_is_held_to_the_watermark_that_it_says_it_keeps(
    tmp_path: Path, rule: str
) -> None:
    """One event too many in a window, or another late one, is no sample but an error."""
    request = Request(
        measure="",
        contestant="",
        size=40_000,
        verify=True,
        scratch=str(tmp_path),
        spawned_at=0.0,
        parameters={},
    )
    size_s = w3_event_time_sum.SIZE_S

    def honest(records: Sequence[Event]) -> Outcome:
        late = lateness.RULES[rule](records, size_s)
        return Outcome(*lateness.expected(records, late, size_s), rule)

    def generous(records: Sequence[Event]) -> Outcome:
        return Outcome(*lateness.expected(records, [False] * len(records), size_s), rule)

    def forgetful(records: Sequence[Event]) -> Outcome:
        return Outcome(honest(records).results, [], rule)

    assert w3_event_time_sum.measure(honest, request)["late"] > 0
    with pytest.raises(ValueError, match="other totals"):
        w3_event_time_sum.measure(generous, request)
    with pytest.raises(ValueError, match="other late events"):
        w3_event_time_sum.measure(forgetful, request)
