"""Keyed state in memory: one dict for each state, which is what CPython is fastest at.

Reads and writes go to the dict itself; keys are hashed into groups and values encoded only for a
snapshot. What a snapshot must not see change, it encodes at once; what cannot change, it only
refers to, and encodes when it is read.

State that expires is kept in the order in which it was last touched, so that what is oldest is
found at the front and removing it costs nothing for the rest.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, islice, repeat
from typing import Any

from sage.common.errors import StateError
from sage.kernel.state.backend import ALL_GROUPS, StateEntry
from sage.kernel.state.codec import StateCodec
from sage.kernel.state.key_group import KEY_GROUPS, key_group
from sage.kernel.state.own_classes import OwnClasses

__all__ = ["HeapBackend"]

_SAMPLE = 32
# At the front is what was touched longest ago, so a few that live mean that most others do. They go
# to the end: after a restore, or with records out of order, one of them may hide older ones.
_ENOUGH_ALIVE = 4
_Item = tuple[Any, Any, Any]


class _Words:
    """What a dict needs to be called a table."""

    def discard(self: Any, key: Any) -> None:
        self.pop(key, None)

    def all_keys(self: Any) -> Iterator[Any]:
        return iter(list(self))

    def entries(self: Any) -> Iterator[_Item]:
        return ((key, None, value) for key, value in self.items())

    def taken(self: Any, codec: StateCodec) -> Iterator[_Item]:
        return zip(list(self), repeat(None), codec.all_detached(list(self.values())), strict=False)

    def add(self: Any, key: Any, map_key: Any, value: Any) -> None:
        self[key] = value


class _ValueTable(_Words, dict[Any, Any]):
    """A dict; reading and writing one is CPython's own."""

    def expire(self, is_expired: Callable[[Any], bool], limit: int) -> int:
        raise StateError("this table was not made to expire")


class _ExpiringValueTable(_Words, OrderedDict[Any, Any]):
    """Values in the order in which they were touched."""

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


class _MapTable:
    """A dict of dicts; a key without entries is not in it."""

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

    discard = clear

    def all_keys(self) -> Iterator[Any]:
        return iter(list(self._maps))

    def __len__(self) -> int:
        return sum(map(len, self._maps.values()))

    def expire(self, is_expired: Callable[[Any], bool], limit: int) -> int:
        raise StateError("this table was not made to expire")

    def entries(self) -> Iterator[_Item]:
        for key, entries in self._maps.items():
            for map_key, value in entries.items():
                yield key, map_key, value

    def taken(self, codec: StateCodec) -> Iterator[_Item]:
        """Return the entries as they are now, whatever happens to the table."""
        taken = [
            zip(
                repeat(key), list(entries), codec.all_detached(list(entries.values())), strict=False
            )
            for key, entries in self._maps.items()
        ]
        return chain.from_iterable(taken)

    def add(self, key: Any, map_key: Any, value: Any) -> None:
        self.put(key, map_key, value)


class _ExpiringMapTable(_MapTable):
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

    discard = clear

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


_Table = _ValueTable | _ExpiringValueTable | _MapTable


class HeapBackend:
    """Keeps state in dicts.

    Args:
        operator: Name of the operator, for errors.
        classes: The job's own classes that may be stored.

    Example:
        >>> backend = HeapBackend()
        >>> counts = backend.value_table("counts")
        >>> counts["a"] = 1
        >>> copy = HeapBackend()
        >>> restored = copy.value_table("counts")
        >>> copy.restore(backend.snapshot())
        >>> restored.get("a")
        1
    """

    def __init__(self, operator: str = "", classes: OwnClasses | None = None) -> None:
        self._operator = operator
        self._classes = classes if classes is not None else OwnClasses()
        self._tables: dict[str, _Table] = {}
        self._codecs: dict[str, StateCodec] = {}

    def value_table(self, name: str, *, expires: bool = False) -> _ValueTable | _ExpiringValueTable:
        """Return the value table of that name."""
        table = self._table(name, _ExpiringValueTable if expires else _ValueTable)
        assert isinstance(table, (_ValueTable, _ExpiringValueTable))
        return table

    def map_table(self, name: str, *, expires: bool = False) -> _MapTable:
        """Return the map table of that name."""
        table = self._table(name, _ExpiringMapTable if expires else _MapTable)
        assert isinstance(table, _MapTable)
        return table

    def _table(self, name: str, cls: type[_Table]) -> _Table:
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = cls()
            self._codecs[name] = StateCodec(self._operator, name, self._classes)
        elif type(table) is not cls:
            raise StateError(f"state {name!r} is there already and is of another kind", state=name)
        return table

    def clear_key(self, key: Any) -> None:
        """Forget everything about a key."""
        for table in self._tables.values():
            table.discard(key)

    def snapshot(self, groups: range = ALL_GROUPS) -> Generator[StateEntry, None, None]:
        """Return the entries of some key groups; values that can change are encoded now."""
        taken = {n: table.taken(self._codecs[n]) for n, table in self._tables.items()}
        return self._encoded(taken, groups)

    def _encoded(
        self, taken: dict[str, Iterator[_Item]], groups: range
    ) -> Generator[StateEntry, None, None]:
        by_group: list[dict[str, list[_Item]]] = [{} for _ in range(KEY_GROUPS)]
        for name in list(taken):
            for item in taken.pop(name):
                by_group[key_group(item[0])].setdefault(name, []).append(item)
        for group in groups:
            for name, items in by_group[group].items():
                encode, finish = self._codecs[name].encode, self._codecs[name].encode_detached
                is_map = isinstance(self._tables[name], _MapTable)
                for key, map_key, value in items:
                    stored_map_key = encode(map_key) if is_map else None
                    yield StateEntry(group, name, encode(key), stored_map_key, finish(value))

    def restore(self, entries: Iterable[StateEntry]) -> None:
        """Take in the entries of a snapshot."""
        for entry in entries:
            table = self._tables.get(entry.state)
            is_map = isinstance(table, _MapTable)
            if table is None or is_map != (entry.map_key is not None):
                raise StateError(
                    f"the snapshot has state {entry.state!r}, of which there is no such table",
                    state=entry.state,
                )
            decode = self._codecs[entry.state].decode
            map_key = None if entry.map_key is None else decode(entry.map_key)
            table.add(decode(entry.key), map_key, decode(entry.value))

    def size_bytes(self) -> int:
        """Return a guess, from the dicts and a sample of what is in them."""
        return sum(self._guess(name, table) for name, table in self._tables.items())

    def _guess(self, name: str, table: _Table) -> int:
        sample = list(islice(table.entries(), _SAMPLE))
        if not sample:
            return 0
        encode = self._codecs[name].encode
        held = sum(sys.getsizeof(k) + sys.getsizeof(v) + len(encode(v)) for k, _, v in sample)
        slots = sys.getsizeof(table) if isinstance(table, dict) else 100 * len(table)
        return slots + held * len(table) // len(sample)

    def close(self) -> None:
        """Forget all state."""
        for table in self._tables.values():
            for key in table.all_keys():
                table.discard(key)
