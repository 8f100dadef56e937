"""Loops by ``from_future`` and ``iterate``: they end by themselves, with every record out."""

from __future__ import annotations

from typing import Any

import pytest

from sage.kernel import DataStream, LocalEnvironment
from sage.kernel.errors import GraphError


async def halved(n: int) -> int:
    return n // 2


def raised_or_aside(n: int, ctx: Any) -> list[int] | None:
    if n % 2 == 0:
        return [n + 3]
    ctx.output("odd", n + 1)
    return None


def by_side_output(s: DataStream[int]) -> DataStream[int]:
    even = s.process(raised_or_aside)
    return even.union(even.side_output("odd"))


def by_route(s: DataStream[int]) -> DataStream[int]:
    ways = s.route({"even": lambda n: n % 2 == 0, "odd": lambda n: True})
    return ways["even"].map(lambda n: n + 3).union(ways["odd"].map(lambda n: n + 1))


@pytest.mark.parametrize("parallelism", [1, 3])
@pytest.mark.parametrize("how", ["map", "map_async"])
@pytest.mark.parametrize("numbers", [[], [0], range(300)], ids=["none", "one", "many"])
def test_a_promised_stream_closes_a_loop(numbers: Any, how: str, parallelism: int) -> None:
    """The job ends when the source has ended and nothing goes round any more; nothing is lost."""
    env = LocalEnvironment()
    again = env.from_future("again")
    both = env.from_collection(numbers).union(again)
    if how == "map":
        smaller = both.map(lambda n: n // 2, parallelism=parallelism)
    else:
        smaller = both.map_async(halved, concurrency=4, parallelism=parallelism)
    smaller.filter(lambda n: n > 4).fill_future(again)
    left = smaller.filter(lambda n: n <= 4).collect()

    def until_small(n: int) -> int:
        return n // 2 if n // 2 <= 4 else until_small(n // 2)

    assert sorted(left) == sorted(until_small(n) for n in numbers)


@pytest.mark.parametrize("body", [by_route, by_side_output])
def test_rounds_are_counted_through_branches(body: Any) -> None:
    """What goes through a route or a side output keeps its round, and so comes out in time."""
    numbers = LocalEnvironment().from_collection(range(5))

    def step(n: int) -> int:
        return n + 3 if n % 2 == 0 else n + 1

    rounds = numbers.iterate(body, max_iterations=2)
    assert sorted(rounds.collect()) == sorted(step(step(n)) for n in range(5))


def test_promises_that_cannot_be_kept() -> None:
    """A future that stays unfilled, is filled twice, or closes no loop is refused by name."""
    env = LocalEnvironment()
    again, source = env.from_future("again"), env.from_collection([1])
    with pytest.raises(GraphError, match="no loop"):
        source.fill_future(again)
    with pytest.raises(GraphError, match="not made by from_future"):
        source.map(abs).fill_future(source)
    looped = source.union(again).filter(lambda n: n > 1)
    with pytest.raises(GraphError, match="never filled"):
        looped.collect()
    looped.fill_future(again)
    with pytest.raises(GraphError, match="filled already"):
        looped.fill_future(again)
    assert looped.collect() == []


def test_a_promise_is_kept_by_a_union() -> None:
    """A union that only the loop reads is read."""
    env = LocalEnvironment()
    again = env.from_future("again")
    halved = env.from_collection([40, 7]).union(again).map(lambda n: n // 2)
    small = halved.filter(lambda n: n == 4).map(lambda n: n)
    halved.filter(lambda n: n > 4).union(small).fill_future(again)
    assert sorted(halved.filter(lambda n: n < 4).collect()) == [2, 3]
