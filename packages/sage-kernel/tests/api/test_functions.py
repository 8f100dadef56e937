"""Functions: how they are given, made, opened, finished and closed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import pytest

from sage.common.core.functions import CompositeFunction
from sage.kernel import (
    AsyncMapFunction,
    CoMapFunction,
    DataStream,
    FilterFunction,
    FlatMapFunction,
    LocalEnvironment,
    MapFunction,
    SinkFunction,
    SourceFunction,
)
from sage.kernel.errors import FunctionError, GraphError, JobFailedError
from sage.kernel.testing import CollectingSink


class Journal:
    """What happened, shared by all copies."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: object) -> Journal:
        return self

    def add(self, line: str) -> None:
        with self._lock:
            self.lines.append(line)


class Watched(MapFunction[Any, Any]):
    """Writes down its life."""

    def __init__(self, journal: Journal, name: str = "f", raises: str = "") -> None:
        self.journal, self.name, self.raises = journal, name, raises

    def _note(self, what: str) -> None:
        self.journal.add(f"{self.name}.{what}")
        if self.raises == what:
            raise RuntimeError(f"in {what}")

    def open(self, context: Any) -> None:
        assert self.context is context
        self._note("open")

    def map(self, record: Any) -> Any:
        self._note("map")
        return record

    def finish(self) -> Iterable[Any]:
        self._note("finish")
        return [f"{self.name} is done"]

    def close(self) -> None:
        self._note("close")


def test_the_life_of_a_function() -> None:
    """open, the records, finish, close; what finish gives goes down the chain."""
    journal = Journal()
    stream = LocalEnvironment().from_collection([1]).map(Watched(journal, "a"))
    out = stream.map(Watched(journal, "b")).collect()
    assert out == [1, "a is done", "b is done"]
    assert journal.lines == [
        "a.open", "b.open", "a.map", "b.map", "a.finish", "b.map", "b.finish", "b.close", "a.close",
    ]  # fmt: skip


@pytest.mark.parametrize("raises", ["open", "map", "finish", "close"])
def test_close_is_called_once_whatever_fails(raises: str) -> None:
    """Every function that was opened is closed once, finish is called only at the end of input."""
    journal = Journal()
    stream = LocalEnvironment().from_collection([1]).map(Watched(journal, "a"))
    with pytest.raises(JobFailedError, match=f"'bad' failed.*in {raises}"):
        stream.map(Watched(journal, "b", raises), name="bad").collect()
    assert [journal.lines.count(f"{name}.close") for name in "ab"] == [1, 1]
    if raises in ("open", "map"):
        assert not [line for line in journal.lines if "finish" in line]


def test_a_cancelled_function_is_closed_and_not_finished() -> None:
    """Cancel is no end of input: close is called, finish is not."""
    from sage.kernel.errors import JobCancelledError
    from sage.kernel.testing import Gate, ScriptedSource

    journal, gate, sink = Journal(), Gate(), CollectingSink()
    env = LocalEnvironment()
    env.from_source(ScriptedSource(1, gate)).map(Watched(journal)).sink(sink)
    job = env.submit()
    sink.wait_for(1)
    job.cancel()
    with pytest.raises(JobCancelledError):
        job.wait(30)
    gate.open()
    assert journal.lines == ["f.open", "f.map", "f.close"]


def test_every_subtask_has_its_own_copy() -> None:
    """An instance is copied for each subtask and each run, and itself never touched."""

    class Counter(MapFunction[int, tuple[int, int]]):
        def __init__(self) -> None:
            self.seen: list[int] = []

        def map(self, record: int) -> tuple[int, int]:
            self.seen.append(record)
            return (self.context.parallel_index, len(self.seen))  # type: ignore[union-attr]

    given = Counter()
    env = LocalEnvironment(config={"batch_size": 1})
    stream = env.from_collection(range(8)).map(given, parallelism=4)
    for _ in range(2):
        out = stream.collect()
        assert sorted(out) == [(subtask, n) for subtask in range(4) for n in (1, 2)]
    assert given.seen == []


class Uncopyable(MapFunction[int, int]):
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def map(self, record: int) -> int:
        return record


def test_what_cannot_be_copied_is_refused_for_several_subtasks() -> None:
    """One subtask may use the instance itself; several may not, and the error says what to do."""
    numbers = LocalEnvironment().from_collection([1, 2])
    assert numbers.map(Uncopyable()).collect() == [1, 2]
    with pytest.raises(FunctionError, match="Uncopyable cannot be copied") as caught:
        numbers.map(Uncopyable(), parallelism=2).collect()
    assert "open()" in str(caught.value.hint)
    assert sorted(numbers.map(Uncopyable, parallelism=2).collect()) == [1, 2]


class WithConfig(MapFunction[int, Any]):
    def __init__(self, config: dict[str, int]) -> None:
        self.config = config

    def map(self, record: int) -> Any:
        return self.config["by"] * record


class WithArguments(MapFunction[int, Any]):
    def __init__(self, by: int, plus: int = 0) -> None:
        self.by, self.plus = by, plus

    def map(self, record: int) -> Any:
        return record * self.by + self.plus


@pytest.mark.parametrize(
    ("given", "arguments", "options"),
    [
        (WithConfig, ({"by": 3},), {}),
        (WithArguments, ({"by": 3},), {}),
        (WithArguments, ({"by": 2, "plus": 2},), {}),
        (WithArguments, (3,), {}),
        (WithArguments, (), {"by": 3}),
        (WithArguments, (2,), {"plus": 2}),
        (WithArguments(3), (), {}),
        (WithArguments(3).map, (), {}),
        (lambda n: 3 * n, (), {}),
    ],
)
def test_every_way_to_give_a_function(given: Any, arguments: Any, options: Any) -> None:
    """A class with its config or its arguments, an instance, a method, a callable."""
    stream = LocalEnvironment().from_collection([2]).map(given, *arguments, **options)
    assert stream.collect() == [6]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda s: s.map(WithArguments), "cannot be made of"),
        (lambda s: s.map(WithArguments, {"bye": 1}), "cannot be made of"),
        (lambda s: s.map(lambda n: n, {"a": 1}), "no function class"),
        (lambda s: s.map(7), "wants a function, got int"),
        (lambda s: s.map(None), "wants a function"),
        (lambda s: s.map(CollectingSink), "wants a MapFunction, but CollectingSink is a SinkFunc"),
        (lambda s: s.filter(WithArguments, 1), "use .map"),
        (lambda s: s.sink(WithArguments(1)), "wants a SinkFunction"),
        (lambda s: s.map_async(lambda n: n), "appears to be synchronous"),
        (lambda s: s.env.from_source(WithArguments(1)), "wants a source"),
    ],
)
def test_what_does_not_fit_is_refused_when_built(build: Any, message: str) -> None:
    """A function of the wrong kind is an error at the verb, with what was got and what to do."""
    with pytest.raises(FunctionError, match=message.replace("(", r"\(")):
        build(LocalEnvironment().from_collection([1]))


def test_an_async_function_belongs_to_map_async() -> None:
    """``map`` of an async function is refused with the verb to use, for functions and methods."""

    async def later(n: int) -> int:
        return n

    class Later(AsyncMapFunction[int, int]):
        async def map(self, record: int) -> int:
            return record

    numbers = LocalEnvironment().from_collection([1])
    for given in (later, Later(), Later):
        with pytest.raises(FunctionError, match="map_async"):
            numbers.map(given)
        assert numbers.map_async(given).collect() == [1]


def test_an_abstract_class_names_what_is_missing() -> None:
    """A class that does not define its method is refused by the method's name."""

    class Nothing(MapFunction[int, int]):
        pass

    class NoFilter(FilterFunction[int]):
        pass

    class NoFlatMap(FlatMapFunction[int, int]):
        pass

    class NoSource(SourceFunction[int]):
        pass

    class NoSink(SinkFunction[int]):
        pass

    env = LocalEnvironment()
    numbers = env.from_collection([1])
    for build, method in [
        (lambda: numbers.map(Nothing), "map"),
        (lambda: numbers.filter(NoFilter), "filter"),
        (lambda: numbers.flat_map(NoFlatMap), "flat_map"),
        (lambda: numbers.sink(NoSink), "write"),
        (lambda: env.from_source(NoSource), "read"),
    ]:
        with pytest.raises(FunctionError, match=rf"does not define {method}\(\)"):
            build()


def test_a_comap_without_a_method_is_refused_when_built() -> None:
    """A missing ``mapN`` is found before anything runs."""

    class OnlyFirst(CoMapFunction):
        def map0(self, record: Any) -> Any:
            return record

    numbers = LocalEnvironment().from_collection([1])
    with pytest.raises(FunctionError, match="does not define map1"):
        numbers.connect(numbers).comap(OnlyFirst)
    with pytest.raises(GraphError, match="at most 5"):
        numbers.connect(*[numbers] * 5)


def test_up_to_five_inputs_and_state_shared_by_them() -> None:
    """Each input has its method, and all methods one object."""

    class Five(CoMapFunction):
        def __init__(self) -> None:
            self.total = 0

        def _add(self, n: int) -> int:
            self.total += n
            return self.total

        map0 = map1 = map2 = map3 = map4 = _add

    numbers = LocalEnvironment().from_collection([1])
    out = numbers.connect(*[numbers] * 4).comap(Five).collect()
    assert out == [1, 2, 3, 4, 5]


def test_a_function_that_forgets_to_return_is_warned_about() -> None:
    """An operator all of whose records end in None is pointed out by the metrics."""
    env = LocalEnvironment()
    env.from_collection([1, 2]).map(lambda n: None, name="forgetful").sink(CollectingSink())
    metrics = env.execute().metrics
    assert metrics["forgetful"].no_output == 2
    (warning,) = metrics.warnings()
    assert "forgetful" in warning
    assert "return" in warning


class Shop:
    """A service."""

    made = 0
    closed = 0

    def __init__(self, price: int = 2) -> None:
        type(self).made += 1
        self.price = price

    def process(self, n: int) -> int:
        return n * self.price

    async def slowly(self, n: int) -> int:
        return n + self.price

    def close(self) -> None:
        type(self).closed += 1


class Buys(MapFunction[int, int]):
    def __init__(self, service: str = "shop", **how: Any) -> None:
        self.service, self.how = service, how

    def map(self, record: int) -> int:
        return int(self.call_service(self.service, record, **self.how))


class BuysLater(AsyncMapFunction[int, int]):
    async def map(self, record: int) -> int:
        a = await self.context.call_service_async("shop", record)  # type: ignore[union-attr]
        b = await self.context.call_service_async("shop", record, method="slowly")  # type: ignore[union-attr]
        return int(a + b)


def test_services_are_made_once_and_closed() -> None:
    """A service is one object for all functions of a job, made at the first call."""
    Shop.made = Shop.closed = 0
    env = LocalEnvironment()
    env.register_service("shop", Shop, price=3)
    numbers = env.from_collection([1, 2, 3])
    assert Shop.made == 0
    assert sorted(numbers.map(Buys, parallelism=3).map(Buys).collect()) == [9, 18, 27]
    assert (Shop.made, Shop.closed) == (1, 1)
    assert numbers.map_async(BuysLater).collect() == [7, 11, 15]
    assert numbers.map(Buys("shop", timeout_s=30.0)).collect() == [3, 6, 9]


def test_a_wrong_call_to_a_service_says_what_is_there() -> None:
    """An unknown service or method is named, with the nearest one."""
    env = LocalEnvironment()
    env.register_service("shop", Shop(2))
    numbers = env.from_collection([1])
    with pytest.raises(JobFailedError, match="did you mean 'shop'"):
        numbers.map(Buys("shpo")).collect()
    with pytest.raises(JobFailedError, match="no method 'proces'; did you mean 'process'"):
        numbers.map(Buys("shop", method="proces")).collect()
    with pytest.raises(GraphError, match="registered already"):
        env.register_service("shop", Shop)


def test_counters_of_a_function_are_metrics() -> None:
    """What a function counts is shown among the metrics of its operator, over all subtasks."""

    class Counting(MapFunction[int, int]):
        def map(self, record: int) -> int:
            self.context.metrics.counter("odd").inc(record % 2)  # type: ignore[union-attr]
            return record

    env = LocalEnvironment()
    env.from_collection(range(9)).map(Counting, parallelism=2, name="counting").sink(
        CollectingSink()
    )
    assert env.execute().metrics["counting"].custom == {"odd": 4}


class InPairs(CompositeFunction[int, int]):
    """Called by itself it adds one; on a stream it adds the sum of a pair of records."""

    def map(self, record: int) -> int:
        return record + 1

    def expand(self, stream: DataStream[int], **options: Any) -> DataStream[int]:
        return stream.map_batches(lambda pair: [n + sum(pair) for n in pair], max_size=2, **options)


def test_a_composite_function_is_put_on_a_stream_as_what_it_expands_to() -> None:
    """``map`` asks it once, with its own options, however it is given, and journals nothing."""
    env = LocalEnvironment()
    numbers = env.from_collection([1, 2, 3, 4])
    pairs = numbers.map(InPairs(), name="pairs")
    assert pairs.collect() == numbers.map(InPairs).collect() == [4, 5, 10, 11]
    assert env.graph()[pairs.uid].name == "pairs"
    with pytest.raises(GraphError, match="InPairs is put on a stream as several operators"):
        numbers.map(InPairs, journal=True)


class Expanding(MapFunction[str, str]):
    """Has a method of its own that happens to be called ``expand``."""

    def map(self, record: str) -> str:
        return self.expand(record)

    def expand(self, question: str) -> str:
        return f"{question} or {question[::-1]}"


def test_a_function_with_an_expand_of_its_own_is_no_composite() -> None:
    """Only who derives from ``CompositeFunction`` is put on a stream as several operators."""
    assert LocalEnvironment().from_collection(["ab"]).map(Expanding()).collect() == ["ab or ba"]
