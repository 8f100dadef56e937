"""Keeps two processes from damaging one store: many may read it, or one alone writes.

A POSIX record lock on the file ``LOCK`` of the store's directory. It goes with the process, however
that ends, is not inherited by a fork, and the system knows who holds it, so that a refusal can name
the process. Two things about it are awkward and handled here: it does not keep apart two stores
within one process (a table of this process does), and closing any descriptor of the file lets go of
it (there is one descriptor for each directory).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
import threading
import weakref
from pathlib import Path
from typing import Final

from sage.common.errors import StorageError

__all__ = ["LOCK_FILE", "StoreLock"]

LOCK_FILE: Final = "LOCK"

_PROCESS: Final = 0  # the writer where all stores of this process write together

# struct flock: Linux puts type and whence first, BSD and macOS last.
_LINUX: Final = sys.platform.startswith("linux")
_FLOCK: Final = "hhqqi" if _LINUX else "qqihh"


class _Directory:
    """What this process holds of one directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pid = os.getpid()
        self.holders: set[int] = set()
        self.writer: int | None = None
        self.descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


_table: dict[Path, _Directory] = {}
# Reentrant, because the garbage collector may let go of another store while we hold it.
_guard = threading.RLock()


class StoreLock:
    """The lock of one store on its directory; let go of by `release`, or with the process.

    Args:
        directory: The store's directory; it must exist once the lock is shared.
        together: Whether the stores of this process on the directory count as one, because the
            library under them shares it by itself.
    """

    def __init__(self, directory: Path, *, together: bool = False) -> None:
        self._directory = directory
        self._path = Path(os.path.realpath(directory))
        self._me = _PROCESS if together else id(self)
        self._held: weakref.finalize[..., StoreLock] | None = None

    def share(self) -> None:
        """Hold it together with other readers.

        Raises:
            StorageError: if a process writes the store; it is named.
        """
        self._take(fcntl.LOCK_SH)

    def own(self) -> None:
        """Hold it alone, from now until `release`; make its directory if it is not there.

        Raises:
            StorageError: if somebody else has the store; the process is named. If the directory
                cannot be made.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot write the vector store {str(self._directory)!r}: {error.strerror}",
                path=str(self._directory),
            ) from error
        self._take(fcntl.LOCK_EX)

    @property
    def owned(self) -> bool:
        """Whether this store, in this process, may write."""
        entry = _table.get(self._path)
        return entry is not None and entry.writer == self._me and entry.pid == os.getpid()

    def release(self) -> None:
        """Let go of it; may be called again."""
        if self._held is not None:
            self._held()
            self._held = None

    def _take(self, kind: int) -> None:
        with _guard:
            entry = _entry(self._path)
            known = id(self) in entry.holders
            entry.holders.add(id(self))
            try:
                self._lock(entry, kind)
            except BaseException:
                if not known:
                    entry.holders.discard(id(self))
                    _leave_if_unused(entry)
                raise
        if self._held is None:
            self._held = weakref.finalize(self, _let_go, self._path, id(self), self._me)

    def _lock(self, entry: _Directory, kind: int) -> None:
        if entry.writer == self._me:
            return
        if entry.writer is not None and kind == fcntl.LOCK_EX:
            raise _refused(self._path, os.getpid())
        if entry.writer is None:
            try:
                fcntl.lockf(entry.descriptor, kind | fcntl.LOCK_NB)
            except OSError as error:
                raise _refused(self._path, _holder(entry.descriptor)) from error
        if kind == fcntl.LOCK_EX:
            entry.writer = self._me


def _entry(path: Path) -> _Directory:
    entry = _table.get(path)
    if entry is None or entry.pid != os.getpid():  # what a fork copied is the parent's
        try:
            entry = _table[path] = _Directory(path)
        except OSError as error:
            raise StorageError(
                f"cannot lock the vector store {str(path)!r}: {error.strerror}", path=str(path)
            ) from error
    return entry


def _let_go(path: Path, holder: int, me: int) -> None:
    with _guard:
        entry = _table.get(path)
        if entry is None or entry.pid != os.getpid():
            return
        entry.holders.discard(holder)
        if entry.writer == me and me != _PROCESS:
            entry.writer = None
        _leave_if_unused(entry)


def _leave_if_unused(entry: _Directory) -> None:
    if not entry.holders:
        del _table[entry.path]
        os.close(entry.descriptor)


def _holder(descriptor: int) -> int | None:
    """Return the process that keeps us out, if the system says."""
    kind, whence = fcntl.F_WRLCK, os.SEEK_SET
    fields = (kind, whence, 0, 0, 0) if _LINUX else (0, 0, 0, kind, whence)
    with contextlib.suppress(OSError):
        found = struct.unpack(
            _FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(_FLOCK, *fields))
        )
        pid, still = (found[4], found[0]) if _LINUX else (found[2], found[3])
        if still != fcntl.F_UNLCK:
            return int(pid)
    return None


def _refused(path: Path, pid: int | None) -> StorageError:
    who = "this process" if pid == os.getpid() else f"process {pid or 'unknown'}"
    return StorageError(
        f"the vector store {str(path)!r} is in use by {who}",
        hint="wait until it has closed the store, or share one store through a Chroma server",
        path=str(path),
        pid=pid,
    )
