"""The pipelines that faults are injected into.

Each gives the same committed records in every run, whatever its parallelism and however its batches
fall, compared as a multiset; where only ``main ∪ late`` is deterministic, that is what it commits.
Invariant: nothing here knows of checkpoints. A job is built on a `Bench`, which says how slowly its
sources give records and where its sinks write.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sage.kernel import (
    AfterCount,
    AfterProcessingTime,
    AggregateFunction,
    AsyncMapFunction,
    CountWindow,
    DataStream,
    GlobalWindow,
    ListState,
    LocalEnvironment,
    MapFunction,
    ProcessFunction,
    SessionWindow,
    SlidingWindow,
    SourceFunction,
    TumblingWindow,
    ValueState,
)
from sage.kernel.checkpoint.steps import reached

__all__ = ["CHANGED", "JOBS", "Bench"]

RECORDS = 240
KEYS = 7


class Pause(MapFunction[Any, Any]):
    """Lets a source take its time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def map(self, record: Any) -> Any:
        reached("record")
        if self._seconds:
            time.sleep(self._seconds)
        return record


@dataclass
class Bench:
    """What a job is built on.

    Attributes:
        env: Where it runs.
        sink: Makes the sink of a name.
        parallelism: Of its operators; sources have one subtask.
        pause_s: Between two records of a source.
        records: How many its sources have.
    """

    env: LocalEnvironment
    sink: Callable[[str], Any]
    parallelism: int = 1
    pause_s: float = 0.0
    records: int = RECORDS

    def source(
        self,
        records: Iterable[Any] | None = None,
        name: str = "source",
        pause_s: float | None = None,
    ) -> DataStream[Any]:
        """Give records at such a pace that all sources of a job take the same time."""
        given = list(range(self.records) if records is None else records)
        if pause_s is None:
            pause_s = self.pause_s * self.records / len(given)
        source = self.env.from_collection(given, name=name, parallelism=1)
        return source.map(Pause, pause_s, name=f"pause {name}", parallelism=1)

    def events(self, name: str = "source", step: int = 1) -> DataStream[Any]:
        """Give (key, time, number): out of order by up to 3 s, every tenth much too late."""
        rows = [_event(number) for number in range(0, self.records, step)]
        stream = self.source(rows, name)
        return stream.assign_timestamps(
            _time_of, max_out_of_orderness_s=2, name=f"times {name}", parallelism=1
        )

    def commit(self, stream: DataStream[Any], name: str = "sink", **options: Any) -> None:
        stream.sink(self.sink(name), name=name, **{"parallelism": self.parallelism} | options)


def _event(number: int) -> tuple[str, float, int]:
    jitter = (number * 7919) % 4
    late = 40 if number % 10 == 9 else 0
    return f"k{number * 31 % KEYS}", float(number - jitter - late), number


def _time_of(event: Any) -> float:
    return float(event[1])


def _key_of(event: Any) -> Any:
    return event[0]


def _modulo(record: int) -> int:
    return record % KEYS


def _number_of(event: Any) -> Any:
    return event[2]


class Gathering(AggregateFunction[Any, list[Any], Any]):
    """Keeps all records of a key, in a list that it changes."""

    def create(self) -> list[Any]:
        return []

    def add(self, acc: list[Any], record: Any) -> list[Any]:
        acc.append(record)
        return acc

    def result(self, acc: list[Any]) -> Any:
        return len(acc), acc[-1], len(repr(acc))

    def merge(self, a: list[Any], b: list[Any]) -> list[Any]:
        return a + b


# Without state.


def stateless(on: Bench) -> None:
    p = on.parallelism
    stream = on.source().map(lambda x: x * 3, parallelism=p)
    stream = stream.filter(lambda x: x % 2 == 0, parallelism=p)
    on.commit(stream.flat_map(lambda x: [x, -x] if x % 4 else [], parallelism=p))


class _Share(MapFunction[int, Any]):
    """Of what all subtasks get, each takes a share."""

    def map(self, record: int) -> Any:
        mine = record % self.context.parallelism == self.context.parallel_index
        return record + 1 if mine else None


def broadcast(on: Bench) -> None:
    on.commit(on.source().broadcast().map(_Share, parallelism=on.parallelism))


def rebalance(on: Bench) -> None:
    stream = on.source().rebalance().map(lambda x: x + 1, parallelism=on.parallelism)
    on.commit(stream.rebalance().map(lambda x: x * 2, parallelism=1))


class _Sorting(ProcessFunction[Any, Any]):
    def process(self, record: Any, ctx: Any) -> Any:
        if record % 3 == 0:
            ctx.output("third", ("third", record))
        return [record] if record % 2 else None


def side_outputs(on: Bench) -> None:
    main = on.source().process(_Sorting, parallelism=on.parallelism)
    on.commit(main, "main")
    on.commit(main.side_output("third"), "third", parallelism=1)


def several_sinks(on: Bench) -> None:
    counts = on.source().key_by(_modulo).count(parallelism=on.parallelism)
    on.commit(counts, "all")
    on.commit(counts.filter(lambda kv: kv[1] % 2 == 0, parallelism=on.parallelism), "even")
    on.commit(counts.rebalance().map(lambda kv: kv[0], parallelism=1), "keys", parallelism=1)


def _refusing(record: int) -> int:
    if record % 13 == 0:
        raise ValueError("a record that nobody can work off")
    return record


def dead_letters(on: Bench) -> None:
    p = on.parallelism
    stream = on.source().map(_refusing, on_error="dead_letter", parallelism=p)
    on.commit(stream.map(_refusing, on_error="skip", parallelism=p))


# Keyed.


def keyed_count(on: Bench) -> None:
    on.commit(on.source().key_by(_modulo).count(parallelism=on.parallelism))


def keyed_reduce(on: Bench) -> None:
    stream = on.source().key_by(_modulo).reduce(lambda a, b: a * 3 + b, parallelism=on.parallelism)
    on.commit(stream.map(lambda x: x % 1_000_003, parallelism=on.parallelism))


def keyed_lists(on: Bench) -> None:
    on.commit(on.source().key_by(_modulo).aggregate(Gathering, parallelism=on.parallelism))


def unkeyed_fold(on: Bench) -> None:
    on.commit(on.source().aggregate(Gathering()), parallelism=1)


def union(on: Bench) -> None:
    left = on.source(range(0, on.records, 2), "left")
    right = on.source(range(1, on.records, 2), "right")
    on.commit(left.union(right).key_by(_modulo).count(parallelism=on.parallelism))


def parallel_sources(on: Bench) -> None:
    """Each subtask of a source has a part of its records, and takes up parts of others."""
    p = on.parallelism
    source = on.env.from_collection(list(range(on.records)), name="source", parallelism=p)
    left = source.map(Pause, on.pause_s, parallelism=p)
    right = on.source(range(0, on.records, 2), "right")
    on.commit(left.union(right, parallelism=p).key_by(_modulo).count(parallelism=p))


def early_end(on: Bench) -> None:
    """One of the sources has ended long before the first fault."""
    long, short = on.source(name="long"), on.source(range(20), "short", 0.0)
    on.commit(long.union(short).key_by(_modulo).count(parallelism=on.parallelism))


class _Owning(MapFunction[int, Any]):
    """A function that says itself what it remembers."""

    def __init__(self) -> None:
        self._seen: list[int] = []

    def map(self, record: int) -> Any:
        self._seen.append(record)
        return len(self._seen), sum(self._seen)

    def snapshot_state(self) -> object:
        return self._seen

    def restore_state(self, state: Any) -> None:
        self._seen = list(state)


def own_state(on: Bench) -> None:
    on.commit(on.source().map(_Owning, parallelism=1), parallelism=1)


def deduplicate(on: Bench) -> None:
    on.commit(on.source().key_by(lambda x: x // 3).deduplicate(parallelism=on.parallelism))


def join(on: Bench) -> None:
    left = on.source(range(0, on.records, 3), "left").key_by(lambda x: x % 40)
    right = on.source(range(1, on.records, 3), "right").key_by(lambda x: x % 40)
    joined = left.join(right, lambda a, b: (a, b), how="full", parallelism=on.parallelism)
    on.commit(joined)


def gather(on: Bench) -> None:
    one = on.source()
    double = one.map(lambda x: (x, 2 * x), parallelism=on.parallelism)
    triple = one.rebalance().map(lambda x: (x, 3 * x), parallelism=on.parallelism)
    gathered = double.union(triple, parallelism=1).gather(
        lambda pair: pair[0], expected=2, parallelism=on.parallelism
    )
    on.commit(gathered.map(lambda g: (g.key, sorted(g.results)), parallelism=on.parallelism))


class Sessions(ProcessFunction[Any, Any]):
    """Keeps state and sets timers: emits what a key had when it was silent for a while."""

    def process(self, record: Any, ctx: Any) -> Any:
        seen, last = ctx.state(ListState("seen")), ctx.state(ValueState("last", default=0.0))
        seen.add(record[2])
        if record[1] > last.get():
            last.set(record[1])
            ctx.timers.set_event_timer(record[1] + 25.0)

    def on_timer(self, timestamp_s: float, ctx: Any) -> Any:
        seen, last = ctx.state(ListState("seen")), ctx.state(ValueState("last", default=0.0))
        if timestamp_s < last.get() + 25.0 or not seen.get():
            return
        yield ctx.current_key, timestamp_s, tuple(seen.get())
        seen.clear()


def keyed_process(on: Bench) -> None:
    on.commit(on.events().key_by(_key_of).process(Sessions, parallelism=on.parallelism))


# Event time.


def tumbling(on: Bench) -> None:
    windows = on.events().key_by(_key_of).window(TumblingWindow(20.0))
    counts = windows.count(emit=lambda k, w, n: (k, w.start_s, n), parallelism=on.parallelism)
    on.commit(counts, "main")
    on.commit(counts.side_output("late"), "late", parallelism=1)


def sliding(on: Bench) -> None:
    windows = on.events().key_by(_key_of).window(SlidingWindow(30.0, 10.0), allowed_lateness_s=15)
    on.commit(
        windows.aggregate(
            Gathering(), emit=lambda k, w, r: (k, w.start_s, r), parallelism=on.parallelism
        )
    )


def sessions(on: Bench) -> None:
    windows = on.events().key_by(_key_of).window(SessionWindow(12.0), allowed_lateness_s=30)
    folded = windows.process(
        lambda key, records, ctx: [(key, ctx.window.start_s, ctx.window.end_s, len(records))],
        parallelism=on.parallelism,
    )
    on.commit(folded, "main")
    on.commit(folded.side_output("late"), "late", parallelism=1)


def count_windows(on: Bench) -> None:
    windows = on.source().key_by(_modulo).window(CountWindow(5))
    on.commit(windows.aggregate(Gathering(), parallelism=on.parallelism))


def global_windows(on: Bench) -> None:
    windows = on.source().key_by(_modulo).window(GlobalWindow(), trigger=AfterCount(4))
    on.commit(windows.aggregate(Gathering(), parallelism=on.parallelism))


def main_and_late(on: Bench) -> None:
    """Two sources: which records are late is chance, but each is in a window or late."""
    both = on.events("left", 2).union(on.events("right", 3))
    windows = both.key_by(_key_of).window(TumblingWindow(20.0))
    content = windows.process(
        lambda key, records, ctx: list(records), parallelism=on.parallelism, name="content"
    )
    everything = content.union(content.side_output("late"), parallelism=1)
    on.commit(everything.map(_number_of, parallelism=1), parallelism=1)


def window_join(on: Bench) -> None:
    left, right = on.events("left", 2), on.events("right", 3)
    joined = left.key_by(_key_of).window_join(
        right.key_by(_key_of),
        TumblingWindow(60.0),
        lambda a, b: (a and a[2], b and b[2]),
        how="full",
        allowed_lateness_s=1000,
        parallelism=on.parallelism,
    )
    on.commit(joined)


def interval_join(on: Bench) -> None:
    left = on.source([_in_order(n) for n in range(0, on.records, 2)], "left")
    right = on.source([_in_order(n) for n in range(1, on.records, 2)], "right")
    left, right = (s.assign_timestamps(_time_of, parallelism=1) for s in (left, right))
    joined = left.key_by(_key_of).interval_join(
        right.key_by(_key_of),
        -8,
        8,
        lambda a, b: (a and a[2], b and b[2]),
        how="left",
        parallelism=on.parallelism,
    )
    on.commit(joined)


def temporal_join(on: Bench) -> None:
    facts = on.source([_in_order(n) for n in range(0, on.records, 2)], "facts")
    versions = on.source([_in_order(n) for n in range(1, on.records, 4)], "versions")
    facts, versions = (s.assign_timestamps(_time_of, parallelism=1) for s in (facts, versions))
    joined = facts.key_by(_key_of).temporal_join(
        versions.key_by(_key_of),
        lambda a, b: (a[2], b and b[2]),
        how="left",
        parallelism=on.parallelism,
    )
    on.commit(joined)


def _in_order(number: int) -> tuple[str, float, int]:
    return f"k{number % 5}", float(number), number


def timed_duplicates(on: Bench) -> None:
    stream = on.source([(f"k{n % 9}", float(n), n) for n in range(on.records)])
    keyed = stream.assign_timestamps(_time_of, parallelism=1).key_by(_key_of)
    on.commit(keyed.deduplicate(20.0, parallelism=on.parallelism))


# Clocks.


class _Flushing(ProcessFunction[Any, Any]):
    """Gives what a key has collected a moment after its first record, by the clock on the wall."""

    def process(self, record: Any, ctx: Any) -> Any:
        waiting = ctx.state(ListState("waiting"))
        if not waiting.get():
            ctx.timers.set_processing_timer(ctx.timers.now_s + 0.03)
        waiting.add(record)

    def on_timer(self, timestamp_s: float, ctx: Any) -> Any:
        waiting = ctx.state(ListState("waiting"))
        yield from waiting.get()
        waiting.clear()


def flushed_by_timers(on: Bench) -> None:
    on.commit(on.source().key_by(_modulo).process(_Flushing, parallelism=on.parallelism))


def flushed_by_triggers(on: Bench) -> None:
    windows = (
        on.source()
        .key_by(_modulo)
        .window(GlobalWindow(), trigger=AfterProcessingTime(0.03), mode="discarding")
    )
    content = windows.process(lambda key, records, ctx: list(records), parallelism=on.parallelism)
    on.commit(content)


def one_of_2099(on: Bench) -> None:
    """After one event of the year 2099 everything is late."""
    rows = [_event(number) for number in range(on.records)]
    rows[on.records // 2] = ("k1", 4_080_000_000.0, on.records // 2)
    stream = on.source(rows).assign_timestamps(_time_of, max_out_of_orderness_s=2, parallelism=1)
    windows = stream.key_by(_key_of).window(TumblingWindow(20.0))
    counts = windows.count(emit=lambda k, w, n: (k, w.start_s, n), parallelism=on.parallelism)
    on.commit(counts, "main")
    on.commit(counts.side_output("late"), "late", parallelism=1)


class _Silent(SourceFunction[Any]):
    """Gives one record, then nothing for a while, then ends."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._given = 0
        self._end_s = 0.0

    def open(self, context: Any) -> None:
        self._end_s = time.monotonic() + self._seconds

    def read(self, max_records: int) -> Any:
        if not self._given:
            self._given = 1
            return [("k0", 0.0, -1)]
        return () if time.monotonic() < self._end_s else None

    def snapshot_position(self) -> object:
        return self._given

    def seek(self, position: Any) -> None:
        self._given = position


def silent_input(on: Bench) -> None:
    """One of two inputs is silent, and time goes on without it."""
    silent = on.env.from_source(_Silent(on.records * on.pause_s), name="silent")
    silent = silent.assign_timestamps(
        _time_of, idle_timeout_s=0.02, name="times silent", parallelism=1
    )
    windows = on.events().union(silent).key_by(_key_of).window(TumblingWindow(20.0))
    content = windows.process(
        lambda key, records, ctx: list(records), parallelism=on.parallelism, name="content"
    )
    everything = content.union(content.side_output("late"), parallelism=1)
    on.commit(everything.map(_number_of, parallelism=1), parallelism=1)


# Calls, batches, loops, processes.


class Call(AsyncMapFunction[Any, Any]):
    """A slow service; its answers come back in another order."""

    async def map(self, record: Any) -> Any:
        await asyncio.sleep(0.002 + record % 5 * 0.002)
        return (record, record * record) if record % 11 else None


def ordered_calls(on: Bench) -> None:
    calls = on.source().map_async(Call, concurrency=16, parallelism=on.parallelism)
    on.commit(calls.key_by(lambda pair: pair[0] % KEYS).count(parallelism=on.parallelism))


def unordered_calls(on: Bench) -> None:
    calls = on.source().map_async(Call, concurrency=16, ordered=False, parallelism=on.parallelism)
    on.commit(calls)


def batches(on: Bench) -> None:
    stream = on.source().map_batches(
        lambda batch: [x + 1 if x % 5 else None for x in batch],
        max_size=7,
        parallelism=on.parallelism,
    )
    on.commit(stream)


def loop(on: Bench) -> None:
    p = on.parallelism
    out = on.source().iterate(
        lambda stream: stream.rebalance().map(lambda x: x + 1, parallelism=p),
        until=lambda x: x % 10 == 0,
        parallelism=1,
    )
    on.commit(out, parallelism=1)


async def _plus_one(record: int) -> int:
    await asyncio.sleep(0.003)
    return record + 1


def loop_of_calls(on: Bench) -> None:
    p = on.parallelism
    out = on.source(range(on.records // 2)).iterate(
        lambda stream: stream.map_async(_plus_one, concurrency=32, parallelism=p),
        until=lambda x: x % 5 == 0,
        parallelism=1,
    )
    on.commit(out, parallelism=1)


def loop_with_state(on: Bench) -> None:
    p = on.parallelism
    out = on.source().iterate(
        lambda stream: stream.key_by(_modulo).reduce(max, parallelism=p).map(lambda x: x + 1),
        max_iterations=3,
        parallelism=1,
    )
    on.commit(out.map(lambda x: 1, parallelism=1), parallelism=1)  # what meets is chance


def _slowly(record: int) -> int:
    return sum(range(record)) + record


def in_processes(on: Bench) -> None:
    out = on.source().map(_slowly, executor="process", parallelism=on.parallelism)
    on.commit(out.key_by(_modulo).count(parallelism=on.parallelism))


# Of other libraries.


def lines(on: Bench) -> None:
    """Lines of a file."""
    from sage.libs.io import FileSource

    source = on.env.from_source(FileSource, os.environ["LINES"], name="lines", parallelism=1)
    stream = source.map(Pause, on.pause_s, parallelism=1)
    on.commit(stream.key_by(len).count(parallelism=on.parallelism))


# Plans that were changed under the state of others.


def wider_windows(on: Bench) -> None:
    """The windows of `tumbling`, of another size."""
    windows = on.events().key_by(_key_of).window(TumblingWindow(25.0))
    counts = windows.count(emit=lambda k, w, n: (k, w.start_s, n), parallelism=on.parallelism)
    on.commit(counts, "main")
    on.commit(counts.side_output("late"), "late", parallelism=1)


def lenient_windows(on: Bench) -> None:
    """The windows of `tumbling`, kept open longer: for the engine that is another operator."""
    windows = on.events().key_by(_key_of).window(TumblingWindow(20.0), allowed_lateness_s=30)
    counts = windows.count(emit=lambda k, w, n: (k, w.start_s, n), parallelism=on.parallelism)
    on.commit(counts, "main")
    on.commit(counts.side_output("late"), "late", parallelism=1)


def prepared_calls(on: Bench) -> None:
    """The calls of `ordered_calls`, behind one operator more."""
    prepared = on.source().map(lambda x: x + 1)
    calls = prepared.map_async(Call, concurrency=16, parallelism=on.parallelism)
    on.commit(calls.key_by(lambda pair: pair[0] % KEYS).count(parallelism=on.parallelism))


def without_state(on: Bench) -> None:
    """In place of `own_state`, a function that remembers nothing."""
    on.commit(on.source().map(lambda x: x, parallelism=1), parallelism=1)


CHANGED: dict[str, Callable[[Bench], None]] = {
    job.__name__: job
    for job in (wider_windows, lenient_windows, prepared_calls, without_state, lines)
}
JOBS: dict[str, Callable[[Bench], None]] = {
    job.__name__: job
    for job in (
        *(stateless, broadcast, rebalance, side_outputs, several_sinks, dead_letters),
        *(keyed_count, keyed_reduce, keyed_lists, unkeyed_fold, union, early_end, own_state),
        parallel_sources,
        *(deduplicate, join, gather, keyed_process),
        *(tumbling, sliding, sessions, count_windows, global_windows, main_and_late),
        *(window_join, interval_join, temporal_join, timed_duplicates),
        *(flushed_by_timers, flushed_by_triggers, one_of_2099, silent_input),
        *(ordered_calls, unordered_calls, batches, loop, loop_of_calls, loop_with_state),
        in_processes,
    )
}
