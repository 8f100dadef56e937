"""Saves the files of a store so that a crash or a full disk leaves the files of before.

Each save writes files with a new suffix and then swaps ``store.json``, which names the suffix, by
an atomic rename. What no ``store.json`` names is left over and removed by the next save.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from sage.common.errors import StorageError
from sage.common.ids import fresh_id

__all__ = ["read_snapshot", "write_snapshot"]

_POINTER = "store.json"


def write_snapshot(
    directory: Path, facts: Mapping[str, Any], parts: Mapping[str, Callable[[BinaryIO], Any]]
) -> None:
    """Write the parts, then point to them.

    Args:
        directory: The store's directory; made if it does not exist.
        facts: What to remember beside: kind, dim, format.
        parts: By file name, what writes the file.

    Raises:
        StorageError: if they cannot be written; the last snapshot is still the valid one.
    """
    token = fresh_id()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, write in parts.items():
            _write(directory / f"{token}.{name}", write)
        pointer = msgspec.json.encode({**facts, "token": token})
        _write(directory / f"{token}.{_POINTER}", lambda file: file.write(pointer))
        os.replace(directory / f"{token}.{_POINTER}", directory / _POINTER)
        _remove(directory, keep=token)
    except OSError as error:
        _remove(directory, only=token)
        raise StorageError(
            f"cannot write the vector store {str(directory)!r}: {error.strerror or error}",
            path=str(directory),
        ) from error


def read_snapshot(
    directory: Path, kind: str
) -> tuple[dict[str, Any], Callable[[str], Path]] | None:
    """Return what was remembered and where each part is, or None if nothing was saved there.

    Raises:
        StorageError: if the pointer is damaged, or the directory holds a store of another kind.
    """
    try:
        facts = msgspec.json.decode((directory / _POINTER).read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise StorageError(
            f"cannot read the vector store {str(directory)!r}: {error}", path=str(directory)
        ) from error
    if facts.get("kind") != kind:
        raise StorageError(
            f"{str(directory)!r} holds a {facts.get('kind')!r} store, not a {kind!r} one",
            path=str(directory),
        )
    return facts, lambda name: directory / f"{facts['token']}.{name}"


def _write(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    with path.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _remove(directory: Path, *, keep: str | None = None, only: str | None = None) -> None:
    for path in directory.glob("*.*"):
        token = path.name.partition(".")[0]
        if path.name != _POINTER and token != keep and only in (None, token):
            path.unlink(missing_ok=True)
