"""One option of a component: its annotation, made checkable and describable.

An annotation splits into a *plain* part (what JSON can hold, checked and converted by msgspec) and
a *Python* part (protocols, classes, callables, checked by ``isinstance`` where possible).
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import os
import re
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

__all__ = ["Option", "options_of"]

_SCALARS = (str, int, float, bool, type(None), bytes)
_CONTAINERS = (list, dict, tuple, set, frozenset, collections.abc.Mapping, collections.abc.Sequence)
_PATHS = (os.PathLike,)


@dataclass(frozen=True)
class Option:
    """A named, typed option with its default; ``converted`` checks a value for it."""

    name: str
    plain: Any
    python: tuple[Any, ...]
    default: Any
    required: bool
    description: str

    def converted(self, value: Any) -> Any:
        """Return ``value`` with the declared type.

        Raises:
            ValueError: with the message and the path below this option, if it does not fit.
        """
        if any(_fits(value, hint) for hint in self.python):
            return value
        if value is None and self.plain is type(None):
            return None
        if self.plain is None or (self.plain is type(None) and self.python):
            expected = " or ".join(_spelled(h) for h in self.python)
            raise ValueError(f"expected {expected}, got {type(value).__name__}: {value!r:.100}")
        import msgspec

        try:
            return msgspec.convert(value, self.plain, strict=True)
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `$")
            if message.startswith("Invalid enum value") and (choices := _choices(self.plain)):
                message = f"expected {' or '.join(map(repr, choices))}"
            raise ValueError(f"{message}, got {value!r:.100}", path.rstrip("`")) from None

    @functools.cached_property
    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the plain part, or None if only a program can give this option."""
        if self.plain is None or self.plain is type(None):
            return None
        import msgspec

        schema = dict(msgspec.json.schema(self.plain))
        if not self.required and _is_plain_value(self.default):
            schema["default"] = self.default
        if self.description:
            schema["description"] = self.description
        return schema


@functools.cache
def options_of(cls: type) -> dict[str, Option]:
    """Return the options of a class, in the order of its constructor's parameters."""
    init = inspect.unwrap(cls.__init__)  # type: ignore[misc]
    hints = get_type_hints(init, include_extras=True)
    described = _described(cls)
    options = {}
    for name, parameter in list(inspect.signature(init).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        plain, python = _split(hints.get(name, Any))
        required = parameter.default is parameter.empty
        default = None if required else parameter.default
        options[name] = Option(name, plain, python, default, required, described.get(name, ""))
    return options


def _split(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Split an annotation into its plain part (or None) and its other members."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    plain = [m for m in members if _is_plain(m)]
    python = tuple(m for m in members if not _is_plain(m))
    if not plain:
        return None, python
    return (plain[0] if len(plain) == 1 else Union[tuple(plain)]), python  # noqa: UP007


def _is_plain(hint: Any) -> bool:
    if hint is None or hint in _SCALARS:
        return True
    origin = get_origin(hint)
    if origin is Annotated:
        return _is_plain(get_args(hint)[0])
    if origin is Literal:
        return True
    if origin in (Union, types.UnionType):
        return all(_is_plain(m) for m in get_args(hint))
    if origin in _CONTAINERS:
        return all(m is Ellipsis or m is Any or _is_plain(m) for m in get_args(hint))
    return False


def _choices(plain: Any) -> tuple[Any, ...]:
    """Return the values of a `Literal`, alone or in a union; none for anything else."""
    if get_origin(plain) is Literal:
        # In the order of none: typing may give the members of an equal Literal seen before.
        return tuple(sorted(get_args(plain), key=repr))
    return tuple(choice for member in get_args(plain) for choice in _choices(member))


def _fits(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    origin = get_origin(hint) or hint
    if origin is collections.abc.Callable:
        return callable(value)
    if not isinstance(origin, type):
        return True
    if issubclass(origin, _PATHS):
        return isinstance(value, (str, os.PathLike))
    try:
        return isinstance(value, origin)
    except TypeError:  # a protocol that is not runtime-checkable
        return not isinstance(value, _SCALARS)


def _spelled(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint)


def _is_plain_value(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain_value(v) for v in value)
    return value is None or isinstance(value, (str, int, float, bool))


def _described(cls: type) -> dict[str, str]:
    """Read the ``Args:`` section of the class's (or constructor's) Google-style docstring."""
    doc = inspect.getdoc(cls) or ""
    if "Args:" not in doc:
        doc = inspect.getdoc(cls.__init__) or ""  # type: ignore[misc]
    match = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", doc, re.MULTILINE)
    if not match:
        return {}
    entries = re.findall(r"^ {4}(\w+)(?: \([^)]*\))?: (.*(?:\n {6,}.*)*)", match[1], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
