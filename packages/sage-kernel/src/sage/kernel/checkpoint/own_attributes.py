"""Finds functions that keep state in their own attributes, which no checkpoint remembers.

A function that counts in ``self.count`` works until the day of the recovery, and then counts from
zero. What it should do is use ``context.state(...)`` or define ``snapshot_state``. It cannot be
proved that an attribute matters; it can be seen that it changes. So its attributes are looked at
behind ``open`` and again at checkpoints, and what is different then is state, unless it looks like
one of these:

* a resource: a client, a lock, a logger, a model, anything that is no plain value or container.
  It may also come late (``None`` at first) or be replaced;
* a value that is found out once: ``None`` or missing at first, and the same ever since;
* a cache: its name says so, or it is a `functools.cached_property`. Losing it costs time only.

A counter is state, also where it is only shown: ``context.metrics.counter(name)`` is made for that,
and is part of the checkpoint.

The look is cheap and shallow, at most some hundred values: it may miss what changes deep inside a
large structure, and it holds no reference to anything that the function can change.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import deque
from collections.abc import Iterable
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from itertools import chain
from pathlib import PurePath
from typing import Any
from uuid import UUID

from sage.common.core.functions import Function, ReplayableSource, TransactionalSink

__all__ = ["OwnAttributes"]

_PLAIN = (
    *(type(None), int, float, complex, str, bytes, Enum),
    *(date, time, timedelta, Decimal, Fraction, UUID, PurePath),
)
_CONTAINERS = (list, tuple, set, frozenset, deque)
_DEFAULTS = (*_PLAIN, dict, *_CONTAINERS)
_MOST_VALUES = 500  # of an attribute, in all
_MOST_BYTES = 1 << 16  # of an array

_NOTHING = object()  # None, or no such attribute
_RESOURCE = object()


class OwnAttributes:
    """The attributes of a function as they were behind ``open``.

    Args:
        function: A function that is open and has seen no record.

    Example:
        >>> from sage.common.core.functions import MapFunction
        >>> class Numbered(MapFunction):
        ...     count = 0
        ...
        ...     def map(self, record):
        ...         self.count += 1
        ...         return self.count, record
        >>> function = Numbered()
        >>> attributes = OwnAttributes(function)
        >>> attributes.changed()
        []
        >>> function.map("a"), attributes.changed()
        ((1, 'a'), ['count'])
    """

    def __init__(self, function: Function) -> None:
        self._function = function if _keeps_to_itself(function) else None
        self._before = self._looks()

    def changed(self) -> list[str]:
        """Return the names of those that hold state; called between two batches.

        What was nothing behind ``open`` and is a value now may have been found out once and for
        all; it is named when it changes again. So ask at each checkpoint until there is an answer.
        """
        now = self._looks()
        names = []
        for name, look in now.items():
            before = self._before.get(name, _NOTHING)
            if before is _NOTHING:
                self._before[name] = look
            elif before is not _RESOURCE and look is not _RESOURCE and before != look:
                names.append(name)
        return sorted(names)

    def _looks(self) -> dict[str, Any]:
        if self._function is None:
            return {}
        cls = type(self._function)
        return {
            name: _NOTHING if value is None else _Eye().look(value)
            for name, value in _attributes(self._function).items()
            if not _is_of_the_engine(name) and not _is_cache(cls, name)
        }


def _keeps_to_itself(function: Function) -> bool:
    """Whether nothing else takes care of what it remembers."""
    return not (
        type(function).snapshot_state is not Function.snapshot_state
        or isinstance(function, (ReplayableSource, TransactionalSink))
    )


def _attributes(function: Function) -> dict[str, Any]:
    """Return its own attributes and, where it has not set them yet, the defaults of its classes."""
    values: dict[str, Any] = {}
    for cls in reversed(type(function).__mro__[: type(function).__mro__.index(Function)]):
        values |= {n: v for n, v in vars(cls).items() if isinstance(v, _DEFAULTS)}
    return values | vars(function)


def _is_of_the_engine(name: str) -> bool:
    return name in ("context", "logger")


def _is_cache(cls: type, name: str) -> bool:
    lower = name.lower()
    if "cache" in lower or "memo" in lower:
        return True
    return isinstance(getattr(cls, name, None), functools.cached_property)


class _Eye:
    """Looks at one attribute, and sees no more than some hundred values of it."""

    def __init__(self) -> None:
        self._left = _MOST_VALUES

    def look(self, value: Any) -> Any:
        """Return what compares equal as long as nothing that can be seen has changed."""
        self._left -= 1
        cls = type(value)
        if isinstance(value, _PLAIN):
            return cls, value
        if isinstance(value, dict):
            return cls, len(value), self._each(chain.from_iterable(value.items()))
        if isinstance(value, _CONTAINERS):
            return cls, len(value), self._each(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = (getattr(value, f.name, None) for f in dataclasses.fields(value))
            return cls, self._each(fields)
        if (content := _content(value)) is not None:
            return cls, content
        return _RESOURCE

    def _each(self, values: Iterable[Any]) -> tuple[Any, ...]:
        looks = []
        for value in values:
            if self._left <= 0:
                break
            look = self.look(value)
            looks.append(look if look is not _RESOURCE else id(value))
        return tuple(looks)


def _content(value: Any) -> Any:
    """Return the bytes of a small array, the size of a large one, or None if it is none."""
    try:
        view = memoryview(value)
    except (TypeError, ValueError, BufferError):
        return None
    return view.tobytes() if view.nbytes <= _MOST_BYTES else view.nbytes
