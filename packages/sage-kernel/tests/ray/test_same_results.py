"""What a pipeline gives is the same in this process and on Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from sage.kernel import (
    CoMapFunction,
    DataStream,
    LocalEnvironment,
    LocalStreamEnvironment,
    MapFunction,
    ProcessFunction,
)
from sage.kernel.api.environment import Environment
from sage.kernel.testing import check_conservation

WORDS = ("to be or not to be that is the question " * 40).split()


def stateless_chain(env: Environment) -> DataStream[Any]:
    """W1, over a boundary between actors."""
    numbers = env.from_collection(range(20_000))
    halved = numbers.map(lambda x: x * 3 + 1).filter(lambda x: x % 2 == 0).rebalance()
    return halved.map(lambda x: x // 2, parallelism=2).filter(lambda x: x % 5 != 0, parallelism=2)


def word_count(env: Environment) -> DataStream[Any]:
    """W2, over two subtasks."""
    return env.from_collection(WORDS).key_by(lambda word: word).count(parallelism=2)


def reduce_by_odd_keys(env: Environment) -> DataStream[Any]:
    keys = [0, "", False, "a", 0.0, 7, (1, "x")]
    pairs = env.from_collection([(key, n) for n in range(50) for key in keys])
    keyed = pairs.key_by(lambda pair: pair[0])
    return keyed.reduce(lambda a, b: (a[0], a[1] + b[1]), parallelism=3)


class Tag(CoMapFunction):
    """Says by which input a record came."""

    def map0(self, record: int) -> tuple[str, int]:
        return ("left", record)

    def map1(self, record: int) -> tuple[str, int]:
        return ("right", record)


def comap_of_unequal_inputs(env: Environment) -> DataStream[Any]:
    left, right = env.from_collection(range(3000)), env.from_collection(range(7))
    return left.connect(right).comap(Tag)


def union(env: Environment) -> DataStream[Any]:
    return env.from_collection(range(100)).union(env.from_collection(range(900, 1000)))


def full_join(env: Environment) -> DataStream[Any]:
    users = env.from_collection([(i, f"user {i}") for i in range(40)]).key_by(lambda u: u[0])
    orders = env.from_collection([(i % 60, i) for i in range(200)]).key_by(lambda o: o[0])
    return users.join(orders, how="full", parallelism=2)


class Evens(ProcessFunction[int, int]):
    """Sends odd numbers aside."""

    def process(self, record: int, ctx: Any) -> Iterator[int]:
        if record % 2:
            ctx.output("odd", -record)
        else:
            yield record


def side_output(env: Environment) -> DataStream[Any]:
    evens = env.from_collection(range(100)).process(Evens)
    return evens.map(lambda n: ("even", n)).union(evens.side_output("odd").rebalance())


def route(env: Environment) -> DataStream[Any]:
    ways = env.from_collection(range(99)).route({"third": lambda n: n % 3 == 0, "rest": bool})
    return ways["third"].map(lambda n: ("third", n)).union(ways["rest"].map(str))


def broadcast(env: Environment) -> DataStream[Any]:
    return env.from_collection(range(10)).broadcast().map(lambda n: n + 1, parallelism=2)


async def doubled(record: int) -> int:
    return 2 * record


def async_in_order(env: Environment) -> DataStream[Any]:
    return env.from_collection(range(200)).map_async(doubled, concurrency=8)


def batches(env: Environment) -> DataStream[Any]:
    numbers = env.from_collection(range(100)).rebalance()
    return numbers.map_batches(lambda batch: [sum(batch)] * len(batch), max_size=10)


def falsy_records(env: Environment) -> DataStream[Any]:
    return env.from_collection([0, "", False, [], {}]).rebalance().map(lambda r: r, parallelism=2)


@dataclass(frozen=True, order=True)
class Point:
    """A record of a class that only this test has."""

    x: int


def own_class(env: Environment) -> DataStream[Any]:
    return env.from_collection([Point(1), Point(2)]).rebalance().map(lambda p: Point(p.x + 1))


GRAPHS = [
    stateless_chain,
    word_count,
    reduce_by_odd_keys,
    comap_of_unequal_inputs,
    union,
    full_join,
    side_output,
    route,
    broadcast,
    async_in_order,
    batches,
    falsy_records,
    own_class,
]


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.__name__)
def test_a_pipeline_gives_the_same_on_both_runtimes(
    graph: Callable[[Environment], DataStream[Any]], remote: Callable[..., Environment]
) -> None:
    """The same graph gives the same records, however they are spread over actors."""
    here = graph(LocalEnvironment()).collect()
    there = graph(remote(batch_size=64)).collect()
    assert sorted(there, key=repr) == sorted(here, key=repr)


def test_order_is_kept_where_it_is_promised(remote: Callable[..., Environment]) -> None:
    """Forward and single-receiver edges keep the order between actors."""
    numbers = remote(batch_size=7).from_collection(range(5000))
    there = numbers.map(lambda n: n + 1, resources={"num_cpus": 0.01}).map_async(doubled).collect()
    assert there == [2 * (n + 1) for n in range(5000)]


def test_large_records_arrive(remote: Callable[..., Environment]) -> None:
    """A batch of large records, which is sent in pieces, arrives whole and in order."""
    sizes = remote().from_collection(range(100)).map(lambda n: bytes(100_000 + n))
    got = sizes.map(len, resources={"num_cpus": 0.01}).collect()
    assert got == [100_000 + n for n in range(100)]


def test_every_count_adds_up(remote: Callable[..., Environment]) -> None:
    """The metrics that come from several actors conserve every record, on every edge."""
    env = remote(batch_size=100)
    words = env.from_collection(WORDS).filter(lambda word: word != "the").key_by(lambda w: w)
    words.count(parallelism=3, name="count").filter(lambda pair: pair[1] % 2).sink(nowhere)
    metrics = env.execute().metrics
    check_conservation(metrics, env.graph())
    assert metrics["count"].received == len(WORDS) - WORDS.count("the")
    assert len([s for s in metrics.subtasks if s.name == "count"]) == 3


def nowhere(record: Any) -> None:
    """Write nothing."""


def test_what_is_printed_is_printed_here(
    remote: Callable[..., Environment], capsys: pytest.CaptureFixture[str]
) -> None:
    """Sinks that print are for people at this terminal, not for an actor's log file."""
    env = remote()
    numbers = env.from_collection([1, 2])
    numbers.print("n = ")
    numbers.map(lambda n: -n).sink(print)
    env.execute()
    assert sorted(capsys.readouterr().out.splitlines()) == ["-1", "-2", "n = 1", "n = 2"]


class Registry:
    """A service that knows how often it was made in this process."""

    made = 0

    def __init__(self, prefix: str) -> None:
        type(self).made += 1
        self._prefix = prefix

    def process(self, record: int) -> tuple[str, int]:
        return (f"{self._prefix}{record}", self.made)


class Asks(MapFunction[Any, Any]):
    """Asks the service."""

    def map(self, record: Any) -> Any:
        return self.call_service("registry", record)


def test_a_service_is_made_once_in_each_actor(remote: Callable[..., Environment]) -> None:
    """All functions of an actor call the same object, made there at the first call."""
    env = remote()
    env.register_service("registry", Registry, prefix="n")
    got = env.from_collection(range(20)).map(Asks).collect()
    assert got == [(f"n{i}", 1) for i in range(20)]


@pytest.mark.usefixtures("cluster")
def test_execution_mode_chooses_ray() -> None:
    """A LocalStreamEnvironment whose config says distributed runs in another process."""
    with LocalStreamEnvironment("words", {"execution_mode": "distributed"}) as env:
        [pid] = env.from_collection([0]).map(lambda _: os.getpid()).collect()
    assert pid != os.getpid()
