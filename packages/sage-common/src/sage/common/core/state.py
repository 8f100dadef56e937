"""Keyed state as a function declares it and sees it; the engine that keeps it is not here.

A *descriptor* says what a function remembers for each key: a frozen value with a name that is
unique within its operator. The runtime context gives a *handle* for it, which always means the
state of the key that is being processed: one handle serves all keys::

    seen = context.state(ValueState("seen", default=0))
    seen.set(seen.get() + 1)

What ``get`` returns belongs to the state. Whoever changes it in place gives it back with ``set``
or ``put``; a change that is not given back may be kept or lost, depending on the backend.

The words are Flink's; its ``update`` of a value is ``set`` here, and ``update`` takes a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, get_args

from sage.common.core.functions import AggregateFunction, ReduceFunction
from sage.common.errors import StateError

__all__ = [
    "AggregatingHandle",
    "AggregatingState",
    "ListHandle",
    "ListState",
    "MapHandle",
    "MapState",
    "ReducingHandle",
    "ReducingState",
    "StateDescriptor",
    "StateTtl",
    "TimeDomain",
    "TtlRefresh",
    "ValueHandle",
    "ValueState",
]

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

TimeDomain = Literal["event", "processing"]
TtlRefresh = Literal["on_write", "on_read_and_write"]


@dataclass(frozen=True)
class StateTtl:
    """How long a value lives after it was touched; what has expired is never returned.

    A value, a list's element or a map's entry that was touched at time ``t`` is there before
    ``t + ttl_s`` and gone from then on. In event time, ``t`` is the newest timestamp among the
    records that touched it, and it expires when the watermark reaches ``t + ttl_s``. In processing
    time both are read from the job's clock, so results depend on when the job runs.

    Args:
        ttl_s: Time to live, in seconds.
        time: ``"event"`` or ``"processing"``.
        refresh: Whether reading counts as touching (``"on_read_and_write"``) or only writing.

    Example:
        >>> StateTtl(3600.0)
        StateTtl(ttl_s=3600.0, time='event', refresh='on_write')

    Raises:
        StateError: if ``ttl_s`` is not a positive number or an option is unknown.
    """

    ttl_s: float
    time: TimeDomain = "event"
    refresh: TtlRefresh = "on_write"

    def __post_init__(self) -> None:
        number = isinstance(self.ttl_s, (int, float)) and not isinstance(self.ttl_s, bool)
        if not number or not 0 < self.ttl_s < float("inf"):
            raise StateError(
                f"ttl_s must be a positive, finite number of seconds, got {self.ttl_s!r}",
                hint="leave the ttl out for state that stays",
            )
        for option, known in (("time", TimeDomain), ("refresh", TtlRefresh)):
            value = getattr(self, option)
            if value not in get_args(known):
                expected = " or ".join(map(repr, get_args(known)))
                raise StateError(f"{option} of a StateTtl must be {expected}, got {value!r}")


@dataclass(frozen=True)
class StateDescriptor:
    """What all descriptors share: a name, and for how long values live.

    Args:
        name: Names the state within its operator; checkpoints find it by this name.
        ttl: How long values live, or None: for ever.

    Raises:
        StateError: if the name is not a non-empty str, or the ttl no `StateTtl`.
    """

    kind: ClassVar[str] = "state"
    name: str
    ttl: StateTtl | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise StateError(
                f"the name of a {type(self).__name__} must be a non-empty str, got {self.name!r}"
            )
        if self.ttl is not None and not isinstance(self.ttl, StateTtl):
            raise StateError(
                f"the ttl of {self.kind} state {self.name!r} must be a StateTtl, got {self.ttl!r}",
                hint="write StateTtl(3600.0), or StateTtl(3600.0, time='processing')",
                state=self.name,
            )

    def __hash__(self) -> int:
        # By name alone: equal descriptors have equal names, and a reduce function may not hash.
        return hash(self.name)


@dataclass(frozen=True)
class ValueState(StateDescriptor, Generic[T]):
    """One value for each key.

    Args:
        name: Names the state within its operator.
        default: What ``get`` returns for a key that has none. It is shared between keys, so one
            that can be changed in place is refused.
        ttl: How long a value lives, or None: for ever.

    Example:
        >>> ValueState("seen", default=0)
        ValueState(name='seen', ttl=None, default=0)

    Raises:
        StateError: if the default can be changed in place.
    """

    kind = "value"
    default: T | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if getattr(type(self.default), "__hash__", None) is None:
            raise StateError(
                f"the default of value state {self.name!r} is shared between keys and must not "
                f"be a {type(self.default).__name__}",
                hint="leave it out and write `state.get() or ...`; or use ListState or MapState",
                state=self.name,
            )

    __hash__ = StateDescriptor.__hash__


class ListState(StateDescriptor, Generic[T]):
    """A list for each key. Elements expire one by one.

    A list is stored as one value; for one that grows long on disk, `MapState` is cheaper.

    Args:
        name: Names the state within its operator.
        ttl: How long an element lives, or None: for ever.
    """

    kind = "list"


class MapState(StateDescriptor, Generic[K, V]):
    """A map for each key, stored entry by entry. Entries expire one by one.

    Args:
        name: Names the state within its operator.
        ttl: How long an entry lives, or None: for ever.
    """

    kind = "map"


@dataclass(frozen=True)
class ReducingState(StateDescriptor, Generic[T]):
    """One value for each key, combined with every value that is added.

    Args:
        name: Names the state within its operator.
        reduce: A `ReduceFunction`, or a callable of the value so far and the new one.
        ttl: How long a value lives, or None: for ever.

    Example:
        >>> ReducingState("highest", reduce=max).name
        'highest'

    Raises:
        StateError: if ``reduce`` is neither.
    """

    kind = "reducing"
    reduce: Callable[[T, T], T] | ReduceFunction[T]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.reduce) and not isinstance(self.reduce, ReduceFunction):
            raise StateError(
                f"the reduce of state {self.name!r} must be a callable or a ReduceFunction, "
                f"got {self.reduce!r:.80}",
                state=self.name,
            )

    __hash__ = StateDescriptor.__hash__


@dataclass(frozen=True)
class AggregatingState(StateDescriptor, Generic[T, R]):
    """An accumulator for each key, of which ``get`` returns the result.

    Args:
        name: Names the state within its operator.
        aggregate: The function that creates accumulators, adds to them and reads them.
        ttl: How long an accumulator lives, or None: for ever.

    Raises:
        StateError: if ``aggregate`` is no `AggregateFunction`.
    """

    kind = "aggregating"
    aggregate: AggregateFunction[T, Any, R]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.aggregate, AggregateFunction):
            raise StateError(
                f"the aggregate of state {self.name!r} must be an AggregateFunction instance, "
                f"got {self.aggregate!r:.80}",
                state=self.name,
            )

    __hash__ = StateDescriptor.__hash__


class ValueHandle(Protocol[T]):
    """The value of the current key."""

    def get(self) -> T:
        """Return the value, or the descriptor's default (None without one) if there is none."""

    def set(self, value: T) -> None:
        """Store a value."""

    def update(self, function: Callable[[T], T]) -> T:
        """Store what ``function`` makes of the value (or the default), and return it."""

    def clear(self) -> None:
        """Forget the value."""


class ListHandle(Protocol[T]):
    """The list of the current key."""

    def get(self) -> list[T]:
        """Return the elements in a list of its own, which is empty if there are none."""

    def add(self, element: T) -> None:
        """Append one element."""

    def extend(self, elements: Iterable[T]) -> None:
        """Append several elements."""

    def set(self, elements: Iterable[T]) -> None:
        """Replace all elements."""

    def clear(self) -> None:
        """Forget all elements."""


class MapHandle(Protocol[K, V]):
    """The map of the current key.

    A map key is of a type that could be a key of the stream, or None.
    """

    def get(self, map_key: K, default: V | None = None) -> V | None:
        """Return the value under ``map_key``, or ``default``."""

    def put(self, map_key: K, value: V) -> None:
        """Store a value under ``map_key``."""

    def remove(self, map_key: K) -> None:
        """Forget the entry of ``map_key``, if there is one."""

    def contains(self, map_key: K) -> bool:
        """Return whether there is an entry of ``map_key``."""

    def keys(self) -> list[K]:
        """Return the map keys; the map may be changed while they are gone through."""

    def items(self) -> list[tuple[K, V]]:
        """Return the entries; the map may be changed while they are gone through."""

    def is_empty(self) -> bool:
        """Return whether there are no entries."""

    def clear(self) -> None:
        """Forget all entries."""


class ReducingHandle(Protocol[T]):
    """The reduced value of the current key."""

    def add(self, value: T) -> None:
        """Combine a value into the state; the first one is stored as it is."""

    def get(self) -> T | None:
        """Return the combined value, or None if nothing was added."""

    def clear(self) -> None:
        """Forget the value."""


class AggregatingHandle(Protocol[T_contra, R_co]):
    """The aggregate of the current key."""

    def add(self, value: T_contra) -> None:
        """Add a value to the accumulator."""

    def get(self) -> R_co | None:
        """Return the result of the accumulator, or None if nothing was added."""

    def clear(self) -> None:
        """Forget the accumulator."""
