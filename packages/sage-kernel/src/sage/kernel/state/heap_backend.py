"""Keyed state in memory: one dict for each state, which is what CPython is fastest at.

Reads and writes go to the dict itself; keys are hashed into groups and values encoded only for a
snapshot, and only when that is read. Until then it shares its values with the tables, which see to
it that none of them changes; see ``heap_tables``.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from sage.common.errors import StateError
from sage.kernel.state.backend import ALL_GROUPS, StateEntry
from sage.kernel.state.codec import StateCodec
from sage.kernel.state.heap_tables import (
    ExpiringMapTable,
    ExpiringValueTable,
    Guard,
    HeapTable,
    Item,
    MapTable,
    ValueTable,
)
from sage.kernel.state.key_group import KEY_GROUPS, key_group
from sage.kernel.state.own_classes import OwnClasses
from sage.kernel.state.unread import ReadOnce, UnreadSnapshots

__all__ = ["HeapBackend"]

_SAMPLE = 32


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
        self._tables: dict[str, HeapTable] = {}
        self._codecs: dict[str, StateCodec] = {}
        self._unread = UnreadSnapshots()

    def value_table(self, name: str, *, expires: bool = False) -> ValueTable | ExpiringValueTable:
        """Return the value table of that name."""
        table = self._table(name, ExpiringValueTable if expires else ValueTable)
        assert isinstance(table, (ValueTable, ExpiringValueTable))
        return table

    def map_table(self, name: str, *, expires: bool = False) -> MapTable:
        """Return the map table of that name."""
        table = self._table(name, ExpiringMapTable if expires else MapTable)
        assert isinstance(table, MapTable)
        return table

    def _table(self, name: str, cls: type[HeapTable]) -> HeapTable:
        table = self._tables.get(name)
        if table is None:
            codec = self._codecs[name] = StateCodec(self._operator, name, self._classes)
            table = self._tables[name] = cls()
            table.guard = Guard(codec, self._unread)
        elif table.plain is not cls:
            raise StateError(f"state {name!r} is there already and is of another kind", state=name)
        return table

    def clear_key(self, key: Any) -> None:
        """Forget everything about a key."""
        for table in self._tables.values():
            table.discard(key)

    def snapshot(self, groups: range = ALL_GROUPS) -> Generator[StateEntry, None, None]:
        """Return the entries of some key groups; they are encoded when they are read."""
        taken = {name: table.taken() for name, table in self._tables.items()}
        return _reading(self._unread.added(ReadOnce(partial(self._encoded, taken, groups))))

    def _encoded(self, taken: dict[str, Iterator[Item]], groups: range) -> Iterator[StateEntry]:
        in_groups: dict[str, list[list[Item]]] = {}
        for name in list(taken):
            by_group: list[list[Item]] = [[] for _ in range(KEY_GROUPS)]
            in_groups[name] = by_group
            for item in taken.pop(name):
                by_group[key_group(item[0])].append(item)
        for group in groups:
            for name, by_group in in_groups.items():
                encode, is_map = self._codecs[name].encode, isinstance(self._tables[name], MapTable)
                for key, map_key, value in by_group[group]:
                    stored_map_key = encode(map_key) if is_map else None
                    yield StateEntry(group, name, encode(key), stored_map_key, encode(value))

    def restore(self, entries: Iterable[StateEntry]) -> None:
        """Take in the entries of a snapshot."""
        for entry in entries:
            table = self._tables.get(entry.state)
            is_map = isinstance(table, MapTable)
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

    def _guess(self, name: str, table: HeapTable) -> int:
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


def _reading(snapshot: ReadOnce[StateEntry]) -> Generator[StateEntry, None, None]:
    yield from snapshot
