"""The heap's tables: dicts, and what they become while a snapshot of them has not been read.

A snapshot shares its objects with the table. From then on the table is *guarded*: it takes the
class of the same kind that copies a value before it hands it out for the first time, and takes its
own class back when the snapshot has been read. A table of which no snapshot waits pays nothing.

What somebody holds already when the snapshot is taken cannot be copied behind his back any more.
Such objects are told by their reference counts, and the snapshot gets a copy. To look for what is
held of their insides would cost as much as to encode them all; see `ValueTable.get` of ``backend``.

State that expires is kept in the order in which it was last touched, so that what is oldest is
found at the front and removing it costs nothing for the rest.

Invariant: an object in an unread snapshot is not handed out, nor is a dict in one written to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import chain, repeat
from sys import getrefcount
from typing import Any, ClassVar, TypeAlias

from sage.common.errors import StateError
from sage.kernel.state.codec import UNCHANGEABLE_TYPES, StateCodec
from sage.kernel.state.unread import UnreadSnapshots

__all__ = [
    "ExpiringMapTable",
    "ExpiringValueTable",
    "Guard",
    "HeapTable",
    "MapTable",
    "ValueTable",
]

# At the front is what was touched longest ago, so a few that live mean that most others do. They go
# to the end: after a restore, or with records out of order, one of them may hide older ones.
_ENOUGH_ALIVE = 4
Item: TypeAlias = tuple[Any, Any, Any]


class Guard:
    """What a table and its unread snapshots share.

    Args:
        codec: Copies and encodes values.
        unread: The snapshots that have not been read.
    """

    def __init__(self, codec: StateCodec, unread: UnreadSnapshots) -> None:
        self.codec, self.unread = codec, unread
        self.own: set[Any] = set()  # places whose values no unread snapshot has

    def detached(self, values: list[Any]) -> tuple[list[Any], bool]:
        """Return what a snapshot may keep of values, and whether the table has to be guarded."""
        self.own = set()
        if UNCHANGEABLE_TYPES.issuperset(map(type, values)):
            return values, False
        counts, unheld = list(map(getrefcount, values)), _unheld()
        if max(counts) > unheld:
            values = [
                self._out_of_reach(value) if count > unheld else value
                for value, count in zip(values, counts, strict=True)
            ]
        return values, True

    def _out_of_reach(self, value: Any) -> Any:
        unchangeable = type(value) in UNCHANGEABLE_TYPES or isinstance(value, Enum)
        return value if unchangeable else self.codec.copied(value)


def _unheld() -> int:
    """Return the reference count of what only its table and a list refer to, in ``map``."""
    only_in_a_list: list[Any] = [object()]
    return next(map(getrefcount, only_in_a_list)) + 1


class _Words:
    """What a dict needs to be called a table."""

    __slots__ = ()
    guard: Guard
    plain: ClassVar[type[Any]]
    guarded: ClassVar[type[Any]]

    def discard(self: Any, key: Any) -> None:
        self.pop(key, None)

    def all_keys(self: Any) -> Iterator[Any]:
        return iter(list(self))

    def entries(self: Any) -> Iterator[Item]:
        return ((key, None, value) for key, value in self.items())

    def taken(self: Any) -> Iterator[Item]:
        """Return the entries as they are now, whatever happens to the table."""
        values, is_shared = self.guard.detached(list(dict.values(self)))
        if is_shared:
            self.__class__ = self.guarded
        return zip(list(dict.keys(self)), repeat(None), values, strict=False)

    def add(self: Any, key: Any, map_key: Any, value: Any) -> None:
        self[key] = value


class _GuardedValues:
    """Copies a value before it is handed out for the first time since the last snapshot."""

    __slots__ = ()

    def get(self: Any, key: Any, default: Any = None, /) -> Any:
        value = dict.get(self, key, default)
        if value is default or type(value) in UNCHANGEABLE_TYPES:
            return value
        guard: Guard = self.guard
        if key in guard.own:
            return value
        if not guard.unread:
            self.__class__ = self.plain
            return value
        value = guard.codec.copied(value)
        dict.__setitem__(self, key, value)  # which is not touching it
        guard.own.add(key)
        return value


class ValueTable(_Words, dict[Any, Any]):
    """A dict; reading and writing one is CPython's own."""

    __slots__ = ("guard",)

    def expire(self, is_expired: Callable[[Any], bool], limit: int) -> int:
        raise StateError("this table was not made to expire")


class ExpiringValueTable(_Words, OrderedDict[Any, Any]):
    """Values in the order in which they were touched."""

    __slots__ = ("guard",)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)

    def expire(self, is_expired: Callable[[Any], bool], limit: int) -> int:
        gone = alive = 0
        while self and gone < limit and alive < _ENOUGH_ALIVE:
            key = next(iter(self))
            if is_expired(self[key]):
                del self[key]
                gone += 1
            else:
                self.move_to_end(key)
                alive += 1
        return gone


class _GuardedValueTable(_GuardedValues, ValueTable):
    __slots__ = ()


class _GuardedExpiringValueTable(_GuardedValues, ExpiringValueTable):
    __slots__ = ()


class MapTable:
    """A dict of dicts; a key without entries is not in it."""

    guard: Guard
    plain: ClassVar[type[Any]]
    guarded: ClassVar[type[Any]]

    def __init__(self) -> None:
        self._maps: dict[Any, dict[Any, Any]] = {}

    def get(self, key: Any, map_key: Any, default: Any = None) -> Any:
        found = self._maps.get(key)
        return default if found is None else found.get(map_key, default)

    def put(self, key: Any, map_key: Any, value: Any) -> None:
        found = self._maps.get(key)
        if found is None:
            self._maps[key] = {map_key: value}
        else:
            found[map_key] = value

    def remove(self, key: Any, map_key: Any) -> None:
        found = self._maps.get(key)
        if found is not None:
            found.pop(map_key, None)
            if not found:
                del self._maps[key]

    def items(self, key: Any) -> list[tuple[Any, Any]]:
        found = self._maps.get(key)
        return [] if found is None else list(found.items())

    def clear(self, key: Any) -> None:
        self._maps.pop(key, None)

    def discard(self, key: Any) -> None:
        self.clear(key)

    def all_keys(self) -> Iterator[Any]:
        return iter(list(self._maps))

    def __len__(self) -> int:
        return sum(map(len, self._maps.values()))

    def expire(self, is_expired: Callable[[Any], bool], limit: int) -> int:
        raise StateError("this table was not made to expire")

    def entries(self) -> Iterator[Item]:
        return _flat(self._maps.items())

    def taken(self) -> Iterator[Item]:
        """Return the entries as they are now, whatever happens to the table."""
        keys, maps = list(self._maps), list(self._maps.values())
        values = list(chain.from_iterable(map(dict.values, maps)))
        detached, _ = self.guard.detached(values)
        self.__class__ = self.guarded
        if detached is values:
            return _flat(zip(keys, maps, strict=True))
        remaining = iter(detached)
        return (
            (key, map_key, next(remaining))
            for key, entries in zip(keys, maps, strict=True)
            for map_key in entries
        )

    def add(self, key: Any, map_key: Any, value: Any) -> None:
        self.put(key, map_key, value)


def _flat(maps: Iterable[tuple[Any, dict[Any, Any]]]) -> Iterator[Item]:
    for key, entries in maps:
        for map_key, value in entries.items():
            yield key, map_key, value


class ExpiringMapTable(MapTable):
    """Maps, and beside them all their entries in the order in which they were touched."""

    def __init__(self) -> None:
        super().__init__()
        self._touched: OrderedDict[tuple[Any, Any], None] = OrderedDict()

    def put(self, key: Any, map_key: Any, value: Any) -> None:
        super().put(key, map_key, value)
        self._touched[key, map_key] = None
        self._touched.move_to_end((key, map_key))

    def remove(self, key: Any, map_key: Any) -> None:
        super().remove(key, map_key)
        self._touched.pop((key, map_key), None)

    def clear(self, key: Any) -> None:
        for map_key in self._maps.pop(key, ()):
            del self._touched[key, map_key]

    def expire(self, is_expired: Callable[[Any], bool], limit: int) -> int:
        gone = alive = 0
        while self._touched and gone < limit and alive < _ENOUGH_ALIVE:
            key, map_key = next(iter(self._touched))
            if is_expired(self._maps[key][map_key]):
                self.remove(key, map_key)
                gone += 1
            else:
                self._touched.move_to_end((key, map_key))
                alive += 1
        return gone


class _GuardedMaps(MapTable):
    """Copies a map before it is written to, and a value before it is handed out."""

    def get(self, key: Any, map_key: Any, default: Any = None) -> Any:
        value = super().get(key, map_key, default)
        if value is default or type(value) in UNCHANGEABLE_TYPES or not self._is_guarded():
            return value
        return self._own_value(key, map_key, value)

    def items(self, key: Any) -> list[tuple[Any, Any]]:
        items = super().items(key)
        if not self._is_guarded():
            return items
        return [(map_key, self._own_value(key, map_key, value)) for map_key, value in items]

    def put(self, key: Any, map_key: Any, value: Any) -> None:
        if self._is_guarded():
            self._make_own(key)
        self.plain.put(self, key, map_key, value)

    def remove(self, key: Any, map_key: Any) -> None:
        if self._is_guarded():
            self._make_own(key)
        self.plain.remove(self, key, map_key)

    def _is_guarded(self) -> bool:
        """Whether somebody still looks; if not, this is the last time that it is asked."""
        if self.guard.unread:
            return True
        self.__class__ = self.plain
        return False

    def _make_own(self, key: Any) -> None:
        if (key,) not in self.guard.own and key in self._maps:
            self._maps[key] = self._maps[key].copy()
            self.guard.own.add((key,))

    def _own_value(self, key: Any, map_key: Any, value: Any) -> Any:
        if type(value) in UNCHANGEABLE_TYPES or (key, map_key) in self.guard.own:
            return value
        self._make_own(key)
        value = self._maps[key][map_key] = self.guard.codec.copied(value)
        self.guard.own.add((key, map_key))
        return value


class _GuardedMapTable(_GuardedMaps):
    pass


class _GuardedExpiringMapTable(_GuardedMaps, ExpiringMapTable):
    pass


for _plain, _guarded in (
    (ValueTable, _GuardedValueTable),
    (ExpiringValueTable, _GuardedExpiringValueTable),
    (MapTable, _GuardedMapTable),
    (ExpiringMapTable, _GuardedExpiringMapTable),
):
    _plain.plain, _plain.guarded = _plain, _guarded

HeapTable: TypeAlias = ValueTable | ExpiringValueTable | MapTable
