"""How values of state become bytes and come back with exactly their types.

The format is MessagePack, whose own types cover None, bool, int, float, str, bytes, list and dict.
Everything else is an extension: a number for the type, then its parts, stored in the same way. A
tuple comes back a tuple, ``True`` is not 1, and a value of a type that is not listed here (a
subclass of a listed one included) is refused instead of being stored as something similar.

Loading executes no code that the bytes choose: see ``own_classes``.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from sage.kernel.errors import StateCodecError
from sage.kernel.state.array_codec import (
    array_parts,
    is_array,
    is_numpy_scalar,
    restored_array,
    restored_scalar,
)
from sage.kernel.state.own_classes import (
    OwnClasses,
    UnstorableError,
    instance_kind,
    instance_parts,
    rebuilt,
)

__all__ = ["PLAIN_VALUE_TYPES", "UNCHANGEABLE_TYPES", "StateCodec"]

# What MessagePack keeps by itself, but for huge ints and strs with surrogates.
PLAIN_VALUE_TYPES = frozenset({type(None), bool, int, float, str, bytes})
_ALWAYS_PLAIN = PLAIN_VALUE_TYPES - {int, str}
_FROZEN = PLAIN_VALUE_TYPES - {bytes}  # detached bytes are what has been encoded
UNCHANGEABLE_TYPES = PLAIN_VALUE_TYPES | {
    *(date, datetime, time, timedelta, Decimal, UUID, complex),
}

# The numbers of the extensions are part of the format: never change or reuse one.
_HUGE_INT, _ODD_STR, _OWN_CLASS, _ARRAY, _SCALAR, _TUPLE, _PAIRS = range(1, 8)
_UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
_MICROSECOND = timedelta(microseconds=1)


class _Extension(NamedTuple):
    """How one type is taken apart and put together; ``parts`` gives something storable."""

    number: int
    parts: Callable[[Any], Any]
    restored: Callable[[Any], Any]


class StateCodec:
    """Encodes and decodes the values of one state.

    Args:
        operator: Name of the operator, for errors.
        state: Name of the state, for errors.
        classes: The job's own classes; shared by the codecs of a job.

    Example:
        >>> codec = StateCodec()
        >>> codec.decode(codec.encode((1, True, {2: b"x"})))
        (1, True, {2: b'x'})
        >>> StateCodec(operator="join", state="left").encode({"rows": object()})
        Traceback (most recent call last):
        sage.kernel.errors.StateCodecError: state 'left' of operator 'join': a value of type
        object cannot be stored: <object object at ...>
          hint: ...
    """

    def __init__(
        self, operator: str = "", state: str = "", classes: OwnClasses | None = None
    ) -> None:
        self._operator, self._state = operator, state
        self._classes = classes if classes is not None else OwnClasses()
        # Takes longer to import than the rest of the kernel; a job without state never needs it.
        from msgspec import DecodeError
        from msgspec.msgpack import Decoder, Encoder, Ext

        self._dump, self._ext = Encoder().encode, Ext
        self._load = Decoder(ext_hook=self._restored).decode
        self._unreadable = (DecodeError, *_UNREADABLE)

    def encode(self, value: Any) -> bytes:
        """Return the bytes of a value.

        Raises:
            StateCodecError: if it, or something in it, cannot be stored with its type.
        """
        try:
            try:
                if type(value) in PLAIN_VALUE_TYPES:
                    return self._dump(value)
                return self._dump(self._packed(value, PLAIN_VALUE_TYPES))
            except (OverflowError, UnicodeEncodeError):
                # Somewhere inside is a huge int or an odd str: look at each of them.
                return self._dump(self._packed(value, _ALWAYS_PLAIN))
        except UnstorableError as error:
            raise self._error(error.reason, error.type_name, error.hint) from error
        except RecursionError as error:
            name = type(value).__name__
            raise self._error(f"a {name} that contains itself cannot be stored", name) from error

    def decode(self, data: bytes) -> Any:
        """Return the value that was encoded.

        Raises:
            StateCodecError: if the bytes are damaged or name a class that the job does not know.
        """
        try:
            return self._load(data)
        except UnstorableError as error:
            raise self._error(error.reason, error.type_name, error.hint) from error
        except self._unreadable as error:
            raise self._error(f"{len(data)} stored bytes cannot be read: {error}", "") from error

    def copied(self, value: Any) -> Any:
        """Return an equal value that shares nothing that can be changed.

        What can be stored is copied as it would be stored and read back, except flat lists and
        dicts; that takes a quarter of the time of ``copy.deepcopy``.

        Raises:
            StateCodecError: if it cannot be stored.
        """
        cls, flat = type(value), UNCHANGEABLE_TYPES.issuperset
        if cls in UNCHANGEABLE_TYPES:
            return value
        if (cls is tuple or cls is list) and flat(map(type, value)):
            return value if cls is tuple else value.copy()
        if cls is dict and flat(map(type, value)) and flat(map(type, value.values())):
            return value.copy()
        return self.decode(self.encode(value))

    def detached(self, value: Any) -> Any:
        """Return something that later changes to ``value`` do not reach, as cheaply as can be.

        A value that nothing can change is returned as it is, any other as its bytes: many copies
        of lists would be as many objects for the garbage collector to look at.
        """
        cls = type(value)
        if cls in _FROZEN or (cls is tuple and _FROZEN.issuperset(map(type, value))):
            return value
        return self.encode(value)

    def all_detached(self, values: list[Any]) -> list[Any]:
        """Return what `detached` returns for each, at C's speed where all are plain or tuples."""
        kinds = set(map(type, values))
        if kinds <= _FROZEN:
            return values
        if kinds == {tuple} and _FROZEN.issuperset(map(type, chain.from_iterable(values))):
            return values
        return list(map(self.detached, values))

    def encode_detached(self, detached: Any) -> bytes:
        """Return the bytes of what `detached` returned."""
        return detached if type(detached) is bytes else self.encode(detached)

    def _error(self, reason: str, type_name: str, hint: str | None = None) -> StateCodecError:
        return StateCodecError(
            reason, operator=self._operator, state=self._state, type_name=type_name, hint=hint
        )

    def _packed(self, value: Any, plain: frozenset[type]) -> Any:
        """Return ``value`` with everything but ``plain`` types, lists and dicts made extensions."""
        cls = type(value)
        if cls in plain:
            return value
        if cls is list:
            if plain.issuperset(map(type, value)):
                return value
            return [self._packed(item, plain) for item in value]
        if cls is dict:
            return self._packed_dict(value, plain)
        if cls is tuple and plain.issuperset(map(type, value)):
            return self._ext(_TUPLE, self._dump(value))
        number, parts = self._taken_apart(value, cls)
        return self._ext(number, self._dump(self._packed(parts, plain)))

    def _packed_dict(self, value: dict[Any, Any], plain: frozenset[type]) -> Any:
        if not plain.issuperset(map(type, value)):
            return self._ext(
                _PAIRS, self._dump([self._packed(item, plain) for item in _flat(value)])
            )
        if plain.issuperset(map(type, value.values())):
            return value
        return {key: self._packed(item, plain) for key, item in value.items()}

    def _taken_apart(self, value: Any, cls: type) -> tuple[int, Any]:
        extension = _EXTENSIONS.get(cls)
        if extension is not None:
            return extension.number, extension.parts(value)
        kind = instance_kind(cls)
        if kind is not None:
            return _OWN_CLASS, [*self._classes.name_of(cls), instance_parts(kind, value)]
        if is_array(cls):
            return _ARRAY, array_parts(value)
        if is_numpy_scalar(cls):
            return _SCALAR, array_parts(value)
        raise UnstorableError(
            f"a value of type {cls.__qualname__} cannot be stored: {value!r:.100}",
            cls.__qualname__,
            "state holds plain values, containers, dates, numbers, arrays, dataclasses, named "
            "tuples and enums; keep anything else in the function, made in open()",
        )

    def _restored(self, number: int, data: memoryview) -> Any:
        parts = self._load(data)
        if number == _OWN_CLASS:
            module, qualname, fields = parts
            return rebuilt(self._classes.find(module, qualname), fields)
        restore = _RESTORERS.get(number)
        if restore is None:
            raise UnstorableError(
                f"a stored value has type number {number}, which this version does not know",
                str(number),
                "it was written by a newer version",
            )
        return restore(parts)


def _zone(zone: tzinfo | None) -> int | str | None:
    if zone is None:
        return None
    if type(zone) is timezone:
        return zone.utcoffset(None) // _MICROSECOND
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    raise UnstorableError(
        f"a time zone of type {type(zone).__qualname__} cannot be stored: {zone!r}",
        type(zone).__qualname__,
        "use datetime.timezone or zoneinfo.ZoneInfo",
    )


def _restored_zone(zone: int | str | None) -> tzinfo | None:
    if zone is None:
        return None
    return ZoneInfo(zone) if isinstance(zone, str) else timezone(zone * _MICROSECOND)


def _datetime_parts(v: datetime) -> Any:
    clock = (v.hour, v.minute, v.second, v.microsecond)
    return [v.year, v.month, v.day, *clock, v.fold, _zone(v.tzinfo)]


def _time_parts(v: time) -> Any:
    return [v.hour, v.minute, v.second, v.microsecond, v.fold, _zone(v.tzinfo)]


def _restored_datetime(parts: Any) -> datetime:
    *numbers, fold, zone = parts
    return datetime(*numbers).replace(fold=fold, tzinfo=_restored_zone(zone))


def _restored_time(parts: Any) -> time:
    *numbers, fold, zone = parts
    return time(*numbers).replace(fold=fold, tzinfo=_restored_zone(zone))


def _pairs(parts: Any) -> Any:
    return zip(parts[::2], parts[1::2], strict=True)


def _flat(value: dict[Any, Any]) -> list[Any]:
    return [item for pair in value.items() for item in pair]


def _storable_int(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


_EXTENSIONS: dict[type, _Extension] = {
    int: _Extension(_HUGE_INT, _storable_int, lambda p: int.from_bytes(p, "little", signed=True)),
    str: _Extension(
        _ODD_STR,
        lambda v: v.encode("utf-8", "surrogatepass"),
        lambda p: p.decode("utf-8", "surrogatepass"),
    ),
    tuple: _Extension(_TUPLE, list, tuple),
    set: _Extension(8, list, set),
    frozenset: _Extension(9, list, frozenset),
    bytearray: _Extension(10, bytes, bytearray),
    datetime: _Extension(11, _datetime_parts, _restored_datetime),
    date: _Extension(12, date.toordinal, date.fromordinal),
    time: _Extension(13, _time_parts, _restored_time),
    timedelta: _Extension(
        14, lambda v: [v.days, v.seconds, v.microseconds], lambda p: timedelta(*p)
    ),
    UUID: _Extension(15, lambda v: v.bytes, lambda p: UUID(bytes=p)),
    Decimal: _Extension(16, str, Decimal),
    complex: _Extension(17, lambda v: [v.real, v.imag], lambda p: complex(*p)),
    deque: _Extension(18, lambda v: [v.maxlen, *v], lambda p: deque(p[1:], p[0])),
    OrderedDict: _Extension(19, _flat, lambda p: OrderedDict(_pairs(p))),
    Counter: _Extension(20, _flat, lambda p: Counter(dict(_pairs(p)))),
}
_RESTORERS: dict[int, Callable[[Any], Any]] = {
    _PAIRS: lambda parts: dict(_pairs(parts)),
    _ARRAY: restored_array,
    _SCALAR: restored_scalar,
    **{extension.number: extension.restored for extension in _EXTENSIONS.values()},
}
