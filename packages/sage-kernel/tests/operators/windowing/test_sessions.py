"""Sessions: windows of a key that grow, touch, and become one."""

from __future__ import annotations

from typing import Any

import pytest

from sage.kernel import (
    AfterCount,
    AfterProcessingTime,
    AfterWatermark,
    AggregateFunction,
    SessionWindow,
)
from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.windowing.window import (
    AGGREGATE,
    EMIT,
    PROCESS_WINDOW,
    ContentSpec,
    WindowOperator,
)
from sage.kernel.testing import ManualClock
from sage.kernel.testing.operator_harness import Arrival, OperatorHarness


def harness(gap_s: float, **options: Any) -> OperatorHarness:
    def tell(key: Any, records: Any, ctx: Any) -> list[Any]:
        return [(ctx.window.start_s, ctx.window.end_s, "".join(records), ctx.pane.timing)]

    spec = ContentSpec("process", FunctionSpec(PROCESS_WINDOW, tell))
    return OperatorHarness(WindowOperator(SessionWindow(gap_s), spec, **options))


def bring(sessions: OperatorHarness, record: str, time_s: float, watermark: float = -100) -> None:
    sessions.process(Arrival(record, "k", time_s, watermark))


def test_a_record_that_closes_a_gap_makes_one_session_of_two() -> None:
    """Three stretches become one through two records that come out of order."""
    sessions = harness(5)
    for record, time_s in [("a", 0), ("c", 8), ("e", 16), ("b", 4), ("d", 12)]:
        bring(sessions, record, time_s)
    assert sessions.live.held == 5
    sessions.finish()
    assert sessions.results == [(0, 21, "acbed", "on_time")]


def test_sessions_that_touch_stay_apart() -> None:
    """Two records exactly the gap apart are in two sessions, as ends are exclusive."""
    sessions = harness(5)
    for record, time_s in [("a", 0), ("b", 5), ("c", 9.5)]:
        bring(sessions, record, time_s)
    sessions.finish()
    assert sessions.results == [(0, 5, "a", "on_time"), (5, 14.5, "bc", "on_time")]


def test_a_record_inside_a_session_does_not_shorten_it() -> None:
    """The end follows the latest record, not the last that came."""
    sessions = harness(5)
    for record, time_s in [("a", 0), ("b", 4), ("c", 1)]:
        bring(sessions, record, time_s)
    sessions.finish()
    assert sessions.results == [(0, 9, "abc", "on_time")]


def test_a_record_is_not_late_if_a_session_is_open_for_it() -> None:
    """What alone would be over joins a session that is not."""
    sessions = harness(5)
    bring(sessions, "a", 10, 0)
    bring(sessions, "b", 6, 12)  # [6, 11) alone would be over
    bring(sessions, "c", 2, 12)  # [2, 7) meets [6, 15)
    bring(sessions, "x", -4, 12)
    assert sessions.late == ["x"]
    sessions.finish()
    assert sessions.results == [(2, 15, "abc", "on_time")]


def test_a_late_record_reopens_a_session_whose_end_it_moves() -> None:
    """A session that has fired fires on time again, when the watermark reaches its new end."""
    sessions = harness(5, allowed_lateness_s=10)
    bring(sessions, "a", 0, 0)
    bring(sessions, "b", 4, 6)
    assert sessions.results == [(0, 5, "a", "on_time")]
    sessions.advance(9)
    assert sessions.results[1:] == [(0, 9, "ab", "on_time")]
    bring(sessions, "c", 2, 11)
    assert sessions.results[2:] == [(0, 9, "abc", "late")]
    sessions.finish()
    assert len(sessions.results) == 3
    assert sessions.live.held == 0


def test_merged_sessions_count_the_panes_of_both() -> None:
    """The firings of two sessions are firings of the one that they become."""
    panes: list[int] = []
    spec = ContentSpec(
        "process",
        FunctionSpec(PROCESS_WINDOW, lambda key, records, ctx: panes.append(ctx.pane.index)),
    )
    sessions = OperatorHarness(
        WindowOperator(SessionWindow(5), spec, AfterWatermark(early=AfterCount(1)))
    )
    for record, time_s in [("a", 0), ("c", 8), ("b", 4)]:
        bring(sessions, record, time_s)
    sessions.finish()
    assert panes == [0, 0, 2, 3]


@pytest.mark.parametrize("verb", ["process", "count"])
def test_a_record_of_many_sessions_costs_no_look_at_all_of_them(verb: str) -> None:
    """With 2,000 open sessions of one key, a record still compares itself with a handful."""

    class Time(float):
        compared = 0

        def __lt__(self, other: float) -> bool:
            Time.compared += 1
            return float.__lt__(self, other)

    sessions = harness(1)
    if verb == "count":
        emit = FunctionSpec(EMIT, lambda key, window, n: (0, 0, "ab"[:n]))
        operator = WindowOperator(SessionWindow(1), ContentSpec("count", emit=emit))
        sessions = OperatorHarness(operator)
    for number in range(2000):
        bring(sessions, "a", 3 * number)
    for number in range(0, 2000, 2):
        bring(sessions, "b", Time(3 * number + 0.5))
    assert Time.compared < 40 * 1000
    assert sessions.live.held == 3000
    sessions.finish()
    assert [r[2] for r in sessions.results] == ["ab", "a"] * 1000
    assert sessions.live.held == 0


class _Together(AggregateFunction[str, list[str], str]):
    """Puts records together in a list of its own, as accumulators mostly do; refuses ``x``."""

    def create(self) -> list[str]:
        return []

    def add(self, acc: list[str], record: str) -> list[str]:
        if record == "x":
            raise ValueError("not this one")
        acc.append(record)
        return acc

    def result(self, acc: list[str]) -> str:
        return "".join(acc)

    def merge(self, a: list[str], b: list[str]) -> list[str]:
        a.extend(b)
        return a


@pytest.mark.parametrize("lateness_s", [0, 1], ids=["folded", "in general"])
def test_a_refused_record_between_two_sessions_leaves_both_as_they_were(lateness_s: float) -> None:
    """Sessions that it would have joined stay two, and neither has what the other has."""
    spec = ContentSpec("aggregate", FunctionSpec(AGGREGATE, _Together))
    operator = WindowOperator(SessionWindow(5), spec, allowed_lateness_s=lateness_s)
    sessions = OperatorHarness(operator)
    bring(sessions, "a", 0)
    bring(sessions, "b", 8)
    with pytest.raises(ValueError, match="not this one"):
        bring(sessions, "x", 4)
    sessions.finish()
    assert sessions.results == ["a", "b"]


def test_a_session_fires_when_the_first_timer_of_its_parts_is_due() -> None:
    """A record that joins two sessions puts off neither's firing by the clock."""
    sessions = harness(5, trigger=AfterWatermark(early=AfterProcessingTime(60)))
    sessions.live.clock = clock = ManualClock()

    def after(seconds: float) -> list[Any]:
        clock.advance(seconds)
        list(sessions.live.on_due())
        return sessions.results

    bring(sessions, "a", 0)
    assert after(60) == [(0, 5, "a", "early")]
    bring(sessions, "b", 8)
    clock.advance(10)
    bring(sessions, "c", 4)
    assert after(49) == [(0, 5, "a", "early")]
    assert after(1) == [(0, 5, "a", "early"), (0, 13, "abc", "early")]
    assert sessions.live.due_s is None
