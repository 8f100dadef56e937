"""Types flow through the verbs: what a type checker sees at each step of a pipeline.

``assert_type`` does nothing when it runs; mypy checks it. That each pipeline also runs keeps the
types honest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeGuard, assert_type

from sage.kernel import (
    AggregateFunction,
    AsyncMapFunction,
    DataStream,
    FilterFunction,
    FlatMapFunction,
    JoinFunction,
    KeyByFunction,
    KeyedStream,
    LocalEnvironment,
    MapFunction,
    ProcessFunction,
    ProcessWindowFunction,
    ReduceFunction,
    SessionWindow,
    SourceFunction,
    TumblingWindow,
    Window,
    WindowedStream,
)
from sage.kernel.operators.gather import Gathered

env = LocalEnvironment()
words: DataStream[str] = env.from_collection(["a", "bb"])


class Count(SourceFunction[int]):
    def __init__(self, end: int) -> None:
        self.left = list(range(end))

    def read(self, max_records: int) -> list[int] | None:
        read, self.left = self.left, []
        return read or None


def countdown() -> Iterator[int]:
    yield from (2, 1)


def is_text(value: int | str) -> TypeGuard[str]:
    return isinstance(value, str)


class Length(MapFunction[str, int]):
    def map(self, record: str) -> int | None:
        return len(record)


class Letters(FlatMapFunction[str, str]):
    def flat_map(self, record: str) -> Iterable[str]:
        return list(record)


class Long(FilterFunction[str]):
    def filter(self, record: str) -> bool:
        return len(record) > 1


class Ask(AsyncMapFunction[str, float]):
    async def map(self, record: str) -> float:
        return float(len(record))


class ByLength(KeyByFunction[str, int]):
    def get_key(self, record: str) -> int:
        return len(record)


class Longest(ReduceFunction[str]):
    def reduce(self, a: str, b: str) -> str:
        return max(a, b, key=len)


class Mean(AggregateFunction[int, tuple[int, int], float]):
    def create(self) -> tuple[int, int]:
        return (0, 0)

    def add(self, acc: tuple[int, int], record: int) -> tuple[int, int]:
        return (acc[0] + record, acc[1] + 1)

    def result(self, acc: tuple[int, int]) -> float:
        return acc[0] / acc[1]

    def merge(self, a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        return (a[0] + b[0], a[1] + b[1])


class Twice(ProcessFunction[str, bytes]):
    def process(self, record: str, ctx: Any) -> Iterable[bytes]:
        return [record.encode()] * 2


class Pair(JoinFunction[str, str, bytes]):
    def join(self, left: str | None, right: str | None) -> bytes | None:
        return f"{left}{right}".encode()


def maybe_length(word: str) -> int | None:
    return len(word) or None


def lengths(batch: list[str]) -> list[int]:
    return [len(word) for word in batch]


async def ask(word: str) -> float:
    return float(len(word))


def test_sources() -> None:
    """A source's items are the records, whatever it is; a file of text has strings."""
    assert_type(env.from_collection([1, 2]), DataStream[int])
    assert_type(env.from_source(Count, 3), DataStream[int])
    assert_type(env.from_source(Count(3)), DataStream[int])
    assert_type(env.from_source(countdown), DataStream[int])
    assert_type(env.from_source(["a"]), DataStream[str])
    assert_type(env.read_text("a.txt"), DataStream[str])
    assert_type(env.read_csv("a.csv"), DataStream[dict[str, str]])


def test_map_and_filter() -> None:
    """The result's type is the function's, without its None; a filter keeps the type."""
    assert_type(words.map(len), DataStream[int])
    assert_type(words.map(lambda word: word.encode()), DataStream[bytes])
    assert_type(words.map(maybe_length), DataStream[int])
    assert_type(words.map(Length), DataStream[int])
    assert_type(words.map(Length()), DataStream[int])
    assert_type(words.filter(str.strip), DataStream[str])
    assert_type(words.filter(Long).filter(Long()), DataStream[str])
    mixed: DataStream[int | str] = env.from_collection([1, "a"])
    assert_type(mixed.filter(is_text), DataStream[str])
    assert_type(words.map(len).map(str).collect(), list[str])
    assert words.map(Length).collect() == [1, 2]


def test_flat_map_and_process() -> None:
    """The items are the records."""
    assert_type(words.flat_map(str.split), DataStream[str])
    assert_type(words.flat_map(lambda word: range(len(word))), DataStream[int])
    assert_type(words.flat_map(Letters), DataStream[str])
    assert_type(words.process(Twice), DataStream[bytes])
    assert_type(words.process(Twice()), DataStream[bytes])
    assert words.flat_map(Letters).collect() == ["a", "b", "b"]


def test_async_and_batches() -> None:
    """What is awaited, and what is in the list that comes back."""
    assert_type(words.map_async(ask), DataStream[float])
    assert_type(words.map_async(Ask), DataStream[float])
    assert_type(words.map_async(Ask(), concurrency=2), DataStream[float])
    assert_type(words.map(ask, executor="async"), DataStream[float])
    assert_type(words.map_batches(lengths), DataStream[int])
    assert_type(words.map_batches(lambda batch: [w.upper() for w in batch]), DataStream[str])
    assert words.map(ask, executor="async").collect() == [1.0, 2.0]


def test_keys() -> None:
    """Keyed streams know the types of key and record; folds have the type of their result."""
    keyed = words.key_by(len)
    assert_type(keyed, KeyedStream[int, str])
    assert_type(words.key_by(ByLength), KeyedStream[int, str])
    assert_type(words.key_by(ByLength()), KeyedStream[int, str])
    assert_type(keyed.count(), DataStream[tuple[int, int]])
    assert_type(keyed.reduce(max), DataStream[str])
    assert_type(keyed.reduce(Longest), DataStream[str])
    assert_type(words.reduce(lambda a, b: a + b), DataStream[str])
    assert_type(words.map(len).key_by(abs).aggregate(Mean), DataStream[float])
    assert_type(words.map(len).aggregate(Mean()), DataStream[float])
    assert keyed.count().collect() == [(1, 1), (2, 1)]


def test_joins() -> None:
    """An inner join has pairs; in an outer one each side may be missing."""
    left, right = words.key_by(len), words.map(str.encode).key_by(len)
    assert_type(left.join(right), DataStream[tuple[str, bytes]])
    assert_type(left.join(right, how="left"), DataStream[tuple[str | None, bytes | None]])
    assert_type(left.join(left, Pair), DataStream[bytes])
    assert_type(left.join(left, lambda a, b: len(a) + len(b)), DataStream[int])
    assert len(left.join(right).collect()) == 2


def test_joins_in_event_time() -> None:
    """As joins; a temporal join always has its left record, and deduplication keeps the type."""
    left = words.assign_timestamps(len).key_by(len)
    right = words.assign_timestamps(len).map(str.encode).key_by(len)
    window = TumblingWindow(10)
    assert_type(left.interval_join(right, -1, 1), DataStream[tuple[str, bytes]])
    assert_type(
        left.interval_join(right, -1, 1, how="full"), DataStream[tuple[str | None, bytes | None]]
    )
    assert_type(left.interval_join(left, -1, 1, Pair), DataStream[bytes])
    assert_type(left.window_join(right, window), DataStream[tuple[str, bytes]])
    assert_type(
        left.window_join(right, window, how="left"), DataStream[tuple[str | None, bytes | None]]
    )
    assert_type(left.window_join(left, window, lambda a, b: len(a) + len(b)), DataStream[int])
    assert_type(left.temporal_join(right), DataStream[tuple[str, bytes]])
    assert_type(left.temporal_join(right, how="left"), DataStream[tuple[str, bytes | None]])
    assert_type(left.temporal_join(left, Pair()), DataStream[bytes])
    assert_type(left.deduplicate(), DataStream[str])
    assert_type(left.deduplicate(within_s=5), DataStream[str])
    assert len(left.interval_join(right, -1, 1).collect()) == 2


class Lengths(ProcessWindowFunction[int, str, float]):
    def process(self, key: int, records: Sequence[str], ctx: Any) -> Iterable[float]:
        return [float(len(record)) for record in records]


def starts(key: int, window: Window, records: Sequence[str]) -> list[float]:
    return [window.start_s for _ in records]


def test_windows() -> None:
    """A windowed stream knows key and record; ``emit`` has the type of the result."""
    windowed = words.assign_timestamps(len).key_by(len).window(TumblingWindow(10))
    assert_type(windowed, WindowedStream[int, str])
    assert_type(windowed.reduce(max), DataStream[str])
    assert_type(windowed.reduce(Longest), DataStream[str])
    assert_type(
        windowed.reduce(max, emit=lambda k, w, v: (k, w.end_s)), DataStream[tuple[int, float]]
    )
    assert_type(windowed.count(), DataStream[tuple[int, int]])
    assert_type(windowed.count(emit=lambda key, window, n: n / 2), DataStream[float])
    assert_type(windowed.top(2, by=len), DataStream[list[str]])
    assert_type(windowed.top(2, ByLength, emit=lambda k, w, top: top[0]), DataStream[str])
    assert_type(windowed.process(Lengths), DataStream[float])
    assert_type(windowed.process(Lengths()), DataStream[float])
    assert_type(windowed.process(lambda key, records, ctx: [records[0]]), DataStream[str])
    assert_type(windowed.apply(starts), DataStream[float])
    numbers = words.map(len).assign_timestamps(abs).window(SessionWindow(5))
    assert_type(numbers.aggregate(Mean), DataStream[float])
    assert_type(numbers.aggregate(Mean(), emit=lambda k, w, mean: str(mean)), DataStream[str])
    assert windowed.count().collect() == [(1, 1), (2, 1)]


def test_branches() -> None:
    """Routes and unions keep the types; a union of two types has both."""
    assert_type(words.route({"long": lambda w: len(w) > 1}), dict[str, DataStream[str]])
    assert_type(words.union(words), DataStream[str])
    assert_type(words.union(words.map(len)), DataStream[str | int])
    assert_type(words.gather(by=len, expected=2), DataStream[Gathered])
    assert_type(words.iterate(lambda s: s.map(str.upper), max_iterations=1), DataStream[str])
    assert_type(words.rebalance().broadcast().partition_by(len), DataStream[str])
    assert sorted(words.union(words).collect()) == ["a", "a", "bb", "bb"]
