"""Saves the files of a store so that a crash or a full disk leaves the files of before.

Each save writes files with a new prefix and then swaps ``store.json``, which names the prefix, by
an atomic rename. What no ``store.json`` names is left over and removed by the next save.

The invariant: what is read is, byte for byte, what was written. ``store.json`` has the length and
the CRC-32 of each file and of itself, and a file is given out only after it was compared; a flipped
bit or a missing end is an error here, and nothing that FAISS or numpy would have to make sense of.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from sage.common.errors import StorageError
from sage.common.ids import fresh_id

__all__ = ["current_token", "read_snapshot", "saved_facts", "write_snapshot"]

FORMAT: Final = 2
_POINTER: Final = "store.json"
_BLOCK: Final = 1 << 20


def write_snapshot(
    directory: Path,
    facts: Mapping[str, Any],
    parts: Mapping[str, Callable[[Callable[[bytes], Any]], Any]],
) -> str:
    """Write the parts, then point to them; return the token of this save.

    Args:
        directory: The store's directory; made if it does not exist.
        facts: What to remember beside: kind, dim, model.
        parts: By file name, what writes the file when it is called with the file's ``write``.

    Raises:
        StorageError: if they cannot be written; the last snapshot is still the valid one.
    """
    token = fresh_id()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        sums = {name: _write(_part(directory, token, name), part) for name, part in parts.items()}
        saved = {"format": FORMAT, **facts, "token": token, "parts": sums}
        saved["crc32"] = zlib.crc32(msgspec.json.encode(saved))
        pointer = msgspec.json.encode(saved)
        _write(directory / f"{token}.{_POINTER}", lambda write: write(pointer))
        os.replace(directory / f"{token}.{_POINTER}", directory / _POINTER)
        _remove(directory, keep=token)
    except OSError as error:
        _remove(directory, only=token)
        raise StorageError(
            f"cannot write the vector store {str(directory)!r}: {error.strerror or error}",
            path=str(directory),
        ) from error
    return token


def current_token(directory: Path) -> str | None:
    """Return the token of the last save, or None if nothing was saved.

    Raises:
        StorageError: if the pointer is damaged.
    """
    saved = _pointer(directory)
    return None if saved is None else str(saved["token"])


def read_snapshot(
    directory: Path, kind: str
) -> tuple[dict[str, Any], Callable[[str], Path]] | None:
    """Return what was remembered and where each part is, or None if nothing was saved there.

    The parts are whole when this returns. A save by another process meanwhile removes them; then
    this looks again, and reads what that one saved.

    Raises:
        StorageError: if anything is damaged, or the directory holds a store of another kind.
    """
    saved = _pointer(directory)
    while saved is not None:
        if saved.get("kind") != kind:
            raise StorageError(
                f"{str(directory)!r} holds a {saved.get('kind')!r} store, not a {kind!r} one",
                path=str(directory),
            )
        token = saved["token"]
        try:
            for name, expected in saved["parts"].items():
                _compare(_part(directory, token, name), expected)
        except FileNotFoundError as error:
            again = _pointer(directory)
            if again is None or again["token"] == token:
                raise _damaged(directory, f"{error.filename!r} is missing") from error
            saved = again
            continue
        return saved, partial(_part, directory, token)
    return None


def _part(directory: Path, token: str, name: str) -> Path:
    return directory / f"{token}.{name}"


def saved_facts(directory: Path) -> Mapping[str, Any]:
    """Return what the last save remembered; nothing if nothing was saved.

    Raises:
        StorageError: if the pointer is damaged.
    """
    return _pointer(directory) or {}


def _pointer(directory: Path) -> dict[str, Any] | None:
    """Return the facts of the last save, checked against their own sum."""
    try:
        saved = msgspec.json.decode((directory / _POINTER).read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise _damaged(directory, f"{_POINTER}: {error}") from error
    expected = saved.pop("crc32", None)
    if saved.get("format") != FORMAT and expected is None:
        raise StorageError(
            f"the vector store {str(directory)!r} has the format {saved.get('format')!r}, "
            f"this version of SAGE reads {FORMAT}",
            hint="remove the directory and build the store again",
            path=str(directory),
        )
    if zlib.crc32(msgspec.json.encode(saved)) != expected:
        raise _damaged(directory, f"{_POINTER} is not as it was written")
    return saved


def _compare(path: Path, expected: Any) -> None:
    if (found := _sum_of(path)) != expected:
        what = "cut off" if found["bytes"] < expected["bytes"] else "not as it was written"
        raise _damaged(path.parent, f"{path.name} is {what}")


def _sum_of(path: Path) -> dict[str, int]:
    crc = size = 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                crc, size = zlib.crc32(block, crc), size + len(block)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _damaged(path.parent, f"{path.name}: {error.strerror}") from error
    return {"bytes": size, "crc32": crc}


def _damaged(directory: Path, what: str) -> StorageError:
    return StorageError(
        f"the vector store {str(directory)!r} is damaged: {what}",
        hint="restore the directory from a backup, or remove it and build the store again",
        path=str(directory),
    )


def _write(path: Path, part: Callable[[Callable[[bytes], Any]], Any]) -> dict[str, int]:
    """Write a file through to the disk; return its length and sum."""
    crc = size = 0
    with path.open("wb") as file:

        def write(data: bytes) -> None:
            nonlocal crc, size
            file.write(data)
            crc, size = zlib.crc32(data, crc), size + len(data)

        part(write)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": size, "crc32": crc}


def _remove(directory: Path, *, keep: str | None = None, only: str | None = None) -> None:
    for path in directory.glob("*.*"):
        token = path.name.partition(".")[0]
        if path.name != _POINTER and token != keep and only in (None, token):
            path.unlink(missing_ok=True)
