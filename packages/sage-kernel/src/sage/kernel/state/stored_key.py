"""The one form in which equal keys are stored, so that they meet on disk as they do in a dict.

``1``, ``1.0`` and ``True`` are one key in Python and would be three to a codec that keeps types.
Each key has a canonical form; the key itself is stored beside it where the two differ.

Invariant: two keys have the same canonical form exactly if they are equal.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

from sage.kernel.state.key_group import refused_key

__all__ = ["canonical_key"]

_CANONICAL = frozenset({str, bytes, int, UUID, date, type(None)})


def canonical_key(key: Any) -> Any:
    """Return the canonical form, which is the key itself wherever it can be.

    Example:
        >>> canonical_key((1.0, True, "a")), canonical_key(1.5)
        ((1, 1, 'a'), 1.5)

    Raises:
        KeyRefusedError: if it cannot be a key. None is let through: it can be a map key.
    """
    if type(key) in _CANONICAL:
        return key
    if isinstance(key, int):
        return int(key)
    if isinstance(key, float):
        if key != key:
            raise refused_key(key)
        return int(key) if key.is_integer() else float(key)
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, bytes):
        return bytes(key)
    if isinstance(key, Enum):
        return key
    if isinstance(key, tuple):
        canonical = tuple(map(canonical_key, key))
        same = type(key) is tuple and all(a is b for a, b in zip(canonical, key, strict=True))
        return key if same else canonical
    if isinstance(key, datetime):
        return key.replace(fold=0) if key.tzinfo is None else key.astimezone(UTC).replace(fold=0)
    parameters = getattr(type(key), "__dataclass_params__", None)
    if parameters is not None and parameters.frozen:
        # A list cannot be a key itself, so this form is never another key's.
        fields = [getattr(key, field.name) for field in dataclasses.fields(key) if field.compare]
        return [type(key).__module__, type(key).__qualname__, *map(canonical_key, fields)]
    raise refused_key(key)
