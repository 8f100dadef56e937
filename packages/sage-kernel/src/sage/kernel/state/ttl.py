"""State that expires: each value is stored beside the time at which it was last touched.

An expired value is as good as gone from the moment it expires: no handle returns it. It is taken
out of its table a little later, by `KeyedState.sweep`, which looks at no more entries than the
writes since the last sweep have earned; nothing ever scans a whole table.

Invariant: the time of a value only grows, so the order in which records out of order touch it does
not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from sage.common.core.state import StateTtl
from sage.kernel.state.backend import MapTable, ValueTable
from sage.kernel.state.handles import MapStateHandle, StorableTypes, check_map_key

__all__ = [
    "ExpiringListHandle",
    "ExpiringMapHandle",
    "ExpiringValueHandle",
    "Lifetime",
    "TimedKey",
]

_NEVER = float("-inf")


class TimedKey(Protocol):
    """Who knows which key is being processed, and what time it is.

    Attributes:
        current_key: The key.
        timestamp_s: The timestamp of the record or timer that is being processed.
        watermark_s: How far event time has come.
        clock: Processing time, in seconds since the epoch.
        touched: How many expiring values were written since the last sweep.
    """

    current_key: Any
    timestamp_s: float
    watermark_s: float
    clock: Callable[[], float]
    touched: int


class Lifetime:
    """The time to live of one state, against its owner's clock or watermark.

    Args:
        owner: Who knows the time.
        ttl: The declaration.
    """

    __slots__ = ("_event", "_owner", "_ttl_s", "refreshed_by_reading")

    def __init__(self, owner: TimedKey, ttl: StateTtl) -> None:
        self._owner, self._ttl_s, self._event = owner, ttl.ttl_s, ttl.time == "event"
        self.refreshed_by_reading = ttl.refresh == "on_read_and_write"

    def stamp(self) -> float:
        """Return the time at which something is touched now."""
        return self._owner.timestamp_s if self._event else self._owner.clock()

    def horizon(self) -> float:
        """Return the latest time of touching that has expired by now."""
        now = self._owner.watermark_s if self._event else self._owner.clock()
        return now - self._ttl_s


class ExpiringValueHandle:
    """A value for each key that expires, stored as ``(value, touched at)``."""

    __slots__ = ("_default", "_lifetime", "_owner", "_storable", "_table")

    def __init__(
        self,
        owner: TimedKey,
        table: ValueTable,
        storable: StorableTypes,
        ttl: StateTtl,
        default: Any = None,
    ) -> None:
        self._owner, self._table, self._storable = owner, table, storable
        self._lifetime, self._default = Lifetime(owner, ttl), default

    def get(self) -> Any:
        """Return the value if it has not expired, else the descriptor's default."""
        return self.get_or(self._default)

    def get_or(self, default: Any) -> Any:
        """Return the value if it has not expired, else ``default``."""
        entry = self._table.get(self._owner.current_key)
        if entry is None or entry[1] <= self._lifetime.horizon():
            return default
        if self._lifetime.refreshed_by_reading:
            self._store(entry[0], entry)
        return entry[0]

    def set(self, value: Any) -> None:
        """Store a value."""
        if type(value) not in self._storable:
            self._storable.check(value)
        self._store(value, self._table.get(self._owner.current_key))

    def _store(self, value: Any, before: tuple[Any, float] | None) -> None:
        stamp = self._lifetime.stamp()
        if before is not None and before[1] > stamp:
            stamp = before[1]
        self._owner.touched += 1
        self._table[self._owner.current_key] = (value, stamp)

    def update(self, function: Callable[[Any], Any]) -> Any:
        """Store what ``function`` makes of the value, and return it."""
        value = function(self.get())
        self.set(value)
        return value

    def clear(self) -> None:
        """Forget the value."""
        self._table.discard(self._owner.current_key)

    def sweep(self, limit: int) -> int:
        """Take expired values out of the table, looking at about ``limit`` entries."""
        horizon = self._lifetime.horizon()
        return self._table.expire(lambda entry: entry[1] <= horizon, limit)


class ExpiringListHandle:
    """A list for each key, each element stored as ``(element, touched at)``.

    Elements that have expired leave the list when it is written and the one in its middle has
    expired too, so that appending costs no look at all that live; a list none of whose elements is
    left goes as a value does.
    """

    __slots__ = ("_lifetime", "_owner", "_storable", "_table")

    def __init__(
        self, owner: TimedKey, table: ValueTable, storable: StorableTypes, ttl: StateTtl
    ) -> None:
        self._owner, self._table, self._storable = owner, table, storable
        self._lifetime = Lifetime(owner, ttl)

    def _alive(self) -> list[tuple[Any, float]]:
        horizon = self._lifetime.horizon()
        entries = self._table.get(self._owner.current_key, ())
        return [entry for entry in entries if entry[1] > horizon]

    def get(self) -> list[Any]:
        """Return the elements that have not expired."""
        alive = self._alive()
        if alive and self._lifetime.refreshed_by_reading:
            stamp = self._lifetime.stamp()
            self._store([(element, max(touched, stamp)) for element, touched in alive])
        return [element for element, _ in alive]

    def add(self, element: Any) -> None:
        """Append one element."""
        self.extend((element,))

    def extend(self, elements: Iterable[Any]) -> None:
        """Append several elements."""
        added = self._stamped(elements)
        stored: list[tuple[Any, float]] | None = self._table.get(self._owner.current_key)
        if stored is None:
            stored = []
        elif stored[len(stored) // 2][1] <= self._lifetime.horizon():
            stored = self._alive()
        stored += added
        self._store(stored)

    def set(self, elements: Iterable[Any]) -> None:
        """Replace all elements."""
        self._store(self._stamped(elements))

    def _stamped(self, elements: Iterable[Any]) -> list[tuple[Any, float]]:
        stamp, stamped = self._lifetime.stamp(), []
        for element in elements:
            if type(element) not in self._storable:
                self._storable.check(element)
            stamped.append((element, stamp))
        return stamped

    def _store(self, entries: list[tuple[Any, float]]) -> None:
        if not entries:
            self.clear()
            return
        self._owner.touched += 1
        self._table[self._owner.current_key] = entries

    def clear(self) -> None:
        """Forget all elements."""
        self._table.discard(self._owner.current_key)

    def sweep(self, limit: int) -> int:
        """Take lists out of the table all of whose elements have expired."""
        horizon = self._lifetime.horizon()
        # From the end, where the youngest elements are.
        return self._table.expire(
            lambda entries: all(touched <= horizon for _, touched in reversed(entries)), limit
        )


class ExpiringMapHandle(MapStateHandle):
    """A map for each key, each entry stored as ``(value, touched at)``."""

    __slots__ = ("_lifetime", "_timed")

    def __init__(
        self, owner: TimedKey, table: MapTable, storable: StorableTypes, ttl: StateTtl
    ) -> None:
        super().__init__(owner, table, storable)
        self._timed, self._lifetime = owner, Lifetime(owner, ttl)

    def get(self, map_key: Any, default: Any = None) -> Any:
        """Return the value of an entry that has not expired, or ``default``."""
        entry = self._table.get(self._owner.current_key, map_key)
        if entry is None or entry[1] <= self._lifetime.horizon():
            return default
        if self._lifetime.refreshed_by_reading:
            self._store(map_key, entry[0], entry[1])
        return entry[0]

    def put(self, map_key: Any, value: Any) -> None:
        """Store an entry."""
        check_map_key(map_key)
        if type(value) not in self._storable:
            self._storable.check(value)
        before = self._table.get(self._owner.current_key, map_key)
        self._store(map_key, value, _NEVER if before is None else before[1])

    def _store(self, map_key: Any, value: Any, touched: float) -> None:
        stamp = max(touched, self._lifetime.stamp())
        self._timed.touched += 1
        self._table.put(self._owner.current_key, map_key, (value, stamp))

    def items(self) -> list[tuple[Any, Any]]:
        """Return the entries that have not expired."""
        horizon = self._lifetime.horizon()
        alive = [
            (map_key, entry)
            for map_key, entry in self._table.items(self._owner.current_key)
            if entry[1] > horizon
        ]
        if self._lifetime.refreshed_by_reading:
            for map_key, (value, touched) in alive:
                self._store(map_key, value, touched)
        return [(map_key, entry[0]) for map_key, entry in alive]

    def sweep(self, limit: int) -> int:
        """Take expired entries out of the table, looking at about ``limit`` of them."""
        horizon = self._lifetime.horizon()
        return self._table.expire(lambda entry: entry[1] <= horizon, limit)
