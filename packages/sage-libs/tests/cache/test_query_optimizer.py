"""Repeated queries are answered once, and worked out anew before their time is over."""

from __future__ import annotations

import asyncio

import pytest

from sage.common.errors import ConfigError, StorageError
from sage.libs.cache import QueryOptimizer


class Search:
    """Counts its calls, and fails if told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.fails = False

    async def __call__(self, query: str, *, top_k: int = 1) -> list[str]:
        self.calls += 1
        await asyncio.sleep(0)
        if self.fails:
            raise StorageError("the index is gone")
        return [f"{query} {self.calls}"] * top_k


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def settled(optimizer: QueryOptimizer) -> None:
    """Let what runs in the background end."""
    while optimizer._refreshing:
        await asyncio.sleep(0)


def test_simultaneous_and_repeated_queries_are_one_call() -> None:
    """Five at once are one call, a sixth later is none, and the statistics tell them apart."""
    search = Search()

    async def run() -> dict[str, float]:
        optimizer = QueryOptimizer(cache_ttl=300, enable_prefetch=True)
        queries = [optimizer.execute_query("key", search, "q", top_k=2) for _ in range(5)]
        assert await asyncio.gather(*queries) == [["q 1"] * 2] * 5
        assert await optimizer.execute_query("key", search, "q") == ["q 1"] * 2
        optimizer.invalidate_cache("key")
        assert await optimizer.execute_query("key", search, "q") == ["q 2"]
        optimizer.invalidate_cache()
        assert await optimizer.execute_query("key", search, "q") == ["q 3"]
        return optimizer.get_stats()

    stats = asyncio.run(run())
    assert (stats["cache_hits"], stats["cache_misses"], stats["dedup_hits"]) == (1, 3, 4)
    assert stats["cache_hit_rate"] == 1 / 8
    assert search.calls == 3


def test_an_answer_near_its_end_is_worked_out_in_the_background() -> None:
    """The old answer is given at once, the next caller gets the new one; one call for many."""
    search, clock = Search(), Clock()

    async def run() -> None:
        optimizer = QueryOptimizer(cache_ttl=10, enable_prefetch=True, clock=clock)
        await optimizer.execute_query("key", search, "q")
        clock.now = 7.9
        await optimizer.execute_query("key", search, "q")
        assert search.calls == 1
        clock.now = 8.0
        queries = [optimizer.execute_query("key", search, "q") for _ in range(3)]
        assert await asyncio.gather(*queries) == [["q 1"]] * 3
        await settled(optimizer)
        clock.now = 15.0  # the first answer would be over
        assert await optimizer.execute_query("key", search, "q") == ["q 2"]
        assert optimizer.get_stats()["prefetches"] == 1

    asyncio.run(run())
    assert search.calls == 2


def test_a_refresh_that_fails_or_is_overtaken_changes_nothing() -> None:
    """The old answer stays until its end; what was invalidated meanwhile does not come back."""
    search, clock = Search(), Clock()

    async def run() -> None:
        optimizer = QueryOptimizer(cache_ttl=10, enable_prefetch=True, clock=clock)
        await optimizer.execute_query("key", search, "q")
        clock.now, search.fails = 9.0, True
        assert await optimizer.execute_query("key", search, "q") == ["q 1"]
        await settled(optimizer)
        assert await optimizer.execute_query("key", search, "q") == ["q 1"]
        await settled(optimizer)
        assert optimizer.get_stats()["prefetch_errors"] == 2
        search.fails = False
        await optimizer.execute_query("key", search, "q")
        await asyncio.sleep(0)  # now it is being worked out
        optimizer.invalidate_cache("key")
        await settled(optimizer)
        calls = search.calls
        assert await optimizer.execute_query("key", search, "q") == [f"q {calls + 1}"]
        clock.now, search.fails = 30.0, True
        with pytest.raises(StorageError):
            await optimizer.execute_query("key", search, "q")

    asyncio.run(run())


def test_without_prefetching_an_answer_lives_to_its_end() -> None:
    """Nothing is done in the background unless it was asked for; options are checked."""
    search, clock = Search(), Clock()

    async def run() -> None:
        optimizer = QueryOptimizer(cache_ttl=10, clock=clock)
        await optimizer.execute_query("key", search, "q")
        clock.now = 9.9
        await optimizer.execute_query("key", search, "q")
        assert not optimizer._refreshing

    asyncio.run(run())
    assert search.calls == 1
    with pytest.raises(ConfigError, match=r"\$\.cache_ttl"):
        QueryOptimizer(cache_ttl=0)
