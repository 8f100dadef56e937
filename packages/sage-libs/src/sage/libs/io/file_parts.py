"""A directory of parts, which appear with the checkpoint that covers them.

What a subtask writes in an epoch is collected in a hidden directory beside the target, and changes
its name twice::

    .NAME.pending/part-0-7.jsonl.3f2a.open    being written
    .NAME.pending/part-0-7.jsonl              prepared: complete and on the disk
    NAME/part-0-7.jsonl                       committed

Invariant: each part is in one place at a time, and in ``NAME/`` exactly if its epoch is committed.
Both steps are a rename, so that a kill finds a part before or behind it, and doing a step again
changes nothing (the two phases of Flink's file sink). The name of a file being written is random:
a process that was thought dead and comes back cannot touch the files of the one that replaced it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from sage.common.errors import StorageError
from sage.libs.io.record_writer import RecordWriter, StartWriter
from sage.libs.io.staged_sink import Share
from sage.libs.io.whole_file import BUFFER_BYTES, write_problem

__all__ = ["FileParts"]


class _Part(NamedTuple):
    """A file of one subtask and one epoch."""

    path: Path
    subtask: int
    epoch: int
    is_open: bool


class _OpenPart(NamedTuple):
    """The part that is being written."""

    path: Path
    file: BinaryIO
    writer: RecordWriter


class FileParts:
    """The parts of one subtask; see the module's docstring and `TransactionalSink`.

    Args:
        path: The directory; its extension becomes that of the parts.
        start_writer: Makes what writes records into a part.
        share: Which parts are this subtask's.

    Raises:
        StorageError: if the path is a file, or the directory holds something else than parts.
    """

    def __init__(
        self,
        path: str,
        start_writer: StartWriter,
        share: Share,
    ) -> None:
        self._path = path
        self._start_writer = start_writer
        self._share = share
        self._directory = Path(os.path.realpath(os.path.expanduser(path)))
        self._pending = self._directory.with_name(f".{self._directory.name}.pending")
        self._suffix = self._directory.suffix
        name = rf"part-(\d+)-(\d+){re.escape(self._suffix)}"
        self._committed_name = re.compile(name)
        self._pending_name = re.compile(name + r"(\.[0-9a-f]+\.open)?")
        self._epoch: int | None = None
        self._part: _OpenPart | None = None
        self._has_begun = False
        self._given_up: set[int] = set()  # epochs that were aborted before the first was begun
        self._make_directory()

    def write(self, record: Any) -> None:
        """Write one record into the part of this epoch.

        Raises:
            StorageError: if the disk does not take it.
            DataError: if it cannot be written in this kind of file.
        """
        try:
            part = self._part if self._part is not None else self._started()
            part.writer.write(record)
        except OSError as error:
            raise write_problem(self._path, error) from error

    def begin(self, epoch: int) -> None:
        """Start an epoch; no file is made before the first record.

        Raises:
            StorageError: at the first one, if output is there already that is yet to be written.
        """
        if not self._has_begun:
            self._has_begun = True
            self._check_committed(epoch)
            self._remove(p for p in self._own_pending() if p.is_open or p.epoch >= epoch)
        self._epoch = epoch

    def prepare(self, epoch: int) -> str | None:
        """Complete the part of an epoch; return its name, or None if nothing was written.

        Raises:
            StorageError: if the disk does not take the rest.
        """
        part, self._part, self._epoch = self._part, None, None
        if part is None:
            return None
        prepared = self._pending / self._name(epoch)
        try:
            part.writer.end()
            part.file.flush()
            os.fsync(part.file.fileno())
            part.file.close()
            self._move(part.path, prepared)
            _sync(self._pending)
        except FileNotFoundError as error:
            raise StorageError(
                f"{str(part.path)!r} is gone; has another process taken this job over?",
                hint="nothing is lost: what it held will be written again",
                path=self._path,
            ) from error
        except OSError as error:
            raise write_problem(self._path, error) from error
        return prepared.name

    def commit(self, epoch: int) -> None:
        """Move what was prepared for an epoch into the directory.

        Raises:
            StorageError: if it cannot be moved, or another sink has written the same part.
        """
        prepared = [p for p in self._own_pending() if p.epoch == epoch and not p.is_open]
        try:
            for part in prepared:
                self._move(part.path, self._directory / part.path.name)
            if prepared:
                _sync(self._directory)
                with contextlib.suppress(FileNotFoundError):  # another subtask has closed: it is
                    _sync(self._pending)  # empty, and gone
        except OSError as error:
            raise write_problem(self._path, error) from error

    def abort(self, epoch: int) -> None:
        """Throw away what was written or prepared for an epoch and is not committed."""
        if not self._has_begun:
            self._given_up.add(epoch)
        if self._epoch == epoch:
            self._drop_open_part()
        self._remove(p for p in self._own_pending() if p.epoch == epoch)

    def start_over(self) -> None:
        """Remove every part, committed or not, that this subtask is in charge of."""
        self._drop_open_part()
        self._remove([*self._own_pending(), *self._own_committed()])

    def close(self) -> None:
        """Let go; what is prepared stays for whoever takes over."""
        self._drop_open_part()
        with contextlib.suppress(OSError):  # others may still have theirs in it
            self._pending.rmdir()

    def _started(self) -> _OpenPart:
        if self._epoch is None:
            raise StorageError(
                f"a record was written to {self._path!r} between two epochs",
                hint="begin() comes before the first record, and again behind prepare()",
                path=self._path,
            )
        path = self._pending / f"{self._name(self._epoch)}.{secrets.token_hex(4)}.open"
        while True:
            self._pending.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another subtask closes just now
                file = open(path, "xb", buffering=BUFFER_BYTES)  # noqa: SIM115
                break
        self._part = _OpenPart(path, file, self._start_writer(file))
        return self._part

    def _drop_open_part(self) -> None:
        part, self._part, self._epoch = self._part, None, None
        if part is not None:
            with contextlib.suppress(OSError):
                part.file.close()
            part.path.unlink(missing_ok=True)

    def _name(self, epoch: int) -> str:
        return f"part-{self._share.subtask}-{epoch}{self._suffix}"

    def _move(self, part: Path, to: Path) -> None:
        # A rename replaces silently. What is in the way was written by someone else.
        if to.exists():
            raise StorageError(
                f"{to} is there already; does another sink write to {self._path!r}?",
                hint="give each sink a path of its own",
                path=self._path,
            )
        os.rename(part, to)

    def _own_pending(self) -> list[_Part]:
        return list(self._parts_in(self._pending, self._pending_name))

    def _own_committed(self) -> list[_Part]:
        return list(self._parts_in(self._directory, self._committed_name))

    def _parts_in(self, directory: Path, name: re.Pattern[str]) -> Iterator[_Part]:
        """Yield the parts of the subtasks whose work is this one's, after any rescaling."""
        try:
            entries = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if (match := name.fullmatch(entry)) is None:
                continue
            subtask, epoch = int(match[1]), int(match[2])
            if self._share.owns(subtask):
                is_open = match.lastindex == 3
                yield _Part(directory / entry, subtask, epoch, is_open)

    def _remove(self, parts: Iterator[_Part] | list[_Part]) -> None:
        try:
            for part in parts:
                part.path.unlink(missing_ok=True)
        except OSError as error:
            raise write_problem(self._path, error) from error

    def _make_directory(self) -> None:
        if self._directory.exists() and not self._directory.is_dir():
            raise StorageError(
                f"cannot write parts to {self._path!r}: it is a file",
                hint="with checkpoints a sink writes a directory of parts: move the file away, or "
                "name another path",
                path=self._path,
            )
        try:
            if not self._directory.is_dir():
                self._directory.mkdir(parents=True, exist_ok=True)
                _sync(self._directory.parent)
            entries = os.listdir(self._directory)
        except OSError as error:
            raise write_problem(self._path, error) from error
        foreign = [n for n in entries if not n.startswith(".") and not self._is_part(n)]
        if foreign:
            raise StorageError(
                f"{self._path!r} is a directory that holds something else: {min(foreign)!r}",
                hint=f"name a new directory for the parts (part-0-1{self._suffix} and so on)",
                path=self._path,
            )

    def _is_part(self, name: str) -> bool:
        return self._committed_name.fullmatch(name) is not None

    def _check_committed(self, epoch: int) -> None:
        """Refuse to write a second time what is committed: it would then be there twice."""
        twice = [
            part.path.name
            for part in self._own_committed()
            if part.epoch >= epoch or part.epoch in self._given_up
        ]
        if not twice:
            return
        told = (
            f"{self._path!r} holds {twice[0]!r} "
            f"({len(twice)} such part{'s' if len(twice) > 1 else ''}), "
            "whose records this run will write again"
        )
        hint = (
            "the job goes on from before they were written, or has lost its checkpoints: "
            "delete them, or start over with fresh=True; or they are another job's: give each a "
            "directory of its own"
        )
        self._share.refuse_twice(StorageError(told, hint=hint, path=self._path, parts=twice))


def _sync(directory: Path) -> None:
    """Put the names in a directory on the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
