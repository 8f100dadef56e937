"""Keyed state as an operator holds it: a backend, the current key, a handle for each descriptor.

The operator says which key it is at and, where state expires, what time it is; handles do the rest.
All of an operator's state of one subtask is in one `KeyedState`, which is snapshotted and restored
as a whole.

Invariant: a name stands for one kind of state, with or without expiry, for as long as anything is
stored under it, also across a restore.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, NamedTuple, NoReturn, TypeVar, overload

from sage.common.core.state import (
    AggregatingHandle,
    AggregatingState,
    ListHandle,
    ListState,
    MapHandle,
    MapState,
    ReducingHandle,
    ReducingState,
    StateDescriptor,
    ValueHandle,
    ValueState,
)
from sage.common.errors import StateError
from sage.kernel.state.backend import ALL_GROUPS, MapTable, StateBackend, StateEntry, ValueTable
from sage.kernel.state.codec import StateCodec
from sage.kernel.state.handles import (
    AggregatingStateHandle,
    Cell,
    ListStateHandle,
    MapStateHandle,
    ReducingStateHandle,
    StorableTypes,
    ValueStateHandle,
)
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, check_key
from sage.kernel.state.own_classes import OwnClasses
from sage.kernel.state.ttl import ExpiringListHandle, ExpiringMapHandle, ExpiringValueHandle

__all__ = ["NO_KEY", "KeyedState", "StateSchema"]

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")

_SWEEP_AT_LEAST = 16


class StateSchema(NamedTuple):
    """What has to be known of a state to restore it.

    Attributes:
        name: Its name.
        kind: ``"value"``, ``"list"``, ``"map"``, ``"reducing"`` or ``"aggregating"``.
        expires: Whether it has a time to live.
    """

    name: str
    kind: str
    expires: bool


class _NoKey:
    """Stands where there is no key. A table hashes the key first of all, and that is the error."""

    def __hash__(self) -> NoReturn:
        raise StateError(
            "keyed state was used where there is no current key",
            hint="take the handle in open(), use it where a record or a timer is processed",
        )

    def __repr__(self) -> str:
        return "NO_KEY"


NO_KEY = _NoKey()


class KeyedState:
    """The state of one operator in one subtask.

    Args:
        backend: Where it is kept; closed with this.
        operator: Name of the operator, for errors.
        classes: The job's own classes; the same as the backend's.
        clock: Processing time, in seconds since the epoch.
        event_time: Whether the stream has timestamps; without, state in event time is refused.

    Attributes:
        current_key: The key that is being processed; may be assigned where it has been checked,
            and is `NO_KEY` where there is none.
        timestamp_s: Timestamp of the record or timer that is being processed; the operator keeps
            it right where `expires` is true.
        watermark_s: How far event time has come, likewise.
        clock: Processing time.
        touched: How many expiring values were written since the last sweep.

    Example:
        >>> from sage.kernel.state.heap_backend import HeapBackend
        >>> state = KeyedState(HeapBackend())
        >>> count = state.handle(ValueState("count", default=0))
        >>> for word in ["a", "b", "a"]:
        ...     state.set_current_key(word)
        ...     count.set(count.get() + 1)
        >>> count.get()
        2
    """

    def __init__(
        self,
        backend: StateBackend,
        *,
        operator: str = "",
        classes: OwnClasses | None = None,
        clock: Callable[[], float] = time.time,
        event_time: bool = True,
    ) -> None:
        self.backend = backend
        self.current_key: Any = NO_KEY
        self.timestamp_s = self.watermark_s = float("-inf")
        self.clock = clock
        self.touched = 0
        self._operator, self._classes, self._event_time = operator, classes, event_time
        self._schemas: dict[str, StateSchema] = {}
        self._handles: dict[StateDescriptor, Any] = {}
        self._expiring: list[ExpiringValueHandle | ExpiringListHandle | ExpiringMapHandle] = []

    def set_current_key(self, key: Any) -> None:
        """Say which key is processed from now on.

        Raises:
            KeyRefusedError: if it cannot be a key.
        """
        if type(key) not in PLAIN_KEY_TYPES:
            check_key(key)
        self.current_key = key

    @overload
    def handle(self, descriptor: ValueState[T]) -> ValueHandle[T]: ...
    @overload
    def handle(self, descriptor: ListState[T]) -> ListHandle[T]: ...
    @overload
    def handle(self, descriptor: MapState[K, V]) -> MapHandle[K, V]: ...
    @overload
    def handle(self, descriptor: ReducingState[T]) -> ReducingHandle[T]: ...
    @overload
    def handle(self, descriptor: AggregatingState[T, R]) -> AggregatingHandle[T, R]: ...
    @overload
    def handle(self, descriptor: StateDescriptor) -> Any: ...

    def handle(self, descriptor: StateDescriptor) -> Any:
        """Return the handle of a state, which is declared with that.

        Asking again with an equal descriptor gives the same handle and costs a dict access.

        Raises:
            StateError: if the name is taken by a state of another kind or expiry, or the state
                expires in event time and the stream has none.
        """
        handle = self._handles.get(descriptor)
        if handle is None:
            handle = self._handles[descriptor] = self._made(descriptor)
        return handle

    def _made(self, descriptor: StateDescriptor) -> Any:
        if not isinstance(descriptor, StateDescriptor):
            raise StateError(
                f"state is asked for by a descriptor, got {descriptor!r:.80}",
                hint='write context.state(ValueState("name"))',
            )
        name, ttl = descriptor.name, descriptor.ttl
        if ttl is not None and ttl.time == "event" and not self._event_time:
            raise StateError(
                f"state {name!r} expires in event time, and the stream has no timestamps",
                hint="call assign_timestamps upstream, or use StateTtl(..., time='processing')",
                operator=self._operator,
                state=name,
            )
        table = self._table(StateSchema(name, descriptor.kind, ttl is not None))
        storable = StorableTypes(StateCodec(self._operator, name, self._classes))
        handle = self._plain(descriptor, table, storable)
        if ttl is not None:
            handle = self._with_ttl(descriptor, table, storable)
        return handle

    def _plain(self, descriptor: StateDescriptor, table: Any, storable: StorableTypes) -> Any:
        if isinstance(descriptor, MapState):
            return MapStateHandle(self, table, storable)
        if isinstance(descriptor, ListState):
            return ListStateHandle(self, table, storable)
        return _of_cell(
            descriptor,
            ValueStateHandle(self, table, storable, getattr(descriptor, "default", None)),
        )

    def _with_ttl(self, descriptor: StateDescriptor, table: Any, storable: StorableTypes) -> Any:
        ttl = descriptor.ttl
        assert ttl is not None
        handle: Any
        if isinstance(descriptor, MapState):
            handle = ExpiringMapHandle(self, table, storable, ttl)
        elif isinstance(descriptor, ListState):
            handle = ExpiringListHandle(self, table, storable, ttl)
        else:
            default = getattr(descriptor, "default", None)
            handle = ExpiringValueHandle(self, table, storable, ttl, default)
        self._expiring.append(handle)
        return _of_cell(descriptor, handle)

    def _table(self, schema: StateSchema) -> ValueTable | MapTable:
        known = self._schemas.setdefault(schema.name, schema)
        if known != schema:
            raise StateError(
                f"operator {self._operator!r} has {_said(known)} already and cannot also have "
                f"{_said(schema)}",
                hint="give one of the two another name",
                operator=self._operator,
                state=schema.name,
            )
        if schema.kind == "map":
            return self.backend.map_table(schema.name, expires=schema.expires)
        return self.backend.value_table(schema.name, expires=schema.expires)

    @property
    def expires(self) -> bool:
        """Whether any state expires: then `timestamp_s`, `watermark_s` and `sweep` matter."""
        return bool(self._expiring)

    def sweep(self) -> int:
        """Remove some of what has expired, and return how many values went.

        Called once a batch, or when the watermark has advanced. It looks at two entries for each
        one that was written since the last call, so it keeps up and never takes long.
        """
        limit, self.touched = 2 * self.touched + _SWEEP_AT_LEAST, 0
        return sum(handle.sweep(limit) for handle in self._expiring)

    def clear_key(self) -> None:
        """Forget everything about the current key."""
        self.backend.clear_key(self.current_key)

    def keys(self, descriptor: StateDescriptor) -> Iterator[Any]:
        """Yield the keys that have something in a state, expired values included."""
        schema = StateSchema(descriptor.name, descriptor.kind, descriptor.ttl is not None)
        return self._table(schema).all_keys()

    @property
    def schemas(self) -> tuple[StateSchema, ...]:
        """What `restore` has to be given with a snapshot."""
        return tuple(self._schemas.values())

    def snapshot(self, groups: range = ALL_GROUPS) -> Generator[StateEntry, None, None]:
        """Return the entries of some key groups as they are now; see `StateBackend.snapshot`."""
        return self.backend.snapshot(groups)

    def restore(self, schemas: Iterable[StateSchema], entries: Iterable[StateEntry]) -> None:
        """Take in a snapshot, or several; before or after the states are declared again.

        Raises:
            StateError: if a state was declared with another kind or expiry.
            StateCodecError: if an entry cannot be read.
        """
        for schema in schemas:
            self._table(StateSchema(*schema))
        self.backend.restore(entries)

    def close(self) -> None:
        """Give the state up."""
        self.backend.close()


def _of_cell(descriptor: StateDescriptor, cell: Cell) -> Any:
    if isinstance(descriptor, ReducingState):
        return ReducingStateHandle(cell, descriptor)
    if isinstance(descriptor, AggregatingState):
        return AggregatingStateHandle(cell, descriptor.aggregate)
    return cell


def _said(schema: StateSchema) -> str:
    ending = "with a time to live" if schema.expires else "without a time to live"
    return f"a {schema.kind} state {schema.name!r} {ending}"
