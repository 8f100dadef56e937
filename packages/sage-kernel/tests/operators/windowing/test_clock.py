"""Windows and triggers by the clock, in whole jobs, with a clock that the test moves."""

from __future__ import annotations

from typing import Any

from sage.kernel import (
    AfterProcessingTime,
    AfterWatermark,
    GlobalWindow,
    LocalEnvironment,
    SessionWindow,
    SourceFunction,
    TumblingWindow,
)
from sage.kernel.testing import CollectingSink, ManualClock

CLOCK_S = 1000.0


class Talking(SourceFunction[Any]):
    """Gives one record a read, and moves the clock between reads, when nothing is in flight.

    Args:
        clock: The job's clock.
        sink: Where the results come.
        steps: Records; ``("pass", seconds, count)`` moves the clock and goes on when the sink has
            so many results.
    """

    def __init__(self, clock: ManualClock, sink: CollectingSink, *steps: Any) -> None:
        self.clock, self.sink, self.steps = clock, sink, list(steps)
        self.moved = False

    def read(self, max_records: int) -> list[Any] | None:
        if not self.steps:
            return None
        step = self.steps[0]
        if not isinstance(step, tuple):
            return [self.steps.pop(0)]
        if not self.moved:
            self.clock.advance(step[1])
        self.moved = len(self.sink.records) < step[2]
        if not self.moved:
            self.steps.pop(0)
        return []


def told(key: Any, records: Any, ctx: Any) -> list[Any]:
    return [(ctx.window.start_s, ctx.window.end_s, list(records), ctx.pane.timing)]


def test_a_window_by_the_clock_ends_when_the_clock_says_so() -> None:
    """A silent source does not keep a window open; it needs no timestamps."""
    clock, sink = ManualClock(CLOCK_S), CollectingSink()
    source = Talking(
        clock, sink, "a", "b", ("pass", 10, 1), "c", ("pass", 4, 1), "d", ("pass", 6, 2)
    )
    env = LocalEnvironment(config={"clock": clock})
    env.from_source(source).window(TumblingWindow(10), time="processing").process(told).sink(sink)
    env.execute()
    assert sink.records == [
        (1000, 1010, ["a", "b"], "on_time"),
        (1010, 1020, ["c", "d"], "on_time"),
    ]


def test_sessions_by_the_clock_end_after_a_silence() -> None:
    """The gap is measured between arrivals, for each key."""
    clock, sink = ManualClock(CLOCK_S), CollectingSink()
    source = Talking(clock, sink, "a", ("pass", 3, 0), "a", ("pass", 5, 1), "b", ("pass", 5, 2))
    env = LocalEnvironment(config={"clock": clock})
    keyed = env.from_source(source).key_by(lambda record: record)
    keyed.window(SessionWindow(5), time="processing").process(told).sink(sink)
    env.execute()
    assert sink.records == [
        (1000, 1008, ["a", "a"], "on_time"),
        (1008, 1013, ["b"], "on_time"),
    ]


def test_an_early_pane_comes_after_its_delay_and_the_rest_on_time() -> None:
    """The delay runs from the first record since the last firing."""
    clock, sink = ManualClock(CLOCK_S), CollectingSink()
    source = Talking(clock, sink, 1, ("pass", 1, 0), 2, ("pass", 1, 1), 3, ("pass", 2, 2), 4)
    env = LocalEnvironment(config={"clock": clock})
    timed = env.from_source(source).assign_timestamps(lambda n: n)
    trigger = AfterWatermark(early=AfterProcessingTime(2))
    timed.window(TumblingWindow(10), trigger=trigger).process(told).sink(sink)
    env.execute()
    assert sink.records == [
        (0, 10, [1, 2], "early"),
        (0, 10, [1, 2, 3], "early"),
        (0, 10, [1, 2, 3, 4], "on_time"),
    ]


def test_a_global_window_can_speak_by_the_clock() -> None:
    """In discarding mode each record is said once, without timestamps."""
    clock, sink = ManualClock(CLOCK_S), CollectingSink()
    source = Talking(clock, sink, 1, 2, ("pass", 3, 1), 3)
    env = LocalEnvironment(config={"clock": clock})
    windowed = env.from_source(source).window(
        GlobalWindow(), trigger=AfterProcessingTime(3), mode="discarding"
    )
    windowed.apply(lambda key, window, records: [list(records)]).sink(sink)
    env.execute()
    assert sink.records == [[1, 2], [3]]
