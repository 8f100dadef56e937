"""Where keyed state is kept: one protocol, so that an operator does not know heap from disk.

A backend belongs to one operator in one subtask. It holds *tables*: a value table maps keys to
values, a map table maps keys to maps and stores those entry by entry. A handle binds its table
once, so that the path of a record has no name to look up; the heap's value table is a dict.

Invariant: what `StateBackend.snapshot` yields is the state of the moment of the call, as bytes of
its own, however the state goes on while it is read. The entries are the same from every backend,
so that a snapshot of one restores into another, and are ordered by key group, so that a subtask
can be given the groups that it owns.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from sage.kernel.state.key_group import KEY_GROUPS

__all__ = ["ALL_GROUPS", "MapTable", "StateBackend", "StateEntry", "ValueTable"]

ALL_GROUPS = range(KEY_GROUPS)


class StateEntry(NamedTuple):
    """One stored value, as a snapshot has it.

    Attributes:
        group: The key group of the key.
        state: Name of the state.
        key: The key, encoded.
        map_key: The key within the map, encoded; None in a value table.
        value: The value, encoded.
    """

    group: int
    state: str
    key: bytes
    map_key: bytes | None
    value: bytes


class ValueTable(Protocol):
    """The values of one state, by key."""

    def get(self, key: Any, default: Any = None, /) -> Any:
        """Return the value of a key, or ``default``.

        It is the stored object: whoever changes it stores it again. What a snapshot has does not
        change with it, unless a part of a value was kept from before the snapshot without the
        value itself.
        """

    def __setitem__(self, key: Any, value: Any, /) -> None:
        """Store the value of a key."""

    def discard(self, key: Any) -> None:
        """Forget a key, if it is there."""

    def all_keys(self) -> Iterator[Any]:
        """Yield every key; the table may be changed meanwhile."""

    def __len__(self) -> int:
        """Return how many keys have a value. On disk this reads the whole table."""

    def expire(self, is_expired: Callable[[Any], bool], limit: int) -> int:
        """Remove expired values, looking at about ``limit`` of them, and return how many went.

        Successive calls get to every value; a heap table that was made with ``expires`` looks at
        those first that have been there untouched for longest.
        """


class MapTable(Protocol):
    """The maps of one state, by key."""

    def get(self, key: Any, map_key: Any, default: Any = None) -> Any:
        """Return the value of an entry, or ``default``."""

    def put(self, key: Any, map_key: Any, value: Any) -> None:
        """Store an entry."""

    def remove(self, key: Any, map_key: Any) -> None:
        """Forget an entry, if it is there."""

    def items(self, key: Any) -> list[tuple[Any, Any]]:
        """Return the entries of a key, in no particular order."""

    def clear(self, key: Any) -> None:
        """Forget all entries of a key."""

    def all_keys(self) -> Iterator[Any]:
        """Yield every key that has entries; the table may be changed meanwhile."""

    def __len__(self) -> int:
        """Return how many entries there are. On disk this reads the whole table."""

    def expire(self, is_expired: Callable[[Any], bool], limit: int) -> int:
        """Remove expired entries, as `ValueTable.expire` does."""


class StateBackend(Protocol):
    """The state of one operator in one subtask. Not shared between threads."""

    def value_table(self, name: str, *, expires: bool = False) -> ValueTable:
        """Return the value table of that name, made on first use.

        Args:
            name: Name of the state.
            expires: Whether `ValueTable.expire` will be called.
        """

    def map_table(self, name: str, *, expires: bool = False) -> MapTable:
        """Return the map table of that name, made on first use."""

    def clear_key(self, key: Any) -> None:
        """Forget everything about a key."""

    def snapshot(self, groups: range = ALL_GROUPS) -> Generator[StateEntry, None, None]:
        """Return the entries of some key groups as they are now, group by group.

        The generator may be read by another thread while the state is used, and is closed if it
        is not read to its end.

        Raises:
            StateCodecError: if a value cannot be stored; maybe only while iterating.
        """

    def restore(self, entries: Iterable[StateEntry]) -> None:
        """Take in the entries of a snapshot; their tables have been made before.

        Raises:
            StateError: if an entry does not fit the table of its name.
            StateCodecError: if an entry cannot be read.
        """

    def size_bytes(self) -> int:
        """Return about how many bytes the state takes, in memory or on disk."""

    def close(self) -> None:
        """Give everything up; calling it again changes nothing."""
