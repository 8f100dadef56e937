"""Equal queries are answered once, in threads and on event loops, in process and in Redis."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sage.common.errors import ConfigError, DataError, StorageError, UnreachableError
from sage.common.records import Passage, Query, Retrieved
from sage.libs.cache import CacheStatistics, LruStore, QueryCache, query_key

WAIT_S = 30.0


class Computation:
    """Counts its calls; waits in each until it is released."""

    def __init__(self, result: Any = "answer") -> None:
        self.result = result
        self.calls = 0
        self.entered = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> Any:
        self.calls += 1
        self.entered.set()
        assert self.released.wait(WAIT_S)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    async def on_loop(self) -> Any:
        self.calls += 1
        self.entered.set()
        while not self.released.is_set():
            await asyncio.sleep(0)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


@pytest.fixture(params=["in process", "redis"])
def cache(request: pytest.FixtureRequest) -> Iterator[QueryCache]:
    """An empty cache of each kind."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    with QueryCache(url=url, ttl_s=60) as made:
        yield made


def never() -> Any:
    pytest.fail("what is kept was computed again")


async def anever() -> Any:
    never()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what other threads are about to do."""
    tick = threading.Event()
    for _ in range(int(WAIT_S / 0.001)):
        if condition():
            return
        tick.wait(0.001)
    pytest.fail("it did not come to that")


def waiting(cache: QueryCache, key: str, count: int) -> bool:
    """Whether so many wait for the computation of a key."""
    return cache._flights.followers(key) == count


@pytest.mark.parametrize("value", [None, 0, "text", b"bytes", [1, {"a": [True, 1.5, None]}]])
def test_what_was_answered_is_kept(cache: QueryCache, value: Any) -> None:
    """The second time nothing is computed, and the value has its type; None is a value."""
    assert cache.get("key", lambda: value) == value
    kept = cache.get("key", never)
    assert kept == value
    assert type(kept) is type(value)
    assert cache.get("other key", lambda: "other") == "other"
    assert cache.statistics() == CacheStatistics(hits=1, misses=2)


def test_threads_and_loops_share_what_is_kept(cache: QueryCache) -> None:
    """What get() has put in, aget() finds, and the other way round."""

    async def asynchronous() -> str:
        assert await cache.aget("a", anever) == "by thread"

        async def compute() -> str:
            return "on loop"

        return await cache.aget("b", compute)

    cache.get("a", lambda: "by thread")
    assert asyncio.run(asynchronous()) == "on loop"
    assert cache.get("b", never) == "on loop"


def test_equal_queries_of_threads_are_computed_once(cache: QueryCache) -> None:
    """While one computes, the others wait for its answer; other keys are not held up."""
    computation = Computation()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(cache.get, "key", computation) for _ in range(8)]
        assert computation.entered.wait(WAIT_S)
        assert cache.get("other", lambda: 1) == 1
        until(lambda: waiting(cache, "key", 7))
        computation.released.set()
        assert [answer.result(WAIT_S) for answer in answers] == ["answer"] * 8
    assert computation.calls == 1
    assert cache.statistics() == CacheStatistics(misses=2, deduplicated=7)


def test_equal_queries_on_a_loop_are_computed_once(cache: QueryCache) -> None:
    """The same for tasks, and for threads that ask while a task computes."""
    computation = Computation()

    async def run() -> list[str]:
        tasks = [asyncio.create_task(cache.aget("key", computation.on_loop)) for _ in range(5)]
        while not computation.entered.is_set():
            await asyncio.sleep(0)
        thread = asyncio.create_task(asyncio.to_thread(cache.get, "key", never))
        while not waiting(cache, "key", 5):
            await asyncio.sleep(0)
        computation.released.set()
        return await asyncio.gather(*tasks, thread)

    assert asyncio.run(run()) == ["answer"] * 6
    assert computation.calls == 1
    assert cache.statistics().deduplicated == 5


def test_an_error_reaches_all_who_wait_and_is_not_kept(cache: QueryCache) -> None:
    """Everybody gets the error itself; who asks later computes again."""
    failing = Computation(StorageError("the index is gone"))
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(cache.get, "key", failing) for _ in range(4)]
        assert failing.entered.wait(WAIT_S)
        until(lambda: waiting(cache, "key", 3))
        failing.released.set()
        for answer in answers:
            with pytest.raises(StorageError, match="the index is gone"):
                answer.result(WAIT_S)
    assert failing.calls == 1
    assert cache.get("key", lambda: "mended") == "mended"
    assert cache.statistics() == CacheStatistics(misses=2, deduplicated=3)


def test_a_cancelled_leader_takes_nobody_along(cache: QueryCache) -> None:
    """If the task that computes is cancelled, one that waits computes, and all others get that."""
    doomed, second = Computation("never seen"), Computation("second")

    async def run() -> list[str]:
        leader = asyncio.create_task(cache.aget("key", doomed.on_loop))
        while not doomed.entered.is_set():
            await asyncio.sleep(0)
        followers = [asyncio.create_task(cache.aget("key", second.on_loop)) for _ in range(3)]
        while not waiting(cache, "key", 3):
            await asyncio.sleep(0)
        leader.cancel()
        second.released.set()
        with pytest.raises(asyncio.CancelledError):
            await leader
        return await asyncio.gather(*followers)

    assert asyncio.run(run()) == ["second"] * 3
    assert (doomed.calls, second.calls) == (1, 1)
    assert cache.get("key", never) == "second"


def test_an_interrupted_leader_takes_nobody_along(cache: QueryCache) -> None:
    """Ctrl-C in the thread that computes is its own affair; another thread computes."""
    interrupted = Computation(KeyboardInterrupt())
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(cache.get, "key", interrupted)
        assert interrupted.entered.wait(WAIT_S)
        follower = pool.submit(cache.get, "key", lambda: "mine")
        until(lambda: waiting(cache, "key", 1))
        interrupted.released.set()
        assert follower.result(WAIT_S) == "mine"
        with pytest.raises(KeyboardInterrupt):
            leader.result(WAIT_S)


def test_a_follower_that_goes_away_changes_nothing(cache: QueryCache) -> None:
    """The leader and the other followers get their answer."""
    computation = Computation()

    async def run() -> list[str]:
        tasks = [asyncio.create_task(cache.aget("key", computation.on_loop)) for _ in range(3)]
        while not (computation.entered.is_set() and waiting(cache, "key", 2)):
            await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        computation.released.set()
        return await asyncio.gather(tasks[0], tasks[2])

    assert asyncio.run(run()) == ["answer"] * 2


def test_a_wait_that_could_never_end_is_refused(cache: QueryCache) -> None:
    """Who computes may not ask for the same key, nor may a loop be blocked that computes it."""
    with pytest.raises(RuntimeError, match="asks the cache for it"):
        cache.get("key", lambda: cache.get("key", never))

    async def run() -> None:
        async def asks_itself() -> Any:
            return await asyncio.create_task(cache.aget("key", anever))

        with pytest.raises(RuntimeError, match="asks the cache for it"):
            await cache.aget("key", asks_itself)
        computation = Computation()
        leader = asyncio.create_task(cache.aget("key", computation.on_loop))
        while not computation.entered.is_set():
            await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"use aget\(\) there"):
            cache.get("key", never)
        computation.released.set()
        await leader

    asyncio.run(run())


@pytest.mark.parametrize("whole", [False, True], ids=["by key", "whole"])
def test_invalidation_forgets_also_what_is_under_way(cache: QueryCache, whole: bool) -> None:
    """After it a new answer is computed, and an older computation that ends later is not kept."""
    old = Computation("old")

    def invalidate() -> None:
        if whole:
            cache.invalidate_all()
        else:
            cache.invalidate("key")

    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(cache.get, "key", old)
        assert old.entered.wait(WAIT_S)
        invalidate()
        assert cache.get("key", lambda: "new") == "new"
        old.released.set()
        assert early.result(WAIT_S) == "old"  # it was asked before
    assert cache.get("key", never) == "new"
    invalidate()
    assert cache.get("key", lambda: "newer") == "newer"


def test_only_the_named_key_is_forgotten(cache: QueryCache) -> None:
    """Invalidation of one key leaves the others, and unknown keys are no error."""
    cache.get("a", lambda: 1)
    cache.get("b", lambda: 2)
    cache.invalidate("a")
    cache.invalidate("unknown")
    assert cache.get("b", never) == 2
    assert cache.get("a", lambda: 3) == 3


def test_the_least_recently_used_makes_room() -> None:
    """What was looked up lately stays; what had to go is counted."""
    cache = QueryCache(max_entries=2)
    for key in ("a", "b", "a", "c"):
        cache.get(key, lambda key=key: key.upper())
    assert cache.get("a", never) == "A"
    assert cache.get("b", lambda: "again") == "again"
    assert cache.statistics().evicted == 2


def test_an_answer_is_not_older_than_its_time_to_live() -> None:
    """At the end of its time it is worked out again, not before; by a clock of the test."""
    now = 100.0
    cache = QueryCache.over(LruStore(max_entries=9, ttl_s=5, clock=lambda: now))
    cache.get("key", lambda: "first")
    now = 104.9
    assert cache.get("key", never) == "first"
    now = 105.0
    assert cache.get("key", lambda: "second") == "second"


def test_redis_is_told_the_time_to_live(redis_url: str, redis_client: Any) -> None:
    """The server forgets by itself; without a time to live it does not."""
    with QueryCache(url=redis_url, ttl_s=60, name="timed") as cache:
        cache.get("key", lambda: 1)
    with QueryCache(url=redis_url, ttl_s=None, name="kept") as cache:
        cache.get("key", lambda: 1)
    (timed,) = redis_client.keys("sage:cache:timed:value:*")
    (kept,) = redis_client.keys("sage:cache:kept:value:*")
    assert 0 < redis_client.pttl(timed) <= 60_000
    assert redis_client.pttl(kept) == -1


def test_processes_share_what_redis_keeps(redis_url: str) -> None:
    """Two caches of one name are one, invalidation included; another name is another cache."""
    with (
        QueryCache(url=redis_url) as one,
        QueryCache(url=redis_url) as two,
        QueryCache(url=redis_url, name="other") as other,
    ):
        one.get("key", lambda: "shared")
        assert two.get("key", never) == "shared"
        assert other.get("key", lambda: "own") == "own"

        def is_overtaken() -> str:
            two.invalidate("unrelated")
            return "computed while the data changed"

        one.get("late", is_overtaken)
        assert two.get("late", lambda: "fresh") == "fresh"
        two.invalidate_all()
        assert one.get("key", lambda: "anew") == "anew"
        assert other.get("key", never) == "own"


def test_records_come_back_from_redis_as_they_were(redis_url: str) -> None:
    """A declared type is restored exactly; long keys and keys of plain values work."""
    passage = Passage("Water boils.", doc_id="a", score=0.5, metadata={"line": 3})
    found = Retrieved(Query("when?"), (passage,)).with_step("retrieve", 0.1, found=1)
    with QueryCache(url=redis_url, value_type=Retrieved) as cache:
        for key in (("when?", 5), "long " * 100):
            cache.get(key, lambda: found)
            back = cache.get(key, never)
            assert type(back) is Retrieved
            assert back == found
            assert back[0]["metadata"] == {"line": 3}


@pytest.mark.parametrize(
    "value", [(1, 2), {1, 2}, Passage("text"), {"a": (1,)}, [object()], 2**80], ids=repr
)
def test_what_would_not_come_back_as_it_is_is_refused(redis_url: str, value: Any) -> None:
    """A tuple never becomes a list behind the caller's back: the error names the type."""
    with QueryCache(url=redis_url) as cache, pytest.raises(DataError, match="a value of type"):
        cache.get("key", lambda: value)


def test_damage_in_redis_is_an_error(redis_url: str, redis_client: Any) -> None:
    """What somebody else has written there is never taken for an answer of the declared type."""
    with QueryCache(url=redis_url, value_type=list[int]) as cache:
        cache.get("key", lambda: [1])
        (key,) = redis_client.keys("sage:cache:queries:value:*")
        redis_client.set(key, redis_client.get(key)[:-1] + b"\xa1x")
        with pytest.raises(DataError, match="kept bytes cannot be read"):
            cache.get("key", never)


def test_a_redis_that_is_not_there_is_named() -> None:
    """Where no server runs, the cache cannot be made, and the error says where it should be."""
    with pytest.raises(UnreachableError, match="unix:///nowhere/socket"):
        QueryCache(url="unix:///nowhere/socket")


def test_a_copy_is_the_same_cache_and_a_pickle_is_one_like_it(redis_url: str) -> None:
    """Subtasks of one process share the answers; in Redis other processes do too."""
    cache = QueryCache(ttl_s=9)
    cache.get("key", lambda: 1)
    assert copy.deepcopy([cache])[0].get("key", never) == 1
    assert copy.copy(cache) is cache
    assert pickle.loads(pickle.dumps(cache)).get("key", lambda: 2) == 2
    with QueryCache(url=redis_url) as shared:
        shared.get("key", lambda: 1)
        with pickle.loads(pickle.dumps(shared)) as elsewhere:
            assert elsewhere.get("key", never) == 1


def test_functions_are_cached_by_all_their_arguments() -> None:
    """Each combination of arguments is computed once, plain or async; equal names do not mix."""
    cache, calls = QueryCache(), []

    @cache.cached
    def search(question: str, *, top_k: int = 5) -> list[str]:
        calls.append((question, top_k))
        return [question] * top_k

    @cache.cached
    async def asearch(question: str, *, top_k: int = 5) -> list[str]:
        return search(question, top_k=top_k)

    assert search("why?", top_k=2) == search("why?", top_k=2) == ["why?"] * 2
    assert len(search("why?", top_k=3)) == 3
    assert asyncio.run(asearch("how?", top_k=1)) == asyncio.run(asearch("how?", top_k=1))
    assert calls == [("why?", 2), ("why?", 3), ("how?", 1)]


def test_keys_tell_all_values_apart() -> None:
    """1, 1.0, True and "1" are four questions; the order of a mapping is none."""
    assert len({query_key(value) for value in (1, 1.0, True, "1", None, [1], {"a": 1})}) == 7
    assert query_key("a", b=1) != query_key("a", c=1) != query_key("a", {"c": 1})
    with pytest.raises(DataError, match="cannot make a key"):
        query_key(object())


def test_options_are_checked() -> None:
    """A cache of no entries or no time is refused by name."""
    with pytest.raises(ConfigError, match=r"\$\.max_entries"):
        QueryCache(max_entries=0)
    with pytest.raises(ConfigError, match=r"\$\.ttl_s"):
        QueryCache(ttl_s=0)


def test_a_computation_whose_loop_was_closed_is_made_again() -> None:
    """It will never end, and is not waited for."""
    cache = QueryCache()
    loop = asyncio.new_event_loop()

    async def never() -> None:
        await loop.create_future()

    left = loop.create_task(cache.aget("why?", never))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    found: list[Any] = []
    asking = threading.Thread(
        target=lambda: found.append(cache.get("why?", lambda: "because")), daemon=True
    )
    asking.start()
    asking.join(WAIT_S / 10)
    assert found == ["because"]
    left._log_destroy_pending = False  # type: ignore[attr-defined]
