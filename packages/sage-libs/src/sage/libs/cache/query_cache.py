"""Equal queries are answered once: from what is kept, or by one computation that all wait for.

Invariant: each call of `get` or `aget` is counted once, as a hit, a miss or deduplicated; of equal
calls that overlap only one computes at a time; an error is given to all of them and never kept.

The logic is written once, as a generator of steps (`_answered`). `get` takes the steps in the
calling thread, `aget` on the event loop.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Generator, Hashable
from typing import Any, NamedTuple, Self, TypeVar, cast

from sage.common.config import Annotated, Meta, configurable
from sage.libs.cache.lru_store import LruStore
from sage.libs.cache.query_key import query_key
from sage.libs.cache.single_flight import ABANDONED, Flight, Flights
from sage.libs.cache.statistics import CacheStatistics
from sage.libs.cache.store import CacheStore, Miss

__all__ = ["QueryCache"]

V = TypeVar("V")
F = TypeVar("F", bound=Callable[..., Any])


class _Ask(NamedTuple):
    """A step: call the store."""

    call: Callable[[], Any]


class _Compute:
    """A step: call what the caller gave."""


class _Wait(NamedTuple):
    """A step: wait for the outcome of somebody else's flight."""

    flight: Flight


_Steps = Generator[_Ask | _Compute | _Wait, Any, Any]
_COMPUTE = _Compute()


@configurable
class QueryCache:
    """Keeps answers, and lets equal queries that come at the same time share one computation.

    Safe to use from threads and from event loops, also at once. In this process the value that is
    kept is the object itself: do not change what you get. Values in Redis are copies, of the
    declared type; deduplication is within a process there.

    If whoever computes is cancelled or interrupted, one of those who wait for it computes in its
    place. What was being computed while something was invalidated is given to those who asked
    before, and not kept.

    A copy is the same cache; a pickle is one like it in the other process.

    Args:
        max_entries: How many answers are kept in this process; the least recently used makes room.
            In Redis the server's ``maxmemory`` is the bound.
        ttl_s: Seconds after which an answer is worked out again; None keeps it for good.
        url: Keep the answers in this Redis server: ``redis://host:port/database``.
        name: Tells the caches of one Redis server apart.
        value_type: What the answers in Redis are, such as ``Retrieved``; None for plain values.

    Raises:
        MissingExtraError: with ``url``, if ``isage-libs[redis]`` is not installed.
        UnreachableError: with ``url``, if the server cannot be reached.

    Example:
        >>> cache = QueryCache(max_entries=100, ttl_s=60)
        >>> cache.get("why?", lambda: "because"), cache.get("why?", lambda: "not called")
        ('because', 'because')
        >>> cache.statistics().hit_rate
        0.5
    """

    def __init__(
        self,
        *,
        max_entries: Annotated[int, Meta(ge=1)] = 1_000,
        ttl_s: Annotated[float, Meta(gt=0)] | None = 300.0,
        url: str | None = None,
        name: Annotated[str, Meta(min_length=1)] = "queries",
        value_type: Any = None,
    ) -> None:
        store: CacheStore
        if url is None:
            store = LruStore(max_entries=max_entries, ttl_s=ttl_s)
        else:
            from sage.libs.cache.redis_store import RedisStore

            store = RedisStore(url, name=name, ttl_s=ttl_s, value_type=value_type)
        self._start(store, type(self), (max_entries, ttl_s, url, name, value_type))

    @classmethod
    def over(cls, store: CacheStore) -> Self:
        """Return a cache that keeps its answers in a store of your own."""
        cache = cls.__new__(cls)
        cache._start(store, cls.over, (store,))
        return cache

    def _start(
        self, store: CacheStore, remake: Callable[..., QueryCache], given: tuple[Any, ...]
    ) -> None:
        self._store = store
        self._remade = remake, given
        self._flights = Flights()
        self._lock = threading.Lock()
        self._hits = self._misses = self._deduplicated = 0

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        # An operator is copied once for each subtask; they are to share the answers.
        return self

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return how another process makes its own: empty, or at the same Redis server."""
        return self._remade

    def get(self, key: Hashable, compute: Callable[[], V]) -> V:
        """Return what is kept for a key, or what ``compute`` returns.

        Args:
            key: What the answer depends on; see `query_key`.
            compute: Works the answer out. It must not ask for the same key again.

        Raises:
            Exception: what ``compute`` raises, or what it raised for an equal query under way.
            RuntimeError: on an event loop, if the answer is being computed on that very loop.
            StorageError: if Redis fails.
        """
        found = self._at_hand(key)
        if not isinstance(found, Miss):
            return cast(V, found)

        def take(step: _Ask | _Compute | _Wait) -> Any:
            if isinstance(step, _Ask):
                return step.call()
            if isinstance(step, _Wait):
                return step.flight.waited()
            return compute()

        steps = self._answered(key)
        try:
            step = next(steps)
            while True:
                try:
                    result = take(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as answered:
            return cast(V, answered.value)

    async def aget(self, key: Hashable, compute: Callable[[], Awaitable[V]]) -> V:
        """Return what is kept for a key, or what ``compute`` returns; as `get`, on an event loop.

        A look-up in Redis happens on a thread, so that the loop goes on.
        """
        found = self._at_hand(key)
        if not isinstance(found, Miss):
            return cast(V, found)

        async def take(step: _Ask | _Compute | _Wait) -> Any:
            if isinstance(step, _Ask):
                return await asyncio.to_thread(step.call) if self._store.waits else step.call()
            if isinstance(step, _Wait):
                return await step.flight.awaited()
            return await compute()

        steps = self._answered(key)
        try:
            step = next(steps)
            while True:
                try:
                    result = await take(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as answered:
            return cast(V, answered.value)

    def cached(self, function: F) -> F:
        """Return ``function`` (plain or ``async``) with its results kept, by all its arguments.

        Example:
            >>> cache = QueryCache()
            >>> @cache.cached
            ... def search(question, *, top_k=5):
            ...     print("searching")
            ...     return [question] * top_k
            >>> len(search("why?", top_k=2)), len(search("why?", top_k=2))
            searching
            (2, 2)
        """
        name = f"{function.__module__}.{function.__qualname__}"

        @functools.wraps(function)
        def get(*args: Any, **kwargs: Any) -> Any:
            return self.get(query_key(name, *args, **kwargs), lambda: function(*args, **kwargs))

        @functools.wraps(function)
        async def aget(*args: Any, **kwargs: Any) -> Any:
            key = query_key(name, *args, **kwargs)
            return await self.aget(key, lambda: function(*args, **kwargs))

        return cast(F, aget if inspect.iscoroutinefunction(function) else get)

    def invalidate(self, key: Hashable) -> None:
        """Forget one answer; also one that is being worked out is not kept."""
        self._store.drop(key)
        self._flights.detach(key)

    def invalidate_all(self) -> None:
        """Forget all answers; also those that are being worked out are not kept."""
        self._store.clear()
        self._flights.detach_all()

    def statistics(self) -> CacheStatistics:
        """Return how often the cache helped so far."""
        with self._lock:
            evicted = getattr(self._store, "evicted", 0)
            return CacheStatistics(self._hits, self._misses, self._deduplicated, evicted)

    def close(self) -> None:
        """Close the connection to Redis, if there is one."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _at_hand(self, key: Hashable) -> Any | Miss:
        """Return the value if that takes no waiting: the quick way, without a flight."""
        if self._store.waits:
            return Miss(None)
        found = self._store.lookup(key)
        if not isinstance(found, Miss):
            with self._lock:
                self._hits += 1
        return found

    def _answered(self, key: Hashable) -> _Steps:
        while True:
            flight, leads = self._flights.join(key)
            if leads:
                return (yield from self._led(flight))
            try:
                outcome = yield _Wait(flight)
            except Exception:
                self._count_deduplicated()
                raise
            if outcome is not ABANDONED:
                self._count_deduplicated()
                return outcome

    def _led(self, flight: Flight) -> _Steps:
        token = flight.lead()
        try:
            # Once more: an equal flight may have landed between the look at hand and this one.
            value = yield _Ask(lambda: self._store.lookup(flight.key))
            if isinstance(value, Miss):
                value = yield from self._computed(flight, value)
            else:
                with self._lock:
                    self._hits += 1
        except Exception as error:
            self._flights.leave(flight)
            flight.outcome.set_exception(error)
            raise
        except BaseException:  # cancelled, interrupted: no outcome of the query
            self._flights.leave(flight)
            flight.outcome.set_result(ABANDONED)
            raise
        finally:
            flight.landed(token)
        self._flights.leave(flight)
        flight.outcome.set_result(value)
        return value

    def _count_deduplicated(self) -> None:
        with self._lock:
            self._deduplicated += 1

    def _computed(self, flight: Flight, miss: Miss) -> _Steps:
        with self._lock:
            self._misses += 1
        value = yield _COMPUTE
        yield _Ask(lambda: self._store.keep(flight.key, value, miss.ticket))
        return value
