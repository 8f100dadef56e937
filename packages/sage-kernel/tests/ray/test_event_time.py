"""Event time over actors: windows, joins and timers give what they give in one process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sage.kernel import (
    AfterWatermark,
    DataStream,
    ProcessFunction,
    SessionWindow,
    SlidingWindow,
    TumblingWindow,
    ValueState,
)
from sage.kernel.api.environment import Environment
from sage.kernel.api.local_environment import LocalEnvironment
from sage.kernel.testing import check_conservation

# Up to 7 s out of order, some later than that, with pauses between.
EVENTS = [
    (n, "abcde"[n * n % 5], n * 0.7 + 40 * (n // 150) + n * 37 % 7 - (30 if n % 61 == 60 else 0))
    for n in range(600)
]


def timed(env: Environment, events: list[Any] = EVENTS) -> DataStream[Any]:
    """One split, so that also what is late is the same wherever it runs."""
    return env.from_collection(events).assign_timestamps(lambda e: e[2], max_out_of_orderness_s=7)


def keyed(env: Environment) -> Any:
    return timed(env).key_by(lambda e: e[1])


def with_late(counts: DataStream[Any]) -> DataStream[Any]:
    late = counts.side_output("late").map(lambda e: ("late", e))
    return counts.map(lambda r: ("main", r)).union(late)


def told(key: Any, window: Any, n: Any) -> Any:
    return key, window.start_s, window.end_s, n


def tumbling(env: Environment) -> DataStream[Any]:
    counts = keyed(env).window(TumblingWindow(10)).count(emit=told, parallelism=2, name="windows")
    return with_late(counts)


def sliding(env: Environment) -> DataStream[Any]:
    windows = keyed(env).window(SlidingWindow(20, 5), allowed_lateness_s=15)
    return windows.reduce(max, emit=told, parallelism=2)


def sessions(env: Environment) -> DataStream[Any]:
    windows = keyed(env).window(SessionWindow(6), trigger=AfterWatermark())
    return with_late(windows.count(emit=told, parallelism=2))


def window_behind_window(env: Environment) -> DataStream[Any]:
    small = keyed(env).window(TumblingWindow(5)).count(parallelism=2)
    large = small.key_by(lambda pair: pair[0]).window(TumblingWindow(50))
    return large.reduce(lambda a, b: (a[0], a[1] + b[1]), parallelism=2)


def interval_join(env: Environment) -> DataStream[Any]:
    evens, odds = (timed(env, EVENTS[half::2]).key_by(lambda e: e[1]) for half in (0, 1))
    pairs = evens.interval_join(odds, -2, 3, parallelism=2)
    return pairs.map(lambda pair: (pair[0][0], pair[1][0]))


class Silence(ProcessFunction[Any, Any]):
    """Says when a key was silent for five seconds, and how many records it had until then."""

    def open(self, context: Any) -> None:
        self.last = context.state(ValueState("last", default=-1e9))
        self.count = context.state(ValueState("count", default=0))

    def process(self, record: Any, ctx: Any) -> None:
        self.last.set(max(self.last.get(), ctx.timestamp))
        self.count.set(self.count.get() + 1)
        ctx.timers.set_event_timer(ctx.timestamp + 5)

    def on_timer(self, timestamp_s: float, ctx: Any) -> Iterator[Any]:
        if timestamp_s >= self.last.get() + 5:
            yield ctx.current_key, timestamp_s, self.count.get()


def timers(env: Environment) -> DataStream[Any]:
    return keyed(env).process(Silence, parallelism=2)


def behind_async(env: Environment) -> DataStream[Any]:
    async def same(record: Any) -> Any:
        return record

    held = timed(env).map_async(same, concurrency=8).map_batches(lambda b: b, max_size=7)
    return with_late(held.key_by(lambda e: e[1]).window(TumblingWindow(10)).count(emit=told))


ORDERLY = [tumbling, sliding, sessions, window_behind_window, timers, behind_async]


@pytest.mark.parametrize("graph", ORDERLY, ids=lambda graph: graph.__name__)
def test_event_time_gives_the_same_on_both_runtimes(
    graph: Callable[[Environment], DataStream[Any]], remote: Callable[..., Environment]
) -> None:
    """Behind one split results and late records are exact, in one process and over actors."""
    here = graph(LocalEnvironment(config={"batch_size": 7})).collect()
    there = graph(remote(batch_size=64)).collect()
    assert len(here) > 5
    assert Counter(there) == Counter(here)


def test_a_join_of_two_splits_gives_the_same_or_says_late(
    remote: Callable[..., Environment],
) -> None:
    """Which of two splits comes first is free; pairs are those of a batch join, less late ones."""
    close = {
        (a[0], b[0])
        for a in EVENTS[::2]
        for b in EVENTS[1::2]
        if a[1] == b[1] and a[2] - 2 <= b[2] <= a[2] + 3
    }
    for env in (LocalEnvironment(), remote(batch_size=64)):
        got = interval_join(env).collect()
        assert len(set(got)) == len(got)
        assert set(got) <= close
        missing = {n for pair in close - set(got) for n in pair}
        assert any(n % 61 == 60 for n in missing) or not missing


def test_every_count_adds_up_in_event_time(remote: Callable[..., Environment]) -> None:
    """Held, late and emitted are all that came, over actors; each shows how far time has come."""
    env = remote(batch_size=32)
    tumbling(env).sink(nowhere)
    metrics = env.execute().metrics
    check_conservation(metrics, env.graph())
    windows = metrics["windows"]
    assert windows.received == len(EVENTS)
    assert windows.late > 0
    assert windows.watermark_s == max(t for *_, t in EVENTS) - 7


def nowhere(record: Any) -> None:
    """Write nothing."""
