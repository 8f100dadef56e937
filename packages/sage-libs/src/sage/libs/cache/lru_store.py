"""Values kept in this process: the least recently used go first, and none outlives its time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from sage.libs.cache.store import Miss

__all__ = ["LruStore"]


class LruStore:
    """Keeps at most so many values, each for at most so long. Safe to use from many threads.

    A value is the object that was given, not a copy: whoever looks it up must not change it.

    Args:
        max_entries: How many values are kept; the least recently used makes room.
        ttl_s: Seconds after which a value is not found any more; None keeps it for good.
        clock: Tells the time in seconds.

    Attributes:
        evicted: How many values had to make room.

    Example:
        >>> store = LruStore(max_entries=2)
        >>> for key in "abc":
        ...     store.put(key, key.upper())
        >>> store.lookup("c"), type(store.lookup("a")).__name__, store.evicted
        ('C', 'Miss', 1)
    """

    waits = False

    def __init__(
        self,
        *,
        max_entries: int,
        ttl_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_entries = max_entries
        self._ttl_s = float("inf") if ttl_s is None else ttl_s
        self._clock = clock
        self._entries: OrderedDict[Hashable, tuple[Any, float]] = OrderedDict()
        self._lock = threading.Lock()
        # The ticket: any drop makes all of them worthless. Rather a value is not kept that could
        # have been than the other way round.
        self._drops = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._entries)

    def lookup(self, key: Hashable) -> Any | Miss:
        """Return the value of a key, which is then the last to make room; or a `Miss`."""
        now = self._clock()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return Miss(self._drops)
            value, expires = entry
            if now >= expires:
                del self._entries[key]
                return Miss(self._drops)
            self._entries.move_to_end(key)
            return value

    def ticket(self) -> Any:
        """Return a ticket for `keep` to somebody who computes without having looked."""
        return self._drops

    def keep(self, key: Hashable, value: Any, ticket: Any) -> None:
        """Keep a value, unless something was dropped since the look-up that gave the ticket."""
        expires = self._clock() + self._ttl_s
        with self._lock:
            if ticket == self._drops:
                self._put(key, value, expires)

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a value that no invalidation can make wrong."""
        expires = self._clock() + self._ttl_s
        with self._lock:
            self._put(key, value, expires)

    def _put(self, key: Hashable, value: Any, expires: float) -> None:
        self._entries[key] = value, expires
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
            self.evicted += 1

    def drop(self, key: Hashable) -> None:
        """Forget one value."""
        with self._lock:
            self._drops += 1
            self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget all values."""
        with self._lock:
            self._drops += 1
            self._entries.clear()

    def close(self) -> None:
        """Nothing is open."""
