"""Key groups: how a key finds its subtask, the same way in every process and every run.

A key hashes to one of 128 groups and each subtask owns a contiguous range of groups, so that state
can be moved by whole groups when the parallelism changes (as in Flink). The hash is BLAKE2b over a
canonical encoding; Python's own ``hash`` differs between processes.

Invariant: keys that are equal in Python (``0 == 0.0 == False``) have the same group.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime
from enum import Enum
from hashlib import blake2b
from typing import Any
from uuid import UUID

from sage.kernel.errors import KeyRefusedError

__all__ = [
    "KEY_GROUPS",
    "PLAIN_KEY_TYPES",
    "KeyRouter",
    "check_key",
    "key_group",
    "refused_key",
    "subtask_of_group",
]

KEY_GROUPS = 128

# Types all of whose values can be keys; of the others a value has to be looked at.
PLAIN_KEY_TYPES = frozenset({str, bytes, int, bool, date, datetime, UUID})


def key_group(key: Any) -> int:
    """Return the group of a key, from 0 to 127.

    Example:
        >>> key_group(0) == key_group(0.0) == key_group(False)
        True
        >>> key_group(None)
        Traceback (most recent call last):
        sage.kernel.errors.KeyRefusedError: None cannot be a key
          hint: filter such records out before key_by, or give them a key of their own

    Raises:
        KeyRefusedError: if the key is None, NaN or of a type with no stable hash.
    """
    # Of the hash, least significant byte first, the remainder is that of its first byte.
    return blake2b(_encoded(key), digest_size=8).digest()[0] % KEY_GROUPS


def subtask_of_group(group: int, parallelism: int) -> int:
    """Return the subtask that owns a group: ranges of groups, as even as can be."""
    return group * parallelism // KEY_GROUPS


def check_key(key: Any) -> None:
    """Raise if ``key`` cannot be a key.

    Raises:
        KeyRefusedError: as `key_group` does.
    """
    _encoded(key)


class KeyRouter(dict[Any, int]):
    """Maps keys to subtasks, remembering a bounded number of answers.

    Args:
        parallelism: How many subtasks there are.
        max_entries: How many keys to remember before starting over.
    """

    def __init__(self, parallelism: int, max_entries: int = 1 << 17) -> None:
        super().__init__()
        self.parallelism = parallelism
        self.max_entries = max_entries

    def __missing__(self, key: Any) -> int:
        subtask = subtask_of_group(key_group(key), self.parallelism)
        if len(self) >= self.max_entries:
            self.clear()
        self[key] = subtask
        return subtask


def _encoded(key: Any) -> bytes:
    if type(key) is str:
        return b"s" + key.encode("utf-8", "surrogatepass")
    encode = _ENCODERS.get(type(key))
    if encode is None:
        encode = _encoder_for(key)
        if encode is None:
            raise refused_key(key)
    return encode(key)


def refused_key(key: Any) -> KeyRefusedError:
    """Return the error that says why ``key`` cannot be a key."""
    if key is None:
        return KeyRefusedError(
            "None cannot be a key",
            hint="filter such records out before key_by, or give them a key of their own",
        )
    return KeyRefusedError(
        f"a {type(key).__name__} cannot be a key: {key!r:.100}",
        hint="keys are str, bytes, int, bool, float, date, datetime, UUID, Enum, "
        "and tuples or frozen dataclasses of these",
    )


def _number(key: Any) -> bytes:
    if isinstance(key, float):
        if key != key:
            raise KeyRefusedError("NaN cannot be a key: it does not equal itself")
        if not key.is_integer():
            return b"f" + struct.pack("<d", key)
        key = int(key)
    return b"i%d" % int(key)


def _infinite_or_number(key: float) -> bytes:
    if key in (float("inf"), float("-inf")):
        return b"f" + struct.pack("<d", key)
    return _number(key)


def _tuple(key: Any) -> bytes:
    parts = [_encoded(item) for item in key]
    return b"t" + b"".join(b"%d:" % len(part) + part for part in parts)


def _datetime(key: datetime) -> bytes:
    # Aware datetimes are equal when they are the same instant; naive ones equal no aware one.
    if key.tzinfo is not None:
        return b"z" + key.astimezone(UTC).isoformat().encode()
    return b"n" + key.isoformat().encode()


def _dataclass(key: Any) -> bytes:
    values = tuple(getattr(key, f.name) for f in dataclasses.fields(key) if f.compare)
    return b"c" + type(key).__qualname__.encode() + _tuple(values)


def _encoder_for(key: Any) -> Callable[[Any], bytes] | None:
    """Find the encoder of a subclass, by what the key is equal to."""
    if isinstance(key, (bool, int, float, str, bytes)):
        base = next(b for b in (bool, int, float, str, bytes) if isinstance(key, b))
        return _ENCODERS[base]
    if isinstance(key, Enum):
        return lambda k: b"e" + f"{type(k).__qualname__}.{k.name}".encode()
    if isinstance(key, tuple):
        return _tuple
    parameters = getattr(type(key), "__dataclass_params__", None)
    if parameters is not None and parameters.frozen:
        return _dataclass
    if isinstance(key, datetime):
        return _datetime
    return None


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    str: lambda key: b"s" + str.encode(key, "utf-8", "surrogatepass"),
    bytes: lambda key: b"b" + key,
    bool: _number,
    int: _number,
    float: _infinite_or_number,
    tuple: _tuple,
    datetime: _datetime,
    date: lambda key: b"d" + key.isoformat().encode(),
    UUID: lambda key: b"u" + key.bytes,
}
