"""Which classes a stored value may come back as: those of the job, and nothing else.

A stored instance names its class. Loading looks that name up among the classes that the job
declared, those that it stored itself, and those in modules that are imported already; it imports
nothing and calls no module's ``__getattr__``. A dataclass or named tuple gets its fields without
its constructor being called.

Invariant: bytes from outside can name a class, but never make one be imported, nor be anything but
a dataclass, a named tuple, an enum or a ``msgspec.Struct``.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable
from enum import Enum, Flag
from functools import lru_cache
from typing import Any

__all__ = ["OwnClasses", "UnstorableError", "instance_kind", "instance_parts", "rebuilt"]

_NATIVE = (int, float, str, bytes, tuple, list, dict, set, frozenset, BaseException)


class UnstorableError(Exception):
    """A value cannot be stored or read; the codec says where."""

    def __init__(self, reason: str, type_name: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.type_name, self.hint = reason, type_name, hint


class OwnClasses:
    """The classes that one job may restore.

    Args:
        declared: Classes that the job says it stores; needed only for those that cannot be found
            by name in an imported module, such as classes inside functions.
    """

    def __init__(self, declared: Iterable[type] = ()) -> None:
        self._known: dict[tuple[str, str], type] = {}
        for cls in declared:
            self.declare(cls)

    def declare(self, cls: type) -> None:
        """Let instances of ``cls`` be stored and restored."""
        self._known[cls.__module__, cls.__qualname__] = cls

    def name_of(self, cls: type) -> tuple[str, str]:
        """Return the name under which an instance of ``cls`` is stored.

        Raises:
            UnstorableError: if the class could not be found by it later.
        """
        name = cls.__module__, cls.__qualname__
        if name not in self._known:
            if "<locals>" in cls.__qualname__:
                raise UnstorableError(
                    f"the class {cls.__qualname__} is defined inside a function and could not be "
                    "found again",
                    cls.__qualname__,
                    "define it at the top level of a module",
                )
            self._known[name] = cls
        return name

    def find(self, module: str, qualname: str) -> type:
        """Return the class of that name.

        Raises:
            UnstorableError: if the job does not know it.
        """
        cls = self._known.get((module, qualname)) or _imported(module, qualname)
        if cls is None:
            raise UnstorableError(
                f"the class {module}.{qualname} is not among those that this job declares or "
                "imports",
                qualname,
                f"import {module} before the job starts, or declare the class",
            )
        return cls


def _imported(module: str, qualname: str) -> type | None:
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        # Not getattr: that might run a module's or a metaclass's own code.
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    return found if isinstance(found, type) else None


@lru_cache(maxsize=256)
def instance_kind(cls: type) -> str | None:
    """Return what sort of own class this is: enum, struct, tuple, dataclass; None if none."""
    import msgspec  # the codec has done so before; see there

    if issubclass(cls, Enum):
        return "enum"
    if issubclass(cls, msgspec.Struct):
        return "struct"
    if issubclass(cls, tuple):
        return "tuple" if isinstance(getattr(cls, "_fields", None), tuple) else None
    if dataclasses.is_dataclass(cls) and not issubclass(cls, _NATIVE):
        return "dataclass"
    return None


def instance_parts(kind: str, value: Any) -> Any:
    """Return what makes up an instance: plain containers that hold its fields."""
    if kind == "enum":
        return value.value if isinstance(value, Flag) else value.name
    if kind == "tuple":
        return dict(zip(value._fields, value, strict=True))
    if kind == "struct":
        return {name: getattr(value, name) for name in value.__struct_fields__}
    cls: Any = type(value)
    parts = {name: getattr(value, name) for name in _fields(cls) if hasattr(value, name)}
    # What __post_init__ or a method left beside the fields is part of the value as well.
    return parts | getattr(value, "__dict__", {})


def rebuilt(cls: type, parts: Any) -> Any:
    """Return the instance that `instance_parts` took apart.

    Raises:
        UnstorableError: if the class has changed since, or is none of the kinds that are restored.
    """
    kind = instance_kind(cls)
    if kind == "enum":
        return _member(cls, parts)
    if kind is None or not isinstance(parts, dict):
        raise UnstorableError(
            f"{cls.__qualname__} is no dataclass, named tuple, enum or Struct", cls.__qualname__
        )
    if kind == "struct":
        # The constructor is the only way in; it fills in fields that are new and have a default.
        _changed_unless(cls, set(parts) <= set(_names(cls, kind)))
        return cls(**parts)
    if kind == "tuple":
        _changed_unless(cls, tuple(parts) == _names(cls, kind))
        return tuple.__new__(cls, parts.values())
    instance: Any = object.__new__(cls)
    if parts.keys() != _fields(cls).keys():
        _reconcile(cls, parts, open_ended=hasattr(instance, "__dict__"))
    for name, part in parts.items():
        object.__setattr__(instance, name, part)
    return instance


@lru_cache(maxsize=256)
def _fields(cls: Any) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of a dataclass by name, in order."""
    return {field.name: field for field in dataclasses.fields(cls)}


def _reconcile(cls: type, parts: dict[str, Any], *, open_ended: bool) -> None:
    """Fill in fields that are new and have a default; refuse what has no place any more."""
    for name, field in _fields(cls).items():
        if name not in parts and field.default is not dataclasses.MISSING:
            parts[name] = field.default
        _changed_unless(cls, name in parts or not field.init, name)
    for name in parts:
        _changed_unless(cls, open_ended or hasattr(cls, name), name)


def _names(cls: Any, kind: str) -> tuple[str, ...]:
    names: tuple[str, ...] = cls.__struct_fields__ if kind == "struct" else cls._fields
    return names


def _member(cls: Any, parts: Any) -> Any:
    if issubclass(cls, Flag):
        return cls(parts)
    _changed_unless(cls, parts in cls._member_map_, str(parts))
    return cls._member_map_[parts]


def _changed_unless(cls: type, same: bool, name: str | None = None) -> None:
    if not same:
        what = f" ({name!r})" if name else ""
        raise UnstorableError(
            f"the fields of {cls.__qualname__} have changed since its values were stored{what}",
            cls.__qualname__,
            "give new fields a default; restore old ones, or start without the stored state",
        )
