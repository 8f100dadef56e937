"""Whatever graph a user builds, the engine gives what plain lists give, and counts every record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from sage.kernel import (
    AggregateFunction,
    AsyncMapFunction,
    DataStream,
    JoinFunction,
    LocalEnvironment,
    MapFunction,
    ProcessFunction,
)
from sage.kernel.errors import JobTimeoutError
from sage.kernel.testing import (
    CollectingSink,
    Reference,
    ReferenceStream,
    check_conservation,
)

MOST_RECORDS = 250
LONGEST_S = 20

# Every function below gives equal results for equal records: 0, 0.0 and False are equal keys, and
# which of them stands for a group depends on the order of arrival.


def weight(record: Any) -> int:
    if isinstance(record, (str, bytes)):
        return len(record)
    if isinstance(record, tuple):
        return sum(weight(item) + 1 for item in record)
    return 0 if record is None else int(record)


class Plus(MapFunction[Any, int]):
    """A function class, with a config."""

    def __init__(self, config: dict[str, int]) -> None:
        self.by = config["by"]

    def map(self, record: Any) -> int:
        return weight(record) + self.by


def letters(record: Any) -> Any:
    yield from ("a" * (weight(record) % 3))
    if weight(record) % 2:
        yield weight(record)


MAPS: dict[str, Callable[[Any], Any]] = {
    "same": lambda r: r,
    "plus": lambda r: weight(r) + 1,
    "pair": lambda r: (weight(r) % 5, weight(r)),
    "some": lambda r: None if weight(r) % 2 else r,
    "none": lambda r: None,
    "falsy": lambda r: [0, "", (), False, 0.0, b""][weight(r) % 6],
}
FILTERS: dict[str, Callable[[Any], Any]] = {
    "odd": lambda r: weight(r) % 2,
    "truthy": lambda r: r,
    "all": lambda r: True,
    "nothing": lambda r: None,
}
FLAT_MAPS: dict[str, Callable[[Any], Any]] = {
    "copies": lambda r: [r] * (weight(r) % 3),
    "maybe": lambda r: None if weight(r) % 4 == 0 else (r, weight(r)),
    "letters": letters,
    "empty": lambda r: (),
}
KEYS: dict[str, Callable[[Any], Any]] = {
    "modulo": lambda r: weight(r) % 3,
    "text": lambda r: "" if weight(r) % 2 else "k",
    "one": lambda r: 0,
    "mixed": lambda r: [0, 0.0, False, "", "k", (0,), b"", 1, True, 1.0][weight(r) % 10],
}


class Fold(AggregateFunction[Any, int, Any]):
    """Depends on the order, and gives None now and then."""

    def create(self) -> int:
        return 0

    def add(self, acc: int, record: Any) -> int:
        return (acc * 3 + weight(record) + 1) % 1009

    def result(self, acc: int) -> Any:
        return None if acc % 5 == 0 else acc

    def merge(self, a: int, b: int) -> int:
        raise NotImplementedError


def combined(a: Any, b: Any) -> int:
    return (weight(a) * 2 + weight(b)) % 1009


class Paired(JoinFunction[Any, Any, Any]):
    def join(self, left: Any, right: Any) -> Any:
        return None if (weight(left) + weight(right)) % 3 == 0 else (left, right)


def split_by_weight(record: Any, output: Callable[[str, Any], None]) -> Any:
    if weight(record) % 3 == 0:
        output("side", (record, 0))
    if weight(record) % 2:
        return [record, weight(record)]
    return None


class Process(ProcessFunction[Any, Any]):
    def process(self, record: Any, ctx: Any) -> Any:
        return split_by_weight(record, ctx.output)


class Later(AsyncMapFunction[Any, Any]):
    async def map(self, record: Any) -> Any:
        import asyncio

        for _ in range(weight(record) % 4):  # calls end in another order than they start
            await asyncio.sleep(0)
        return None if weight(record) % 7 == 3 else (record, 1)


def later(record: Any) -> Any:
    return None if weight(record) % 7 == 3 else (record, 1)


def in_batch(batch: list[Any]) -> list[Any]:
    return [None if weight(r) % 5 == 0 else (r,) for r in batch]


@dataclass
class Both:
    """One stream, twice."""

    engine: DataStream[Any]
    lists: ReferenceStream
    in_order: bool  # the order of the records is promised
    alone: bool  # one subtask sends them
    name: str = ""

    def then(self, engine: Any, lists: ReferenceStream, parallelism: int, order: bool) -> Both:
        alone = parallelism == 1
        return Both(engine, lists, order and self.in_order and alone and self.alone, alone)


class Builder:
    """Draws a graph and builds it on the engine and on lists."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw
        self.config = {
            "batch_size": draw(st.sampled_from([1, 2, 7, 1024])),
            "linger_ms": draw(st.sampled_from([0, 1, 5.0])),
            "channel_batches": draw(st.integers(1, 3)),
            "sample_trace": draw(st.sampled_from([0, 0, 0.3, 1])),
        }
        self.env = LocalEnvironment(config=self.config)
        self.reference = Reference()
        self.streams: list[Both] = []
        self._numbers = iter(range(1000))
        for _ in range(draw(st.integers(1, 2))):
            self._add_source()

    def grow(self) -> None:
        """Add one operator behind one of the streams."""
        stream = self._any()
        step = self._draw(st.sampled_from(sorted(STEPS)))
        event(step)
        for grown in STEPS[step](self, stream):
            if len(grown.lists.records) <= MOST_RECORDS:
                self.streams.append(grown)

    def _add_source(self) -> None:
        records = self._draw(st.lists(RECORDS, max_size=12))
        parallelism = self._draw(st.sampled_from([1, 1, 1, 3]))
        kind = self._draw(st.sampled_from(["list", "generator", "tuple"]))
        given: Any = {"list": records, "tuple": tuple(records)}.get(kind)
        if given is None:
            parallelism, given = 1, lambda: iter(records)
        engine = self.env.from_source(given, parallelism=parallelism, name=self.name())
        alone = parallelism == 1
        self.streams.append(Both(engine, self.reference.stream(records), alone, alone))

    def _any(self) -> Both:
        return self._draw(st.sampled_from(range(len(self.streams))).map(self.streams.__getitem__))

    def name(self) -> str:
        return f"op{next(self._numbers)}"

    def one_of(self, table: dict[str, Any]) -> Any:
        return table[self._draw(st.sampled_from(sorted(table)))]

    def parallelism(self) -> int:
        return int(self._draw(st.sampled_from([1, 1, 1, 2, 3, 4])))

    # The verbs.

    def map(self, s: Both) -> list[Both]:
        p, name = self.parallelism(), self.name()
        if self._draw(st.booleans()):
            f: Any = self.one_of(MAPS)
            engine = s.engine.map(f, parallelism=p, name=name)
        else:
            f = Plus({"by": 1}).map
            engine = s.engine.map(Plus, {"by": 1}, parallelism=p, name=name)
        return [s.then(engine, s.lists.map(f, name), p, True)]

    def filter(self, s: Both) -> list[Both]:
        p, name, f = self.parallelism(), self.name(), self.one_of(FILTERS)
        engine = s.engine.filter(f, parallelism=p, name=name)
        return [s.then(engine, s.lists.filter(f, name), p, True)]

    def flat_map(self, s: Both) -> list[Both]:
        p, name, f = self.parallelism(), self.name(), self.one_of(FLAT_MAPS)
        engine = s.engine.flat_map(f, parallelism=p, name=name)
        return [s.then(engine, s.lists.flat_map(f, name), p, True)]

    def spread(self, s: Both) -> list[Both]:
        p, name, f = self.parallelism(), self.name(), self.one_of(MAPS)
        if self._draw(st.booleans()):
            engine = s.engine.rebalance().map(f, parallelism=p, name=name)
            return [s.then(engine, s.lists.map(f, name), p, True)]
        engine = s.engine.broadcast().map(f, parallelism=p, name=name)
        return [s.then(engine, s.lists.repeated(p).map(f, name), p, True)]

    def fold(self, s: Both) -> list[Both]:
        """Running values depend on the order; counts do not."""
        p, name, key = self.parallelism(), self.name(), self.one_of(KEYS)
        kind = self._draw(st.sampled_from(["reduce", "aggregate", "count"]))
        where = {"parallelism": p, "name": name}
        keyed = s.engine.key_by(key, parallelism=p if s.alone and p == 1 else 1)
        if not s.alone and not s.in_order:
            kind = "count"
        if kind == "count" or not s.in_order:
            return [s.then(keyed.count(**where), s.lists.count(key, name), p, True)]
        if kind == "reduce":
            lists = s.lists.reduce(combined, key, name)
            return [s.then(keyed.reduce(combined, **where), lists, p, True)]
        lists = s.lists.aggregate(Fold(), key, name)
        return [s.then(keyed.aggregate(Fold, **where), lists, p, True)]

    def fold_unkeyed(self, s: Both) -> list[Both]:
        name = self.name()
        if not s.in_order:
            return self.map(s)
        if self._draw(st.booleans()):
            engine = s.engine.reduce(combined, name=name)
            return [s.then(engine, s.lists.reduce(combined, name=name), 1, True)]
        engine = s.engine.aggregate(Fold(), name=name)
        return [s.then(engine, s.lists.aggregate(Fold(), name=name), 1, True)]

    def union(self, s: Both) -> list[Both]:
        p, name, other = self.parallelism(), self.name(), self._any()
        engine = s.engine.union(other.engine, parallelism=p, name=name)
        return [s.then(engine, s.lists.union(other.lists, name=name), p, False)]

    def comap(self, s: Both) -> list[Both]:
        p, name, others = self.parallelism(), self.name(), [self._any(), self._any()]
        functions = [self.one_of(MAPS) for _ in range(3)]
        connected = s.engine.connect(*(o.engine for o in others))
        engine = connected.map(*functions, parallelism=p, name=name)
        lists = s.lists.comap([o.lists for o in others], functions, name)
        return [s.then(engine, lists, p, False)]

    def join(self, s: Both) -> list[Both]:
        p, other = self.parallelism(), self._any()
        keys = (self.one_of(KEYS), self.one_of(KEYS))
        how = self._draw(st.sampled_from(["inner", "left", "right", "full"]))
        function = self._draw(st.sampled_from([None, Paired]))
        if len(s.lists.records) * len(other.lists.records) > 2000:
            return []
        lists = s.lists.join(other.lists, keys, how, Paired().join if function else None)
        engine = s.engine.key_by(keys[0]).join(
            other.engine.key_by(keys[1]), function, how=how, parallelism=p, name=self.name()
        )
        return [s.then(engine, lists, p, False)]

    def route(self, s: Both) -> list[Both]:
        p, name = self.parallelism(), self.name()
        tests = {"a": self.one_of(FILTERS), "b": self.one_of(FILTERS)}
        engine = s.engine.route(tests, parallelism=p, name=name)
        lists = s.lists.route(tests)
        return [s.then(engine[tag], lists[tag], p, True) for tag in tests]

    def process(self, s: Both) -> list[Both]:
        p, name = self.parallelism(), self.name()
        engine = s.engine.process(Process, parallelism=p, name=name)
        main, sides = s.lists.process(split_by_weight)
        side = sides.get("side", self.reference.stream([]))
        grown = [s.then(engine, main, p, True)]
        if self._draw(st.booleans()):
            grown.append(s.then(engine.side_output("side"), side, p, True))
        return grown

    def map_batches(self, s: Both) -> list[Both]:
        p, name, size = self.parallelism(), self.name(), self._draw(st.integers(1, 4))
        engine = s.engine.map_batches(in_batch, max_size=size, parallelism=p, name=name)
        return [s.then(engine, s.lists.map_batches(in_batch, size, name), p, True)]

    def map_async(self, s: Both) -> list[Both]:
        p, name, ordered = self.parallelism(), self.name(), self._draw(st.booleans())
        calls = self._draw(st.integers(1, 5))
        engine = s.engine.map_async(
            Later, concurrency=calls, ordered=ordered, parallelism=p, name=name
        )
        return [s.then(engine, s.lists.map(later, name), p, ordered)]

    def gather(self, s: Both) -> list[Both]:
        """Which results make a group depends on the order; how many do does not."""
        p, key, expected = self.parallelism(), self.one_of(KEYS), self._draw(st.integers(1, 3))
        gathered = s.engine.gather(key, expected, parallelism=p, name=self.name())
        engine = gathered.map(lambda g: (g.key, len(g.results), g.partial), parallelism=p)
        lists = s.lists.gather(key, expected).map(lambda g: (g[0], len(g[1]), g[2]))
        return [s.then(engine, lists, p, True)]

    def iterate(self, s: Both) -> list[Both]:
        p, most = self.parallelism(), self._draw(st.integers(1, 3))
        until = self._draw(st.sampled_from([None, lambda r: weight(r) % 3 == 0]))
        body = self._draw(st.sampled_from([_around_map, _around_flat_map, _around_async]))
        if len(s.lists.records) > 20:
            return []
        engine = s.engine.iterate(body, until, max_iterations=most, parallelism=p, name=self.name())
        lists = s.lists.iterate(body, until, most)
        return [s.then(engine, lists, p, False)]


def _around_map(stream: Any) -> Any:
    return stream.map(lambda r: weight(r) + 1)


def _around_flat_map(stream: Any) -> Any:
    return stream.filter(lambda r: weight(r) % 4).flat_map(lambda r: [r, weight(r) + 1])


def _around_async(stream: Any) -> Any:
    if isinstance(stream, ReferenceStream):
        return stream.map(later)
    return stream.map_async(Later, concurrency=2)


RECORDS = st.sampled_from([0, 0.0, False, True, 1, 1.0, 2, 5, 7, 8, "", "a", "abc", (), (1,), b""])
STEPS: dict[str, Callable[[Builder, Both], list[Both]]] = {
    "map": Builder.map,
    "filter": Builder.filter,
    "flat_map": Builder.flat_map,
    "spread": Builder.spread,
    "fold": Builder.fold,
    "fold_unkeyed": Builder.fold_unkeyed,
    "union": Builder.union,
    "comap": Builder.comap,
    "join": Builder.join,
    "route": Builder.route,
    "process": Builder.process,
    "map_batches": Builder.map_batches,
    "map_async": Builder.map_async,
    "gather": Builder.gather,
    "iterate": Builder.iterate,
}


def bounded(max_examples: int) -> Any:
    """No shrinking: an example that hangs would take its time again and again."""
    return settings(
        max_examples=max_examples,
        deadline=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def run_and_compare(builder: Builder) -> None:
    """Run the graph with a sink behind every stream, and compare records and counts."""
    env = builder.env
    sinks = []
    for number, stream in enumerate(builder.streams):
        sink = CollectingSink()
        stream.engine.sink(sink, name=f"sink{number}")
        sinks.append(sink)
    plan = str(env.explain())
    job = env.submit()
    try:
        metrics = job.wait(LONGEST_S).metrics
    except JobTimeoutError:
        job.cancel()
        pytest.fail(f"does not end with {builder.config}:\n{plan}")
    for stream, sink in zip(builder.streams, sinks, strict=True):
        if stream.in_order:
            assert list(map(repr, sink.records)) == list(map(repr, stream.lists.records)), plan
        assert Counter(sink.records) == Counter(stream.lists.records), plan
    check_conservation(metrics, env.graph())
    for name, wanted in builder.reference.expected.items():
        m = metrics[name]
        got = (m.received, m.sent, m.no_output, m.filtered)
        assert got == (wanted.received, wanted.sent, wanted.no_output, wanted.filtered), name


@given(st.data())
@bounded(60)
def test_any_graph_gives_what_lists_give(data: st.DataObject) -> None:
    """A random graph gives the records, the order and the counts of the same verbs on lists."""
    builder = Builder(data.draw)
    for _ in range(data.draw(st.integers(1, 7))):
        builder.grow()
    run_and_compare(builder)


@pytest.mark.parametrize("step", sorted(STEPS))
@given(st.data())
@bounded(6)
def test_every_verb_alone_gives_what_lists_give(step: str, data: st.DataObject) -> None:
    """Each verb behind a source gives what it gives on lists, at any parallelism."""
    builder = Builder(data.draw)
    builder.streams += STEPS[step](builder, builder.streams[0])
    run_and_compare(builder)
