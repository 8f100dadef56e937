"""The verbs: that all of them are there, documented, and say at once what cannot work."""

from __future__ import annotations

import copy
import doctest
import inspect
from dataclasses import replace
from typing import Any

import pytest

from sage.kernel import (
    AsyncMapFunction,
    DataStream,
    KeyedStream,
    LocalEnvironment,
    MapFunction,
)
from sage.kernel.errors import FunctionError, GraphError, UnknownVerbError
from sage.kernel.operators.map_async import MapAsyncOperator

ON_THE_ENVIRONMENT = """from_source from_collection from_batch from_future read_text read_jsonl
    read_csv read_parquet from_kafka register_service set_memory set_parallelism set_runtime_mode
    submit execute run_once run_streaming stop close explain serve""".split()  # noqa: SIM905
ON_THE_STREAM = """map filter flatmap flat_map map_async map_batches process key_by keyby reduce
    aggregate union connect broadcast rebalance partition_by side_output split route iterate
    fill_future gather sink to_sink print collect for_each""".split()  # noqa: SIM905
ON_THE_KEYED_STREAM = [*ON_THE_STREAM, "count", "join"]
# They need a service or a file format that a doctest cannot count on.
WITHOUT_EXAMPLE = {"from_kafka", "read_parquet"}


@pytest.fixture
def env() -> LocalEnvironment:
    return LocalEnvironment()


@pytest.fixture
def numbers(env: LocalEnvironment) -> DataStream[int]:
    return env.from_collection([1, 2, 3])


async def tenfold(n: int) -> int:
    return 10 * n


class Tenfold(AsyncMapFunction[int, int]):
    async def map(self, record: int) -> int:
        return 10 * record


class Double(MapFunction[int, int]):
    def map(self, record: int) -> int:
        return 2 * record


@pytest.mark.parametrize(
    ("cls", "verb"),
    [(LocalEnvironment, verb) for verb in ON_THE_ENVIRONMENT]
    + [(KeyedStream, verb) for verb in ON_THE_KEYED_STREAM],
)
def test_every_verb_is_there_with_an_example(cls: type, verb: str) -> None:
    """Each verb of the table is spelt like this, says what it does and shows it."""
    method = getattr(cls, verb)
    owner = inspect.getdoc(method) or ""
    assert owner.partition("\n")[0].endswith("."), verb
    if verb not in WITHOUT_EXAMPLE:
        assert doctest.DocTestParser().get_examples(owner), verb


def test_verbs_may_be_joined_or_not() -> None:
    """The other spellings are the same verbs."""
    same = [("flatmap", "flat_map"), ("keyby", "key_by"), ("to_sink", "sink"), ("split", "route")]
    for one, other in same:
        assert getattr(DataStream, one) is getattr(DataStream, other)


@pytest.mark.parametrize("function", [tenfold, Tenfold, Tenfold()])
def test_an_async_map_may_be_called_map(numbers: DataStream[int], function: Any) -> None:
    """``executor="async"`` runs an async function or `AsyncMapFunction` as ``map_async`` does."""
    streams = numbers.map(function, executor="async"), numbers.map_async(function)
    assert [stream.collect() for stream in streams] == [[10, 20, 30]] * 2
    one, other = (numbers.env.graph()[stream.uid] for stream in streams)
    assert isinstance(one.operator, MapAsyncOperator)
    assert replace(one.operator, function=other.operator.specs[0]) == other.operator
    assert one.executor is other.executor is None
    assert numbers.map_async(function, executor="async").collect() == [10, 20, 30]


def test_class_and_config_may_be_async(numbers: DataStream[int]) -> None:
    """A class with its config is made once for each subtask, and its options stay its own."""

    class Times(AsyncMapFunction[int, int]):
        def __init__(self, factor: int) -> None:
            self.factor = factor

        async def map(self, record: int) -> int:
            return self.factor * record

    assert numbers.map(Times, {"factor": 3}, executor="async", name="x").collect() == [3, 6, 9]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda s: s.map(Double, executor="async"), "wants an AsyncMapFunction, but Double is"),
        (lambda s: s.map(lambda n: n, executor="async"), "the lambda appears to be synchronous"),
        (lambda s: s.map(tenfold), "'tenfold' is asynchronous"),
        (lambda s: s.map(Tenfold), "but Tenfold is an AsyncMapFunction"),
        (lambda s: s.map_async(tenfold, executor="thread"), "runs on an event loop, not with"),
        (lambda s: s.map_async(tenfold, executor="process"), "runs on an event loop, not with"),
        (
            lambda s: s.filter(bool, executor="async"),
            r"\(filter\) cannot run with executor='async'",
        ),
        (lambda s: s.sink(print, executor="async"), r"\(sink\) cannot run with executor='async'"),
        (lambda s: s.map(str, executor="fibre"), "executor must be thread, process or async"),
    ],
)
def test_an_executor_that_does_not_fit_is_refused(
    numbers: DataStream[int], build: Any, message: str
) -> None:
    """Function and executor contradict each other when the pipeline is built, not later."""
    with pytest.raises(GraphError, match=message):
        build(numbers)


def test_the_strategy_of_keys_is_hash(numbers: DataStream[int]) -> None:
    """Only hashing brings equal keys together; for other ways the error names the verb."""
    assert numbers.key_by(lambda n: n % 2, strategy="hash").count().collect() == [
        (1, 1),
        (0, 1),
        (1, 2),
    ]
    for strategy, verb in [("broadcast", "broadcast"), ("rebalance", "rebalance")]:
        with pytest.raises(GraphError, match=rf"stream\.{verb}\(\)"):
            numbers.key_by(abs, strategy=strategy)  # type: ignore[call-overload]
    with pytest.raises(GraphError, match="got 'range'"):
        numbers.key_by(abs, strategy="range")  # type: ignore[call-overload]


@pytest.mark.parametrize("parallelism", [1, 3])
def test_process_knows_the_key(numbers: DataStream[int], parallelism: int) -> None:
    """Behind ``key_by`` the context has the record's key, and a side output may use it."""

    def keyed(record: int, ctx: Any) -> list[int]:
        ctx.output("keys", (ctx.current_key, record))
        return [record]

    records = numbers.key_by(lambda n: n % 2).process(keyed, parallelism=parallelism)
    assert sorted(records.side_output("keys").collect()) == [(0, 2), (1, 1), (1, 3)]
    assert sorted(records.collect()) == [1, 2, 3]


@pytest.mark.parametrize("parallelism", [1, 3])
def test_a_union_of_keyed_streams_has_no_key(numbers: DataStream[int], parallelism: int) -> None:
    """Its records are those of both; to fold them, they are keyed again."""
    odd, same = numbers.key_by(lambda n: n % 2), numbers.key_by(lambda n: n)
    both = odd.union(same)
    assert not isinstance(both, KeyedStream)
    assert sorted(both.map(str, parallelism=parallelism).collect()) == [
        "1",
        "1",
        "2",
        "2",
        "3",
        "3",
    ]
    counted = both.key_by(lambda n: n > 2).count(parallelism=parallelism)
    assert sorted(counted.collect()) == [*((False, n) for n in (1, 2, 3, 4)), (True, 1), (True, 2)]


@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_keyed_stream_joins_with_itself(numbers: DataStream[int], parallelism: int) -> None:
    """Both sides may come of the same operator."""
    keyed = numbers.key_by(lambda n: n % 2)
    pairs = keyed.join(keyed, parallelism=parallelism).collect()
    assert sorted(pairs) == [(1, 1), (1, 3), (2, 2), (3, 1), (3, 3)]


def test_joins_that_cannot_work_are_refused(numbers: DataStream[int]) -> None:
    """A side without keys, of another environment, a wrong way and a wrong function are named."""
    keyed = numbers.key_by(abs)
    elsewhere = LocalEnvironment().from_collection([1]).key_by(abs)
    with pytest.raises(GraphError, match="got a DataStream"):
        keyed.join(numbers)  # type: ignore[call-overload]
    with pytest.raises(GraphError, match="two environments"):
        keyed.join(elsewhere)
    with pytest.raises(GraphError, match="'outer'"):
        keyed.join(keyed, how="outer")  # type: ignore[call-overload]
    with pytest.raises(FunctionError, match="join wants a JoinFunction, but Double is"):
        keyed.join(keyed, Double)  # type: ignore[call-overload]


def test_streams_of_two_environments_do_not_meet(numbers: DataStream[int]) -> None:
    """``union`` and ``connect`` say so when they are called."""
    elsewhere = LocalEnvironment().from_collection([1])
    for verb in (numbers.union, numbers.connect):
        with pytest.raises(GraphError, match="two environments"):
            verb(elsewhere)


def test_a_misspelt_verb_is_suggested(numbers: DataStream[int]) -> None:
    """An unknown verb names the nearest one; those that want a key say so."""
    with pytest.raises(UnknownVerbError, match="did you mean 'flat_map'"):
        numbers.flat_mapp(str.split)  # type: ignore[attr-defined]
    for verb in ("join", "count"):
        with pytest.raises(UnknownVerbError, match="wants a keyed stream") as caught:
            getattr(numbers, verb)
        assert caught.value.hint == f".key_by(selector).{verb}(...)"
    assert isinstance(caught.value, AttributeError)
    assert copy.copy(numbers).collect() == [1, 2, 3]


def test_memory_is_none_or_refused(env: LocalEnvironment) -> None:
    """None is what older scripts pass; a config must not be ignored in silence."""
    env.set_memory(None)
    env.set_memory(config=None)
    with pytest.raises(GraphError, match="memory is not there yet"):
        env.set_memory({"backend": "vdb"})


def test_the_runtime_mode_is_an_option_of_the_environment(env: LocalEnvironment) -> None:
    """The mode may be set before and between runs, not while a job runs."""
    env.set_runtime_mode("distributed")
    assert env.config.execution_mode == "distributed"
    env.set_runtime_mode("local")
    assert env.from_collection([1]).collect() == [1]
    with pytest.raises(Exception, match="expected 'local' or 'distributed', got 'ray'"):
        env.set_runtime_mode("ray")  # type: ignore[arg-type]
