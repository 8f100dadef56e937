"""Repeated queries on an event loop: kept, shared, and worked out anew before they grow old.

What `QueryCache` does, for asynchronous functions called with arguments, and refresh-ahead: an
answer that is asked for near the end of its time is given at once, and worked out again behind the
caller's back, so that a query that is asked all the time never waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, NamedTuple, TypeVar

from sage.common.config import Annotated, Meta, configurable
from sage.libs.cache.lru_store import LruStore
from sage.libs.cache.query_cache import QueryCache

__all__ = ["QueryOptimizer"]

V = TypeVar("V")

# An answer is worked out anew when it is asked for in the last part of its time.
_REFRESHED_AFTER = 0.8


class _Dated(NamedTuple):
    answer: Any
    computed_at: float


@configurable
class QueryOptimizer:
    """Answers repeated and simultaneous queries once.

    Args:
        cache_ttl: Seconds after which an answer is not given any more.
        max_entries: How many answers are kept; the least recently used makes room.
        enable_prefetch: Whether an answer in the last fifth of its time is worked out again in the
            background when it is asked for. If that fails, the old one stays until its end.
        clock: Tells the time in seconds.

    Example:
        >>> async def search(query):
        ...     return query.upper()
        >>> async def main():
        ...     optimizer = QueryOptimizer(cache_ttl=300)
        ...     for _ in range(4):
        ...         found = await optimizer.execute_query("key", search, "why?")
        ...     return found, optimizer.get_stats()["cache_hit_rate"]
        >>> asyncio.run(main())
        ('WHY?', 0.75)
    """

    def __init__(
        self,
        *,
        cache_ttl: Annotated[float, Meta(gt=0)] = 300.0,
        max_entries: Annotated[int, Meta(ge=1)] = 1_000,
        enable_prefetch: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = LruStore(max_entries=max_entries, ttl_s=cache_ttl, clock=clock)
        self._cache = QueryCache.over(self._store)
        self._clock = clock
        self._fresh_s = cache_ttl * _REFRESHED_AFTER if enable_prefetch else float("inf")
        self._refreshing: dict[Hashable, asyncio.Task[None]] = {}
        self._prefetches = self._prefetch_errors = 0

    async def execute_query(
        self, key: Hashable, query_function: Callable[..., Awaitable[V]], *args: Any, **kwargs: Any
    ) -> V:
        """Return what is kept for a key, or what ``query_function(*args, **kwargs)`` gives.

        Calls with an equal key that overlap share one call of their function.

        Raises:
            Exception: what the function raises; it reaches all who share the call.
        """

        async def compute() -> _Dated:
            # Dated at its start: what changes meanwhile may be missing in it.
            return _Dated(computed_at=self._clock(), answer=await query_function(*args, **kwargs))

        dated = await self._cache.aget(key, compute)
        if self._clock() - dated.computed_at >= self._fresh_s and key not in self._refreshing:
            task = asyncio.create_task(self._refresh(key, compute))
            self._refreshing[key] = task
            task.add_done_callback(lambda _: self._refreshing.pop(key, None))
        answer: V = dated.answer
        return answer

    def invalidate_cache(self, key: Hashable | None = None) -> None:
        """Forget one answer, or all; those that are being worked out are not kept."""
        if key is None:
            self._cache.invalidate_all()
        else:
            self._cache.invalidate(key)

    def get_stats(self) -> dict[str, float]:
        """Return counts since it was made.

        ``cache_hit_rate`` (0 to 1), ``cache_hits``, ``cache_misses``, ``dedup_hits``: queries
        that shared the call of an equal one, ``evicted``, ``prefetches`` and ``prefetch_errors``:
        answers that were worked out in the background, and how many of these failed.
        """
        counts = self._cache.statistics()
        return {
            "cache_hit_rate": counts.hit_rate,
            "cache_hits": counts.hits,
            "cache_misses": counts.misses,
            "dedup_hits": counts.deduplicated,
            "evicted": counts.evicted,
            "prefetches": self._prefetches,
            "prefetch_errors": self._prefetch_errors,
        }

    async def _refresh(self, key: Hashable, compute: Callable[[], Awaitable[_Dated]]) -> None:
        self._prefetches += 1
        ticket = self._store.ticket()
        try:
            dated = await compute()
        except Exception:
            # Nobody waits for it; who asks after the end of the old answer sees the error.
            self._prefetch_errors += 1
        else:
            self._store.keep(key, dated, ticket)
