"""What a function holds of its state: handles that always mean the current key.

A handle is made once for a descriptor; it has its table bound and asks its owner only for the key.
Reducing, aggregating and list state are a value that is read, changed and stored again, so they are
written against a *cell*, a handle of one value, and need not know whether it expires.

Invariant: whatever a handle stores has a type that the codec can store; the first value of each
type is tried, so that the record that brought it fails and not a checkpoint later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from sage.common.core.functions import AggregateFunction, ReduceFunction
from sage.common.core.state import ReducingState
from sage.kernel.state.backend import MapTable, ValueTable
from sage.kernel.state.codec import PLAIN_VALUE_TYPES, StateCodec
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, check_key

__all__ = [
    "AggregatingStateHandle",
    "Cell",
    "CurrentKey",
    "ListStateHandle",
    "MapStateHandle",
    "ReducingStateHandle",
    "StorableTypes",
    "ValueStateHandle",
    "check_map_key",
]

_MISSING: Any = object()
_PLAIN_MAP_KEY_TYPES = PLAIN_KEY_TYPES | {type(None)}


class CurrentKey(Protocol):
    """Who knows which key is being processed."""

    current_key: Any


class Cell(Protocol):
    """A value of the current key."""

    def get_or(self, default: Any) -> Any:
        """Return the value, or ``default``."""

    def set(self, value: Any) -> None:
        """Store a value."""

    def clear(self) -> None:
        """Forget the value."""


class StorableTypes(set[type]):
    """The types of which a value is known to be storable.

    A handle asks ``type(value) in storable`` and calls `check` only for what is new.

    Args:
        codec: The codec of the state.
    """

    def __init__(self, codec: StateCodec) -> None:
        super().__init__(PLAIN_VALUE_TYPES)
        self._codec = codec

    def check(self, value: Any) -> None:
        """Take the type of a value among the storable ones.

        Raises:
            StateCodecError: if the value cannot be stored.
        """
        self._codec.encode(value)
        self.add(type(value))


def check_map_key(map_key: Any) -> None:
    """Raise if ``map_key`` is of a type whose values may not be keys of a map.

    Raises:
        KeyRefusedError: if it could not be a key of a stream and is not None.
    """
    if type(map_key) not in _PLAIN_MAP_KEY_TYPES:
        check_key(map_key)


class ValueStateHandle:
    """A value for each key that stays; see `sage.common.core.state.ValueHandle`."""

    __slots__ = ("_default", "_owner", "_storable", "_table")

    def __init__(
        self, owner: CurrentKey, table: ValueTable, storable: StorableTypes, default: Any = None
    ) -> None:
        self._owner, self._table, self._storable = owner, table, storable
        self._default = default

    def get(self) -> Any:
        """Return the value, or the descriptor's default."""
        return self._table.get(self._owner.current_key, self._default)

    def get_or(self, default: Any) -> Any:
        """Return the value, or ``default``."""
        return self._table.get(self._owner.current_key, default)

    def set(self, value: Any) -> None:
        """Store a value."""
        if type(value) not in self._storable:
            self._storable.check(value)
        self._table[self._owner.current_key] = value

    def update(self, function: Callable[[Any], Any]) -> Any:
        """Store what ``function`` makes of the value, and return it."""
        value = function(self.get())
        self.set(value)
        return value

    def clear(self) -> None:
        """Forget the value."""
        self._table.discard(self._owner.current_key)


class ReducingStateHandle:
    """A value for each key that takes in others."""

    __slots__ = ("_cell", "_reduce")

    def __init__(self, cell: Cell, descriptor: ReducingState[Any]) -> None:
        self._cell = cell
        function = descriptor.reduce
        self._reduce = function.reduce if isinstance(function, ReduceFunction) else function

    def add(self, value: Any) -> None:
        """Combine a value into the state."""
        so_far = self._cell.get_or(_MISSING)
        self._cell.set(value if so_far is _MISSING else self._reduce(so_far, value))

    def get(self) -> Any:
        """Return the combined value, or None."""
        return self._cell.get_or(None)

    def clear(self) -> None:
        """Forget the value."""
        self._cell.clear()


class AggregatingStateHandle:
    """An accumulator for each key."""

    __slots__ = ("_cell", "_function")

    def __init__(self, cell: Cell, function: AggregateFunction[Any, Any, Any]) -> None:
        self._cell, self._function = cell, function

    def add(self, value: Any) -> None:
        """Add a value to the accumulator."""
        accumulator = self._cell.get_or(_MISSING)
        if accumulator is _MISSING:
            accumulator = self._function.create()
        self._cell.set(self._function.add(accumulator, value))

    def get(self) -> Any:
        """Return the accumulator's result, or None."""
        accumulator = self._cell.get_or(_MISSING)
        return None if accumulator is _MISSING else self._function.result(accumulator)

    def clear(self) -> None:
        """Forget the accumulator."""
        self._cell.clear()


class ListStateHandle:
    """A list for each key, which is never empty in the table."""

    __slots__ = ("_owner", "_storable", "_table")

    def __init__(self, owner: CurrentKey, table: ValueTable, storable: StorableTypes) -> None:
        self._owner, self._table, self._storable = owner, table, storable

    def get(self) -> list[Any]:
        """Return the elements."""
        return list(self._table.get(self._owner.current_key, ()))

    def add(self, element: Any) -> None:
        """Append one element."""
        if type(element) not in self._storable:
            self._storable.check(element)
        key = self._owner.current_key
        elements = self._table.get(key)
        if elements is None:
            elements = []
        elements.append(element)
        self._table[key] = elements

    def extend(self, elements: Iterable[Any]) -> None:
        """Append several elements."""
        self.set([*self._table.get(self._owner.current_key, ()), *elements])

    def set(self, elements: Iterable[Any]) -> None:
        """Replace all elements."""
        stored = list(elements)
        for element in stored:
            if type(element) not in self._storable:
                self._storable.check(element)
        if stored:
            self._table[self._owner.current_key] = stored
        else:
            self.clear()

    def clear(self) -> None:
        """Forget all elements."""
        self._table.discard(self._owner.current_key)


class MapStateHandle:
    """A map for each key; see `sage.common.core.state.MapHandle`."""

    __slots__ = ("_owner", "_storable", "_table")

    def __init__(self, owner: CurrentKey, table: MapTable, storable: StorableTypes) -> None:
        self._owner, self._table, self._storable = owner, table, storable

    def get(self, map_key: Any, default: Any = None) -> Any:
        """Return the value of an entry, or ``default``."""
        return self._table.get(self._owner.current_key, map_key, default)

    def put(self, map_key: Any, value: Any) -> None:
        """Store an entry."""
        if type(map_key) not in _PLAIN_MAP_KEY_TYPES:
            check_key(map_key)
        if type(value) not in self._storable:
            self._storable.check(value)
        self._table.put(self._owner.current_key, map_key, value)

    def remove(self, map_key: Any) -> None:
        """Forget an entry."""
        self._table.remove(self._owner.current_key, map_key)

    def contains(self, map_key: Any) -> bool:
        """Return whether there is an entry."""
        return self.get(map_key, _MISSING) is not _MISSING

    def items(self) -> list[tuple[Any, Any]]:
        """Return the entries."""
        return self._table.items(self._owner.current_key)

    def keys(self) -> list[Any]:
        """Return the map keys."""
        return [map_key for map_key, _ in self.items()]

    def is_empty(self) -> bool:
        """Return whether there are no entries."""
        return not self.items()

    def clear(self) -> None:
        """Forget all entries."""
        self._table.clear(self._owner.current_key)
