"""The result journal: a call that has ended is never paid for again.

Checkpoints are seconds apart, and what came behind the last one is done again after a crash. Where
that means calls of a model, their results are journalled: written the moment a call has ended, and
durable before anybody sees them. A run that goes on from checkpoint n reads what was written behind
barrier n and gives each result to one record that is equal to the one it was made of, instead of
calling the function. No record needs an id for that, so it works behind windows and joins, and
whichever subtask a record comes to this time.

Invariant: a result is in a segment with a number of at least n from the moment its call has ended
until every cut n at which it was not yet passed on is out of use. Three rules keep it:

* a result that was written and not passed on is *open*; a barrier writes open results again, behind
  itself;
* so it does with those of earlier runs that nobody has asked for yet;
* segments below the oldest checkpoint that is kept are deleted, and no others.

Records are compared by a digest of their bytes, so only what the state codec stores can be
journalled. An error is no result: a call that failed is made again, since what failed for a moment
must not fail for ever. Segments are this machine's files; a run elsewhere calls again.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import blake2b
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

from sage.kernel.checkpoint.journal_segment import (
    DIGEST_BYTES,
    Entry,
    Header,
    SegmentWriter,
    framed,
    read_segment,
)
from sage.kernel.checkpoint.steps import reached
from sage.kernel.errors import JournalError, StateCodecError
from sage.kernel.state.codec import StateCodec
from sage.kernel.state.own_classes import OwnClasses

__all__ = ["Journal", "JournalFolder", "RecordedResults"]

_logger = logging.getLogger(__name__)

_NAME = re.compile(r"(\d+)-.*\.results")
# A result that nobody asks for, because what came before is not the same every time, is carried on
# through so many checkpoints.
_MOST_CARRIED = 1000


class Journal:
    """The results of one subtask; `JournalFolder.journal` makes it.

    ``append`` may be called on another thread than the rest, which belongs to the task.

    Args:
        folder: Where the operator's segments are.
        header: What its first segment says.
        recorded: What earlier runs left to the operator.
        name: The operator's name, for errors.
        classes: The job's own classes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     journal = JournalFolder(folder, epoch=1).journal("ask", 0, "Ask")
        ...     entry = journal.append(journal.digest("6 * 7 ="), "42")
        ...     journal.close()
        ...     again = JournalFolder(folder, epoch=2).journal("ask", 0, "Ask")
        ...     again.recall(again.digest("6 * 7 ="))[1], again.recall(again.digest("1 + 1 ="))
        ('42', None)
    """

    def __init__(
        self,
        folder: Path,
        header: Header,
        recorded: RecordedResults,
        *,
        name: str = "",
        classes: OwnClasses | None = None,
    ) -> None:
        self._folder = folder
        self._header = header
        self._recorded = recorded
        self._name = name or header.operator
        # Two, since records are encoded on another thread than results.
        self._records = _RecordCodec(self._name, "journal", classes)
        self._results = StateCodec(self._name, "journal", classes)
        self._token = os.urandom(8)
        self._number = count()
        self._lock = Lock()
        self._open: dict[bytes, Entry] = {}
        self._segment: SegmentWriter | None = None
        self._dirty: list[SegmentWriter] = []
        self._refused: tuple[bytes, StateCodecError] | None = None
        self._failure: JournalError | None = None

    def digest(self, record: Any) -> bytes:
        """Return what a record is known by; to be asked before the function can change it.

        Raises:
            StateCodecError: if it cannot be stored.
        """
        return blake2b(self._records.encode(record), digest_size=DIGEST_BYTES).digest()

    def recall(self, digest: bytes) -> tuple[bytes, Any] | None:
        """Take a result of an earlier run for such a record; it is open until it is passed on.

        Returns:
            The identity of its entry and the result, or None if there is none (any more).

        Raises:
            StateCodecError: if the result for such a record could not be stored just now; a retry
                would pay again for what will never fit.
        """
        if self._refused is not None and self._refused[0] == digest:
            raise self._refused[1]
        entry = self._recorded.take(digest)
        if entry is None:
            return None
        try:
            result = self._results.decode(entry.payload)
        except StateCodecError as error:
            _logger.warning("the call of operator %r is made again: %s", self._name, error)
            return None
        with self._lock:
            self._open[entry.identity] = entry
        return entry.identity, result

    def append(self, digest: bytes, result: Any) -> bytes:
        """Write a result, the moment its call has ended; it is open until it is passed on.

        Returns:
            The identity of its entry.

        Raises:
            StateCodecError: if the result cannot be stored.
            JournalError: if it cannot be written; then nothing is written any more.
        """
        try:
            payload = self._results.encode(result)
        except StateCodecError as error:
            self._refused = digest, error
            raise
        with self._lock:
            self.check()
            checkpoint, number = self._header.checkpoint, next(self._number)
            entry = Entry.born(self._token, checkpoint, number, digest, payload)
            try:
                self._write(framed(entry))
            except OSError as error:
                raise self._failed("write", error) from error
            self._open[entry.identity] = entry
        return entry.identity

    def check(self) -> None:
        """Refuse to go on where nothing can be written any more, before a call is paid for.

        Raises:
            JournalError: if a write has failed, or the journal is closed.
        """
        if self._failure is not None:
            raise self._failure

    def sync(self) -> None:
        """Make everything written so far durable; called before results are passed on.

        Raises:
            JournalError: if that, or a write before, has failed.
        """
        self.check()
        with self._lock:
            dirty, self._dirty = self._dirty, []
        try:
            for segment in dirty:
                segment.sync()
                if segment is not self._segment:
                    segment.close()
        except OSError as error:
            raise self._failed("sync", error) from error

    def passed_on(self, identities: Iterable[bytes]) -> None:
        """Say that results have gone on, so that a later barrier is behind them."""
        with self._lock:
            for identity in identities:
                self._open.pop(identity, None)

    def roll(self, checkpoint: int) -> None:
        """Begin the segment behind a barrier; called on the task's thread, at the cut.

        What is open is durable behind the barrier when this returns.

        Raises:
            JournalError: if it cannot be written.
        """
        reached("journal.roll.before")
        with self._lock:
            self.check()
            before, self._segment = self._segment, None
            self._header = replace(self._header, checkpoint=checkpoint)
            if before is not None and before not in self._dirty:
                before.close()
            try:
                if self._open:
                    self._write(b"".join(map(framed, self._open.values())))
                self._recorded.carry(checkpoint)
            except OSError as error:
                raise self._failed("write", error) from error
        self.sync()
        reached("journal.roll.after")

    def close(self) -> None:
        """Make everything durable and close the segment."""
        try:
            self.sync()
        finally:
            with self._lock:
                told = f"the journal of operator {self._name!r} is closed"
                self._failure = self._failure or JournalError(told)
                segment, self._segment = self._segment, None
            if segment is not None:
                segment.close()

    def _write(self, frames: bytes) -> None:
        segment = self._segment
        if segment is None:
            header, token = self._header, self._token.hex()
            name = f"{header.checkpoint:08d}-{header.epoch}-{header.subtask}-{token}.results"
            segment = self._segment = SegmentWriter(self._folder / name, header)
        if not segment.is_dirty:
            self._dirty.append(segment)
        segment.write(frames)

    def _failed(self, doing: str, error: OSError) -> JournalError:
        """Remember a failure: behind half an entry, no other may be written."""
        self._failure = JournalError(
            f"cannot {doing} the journal of operator {self._name!r} in {str(self._folder)!r}: "
            f"{error.strerror or error}",
            hint="make room and start the job again: it goes on where it was",
            operator=self._name,
        )
        return self._failure


class _RecordCodec(StateCodec):
    """Gives equal sets equal bytes; the order of strings in a set differs from run to run."""

    def _taken_apart(self, value: Any, cls: type) -> tuple[int, Any]:
        number, parts = super()._taken_apart(value, cls)
        if cls is set or cls is frozenset:
            parts.sort(key=self.encode)
        return number, parts


class RecordedResults:
    """What earlier runs left to one operator: results by digest, each of them given once.

    Subtasks of a process share it, since a record may come to another subtask than before.

    Args:
        folder: Where the operator's segments are.
        header: What segments that are written for it say.
        entries: The results.
    """

    def __init__(self, folder: Path, header: Header, entries: Iterable[Entry] = ()) -> None:
        self._folder = folder
        self._header = header
        self._lock = Lock()
        self._by_digest: dict[bytes, list[Entry]] = {}
        for entry in {entry.identity: entry for entry in entries}.values():
            self._by_digest.setdefault(entry.digest, []).append(entry)
        self._carried: Path | None = None
        self._is_changed = True

    def take(self, digest: bytes) -> Entry | None:
        """Return a result for a record of this digest, which nobody gets again."""
        if not self._by_digest:
            return None
        with self._lock:
            entries = self._by_digest.get(digest)
            if entries is None:
                return None
            entry = entries.pop()
            if not entries:
                del self._by_digest[digest]
            self._is_changed = True
            return entry

    def carry(self, checkpoint: int) -> None:
        """Keep what is left for a run that goes on from a checkpoint; the first barrier does it.

        A subtask that takes a result later, before the barrier has come to it, leaves one too many
        behind; that saves a call of an equal record some day, and costs none.
        """
        with self._lock:
            if checkpoint <= self._header.checkpoint or not self._by_digest:
                return
            self._header = replace(self._header, checkpoint=checkpoint)
            name = f"{checkpoint:08d}-{self._header.epoch}-left-{os.urandom(8).hex()}.results"
            before, self._carried = self._carried, self._folder / name
            if before is not None and not self._is_changed:
                # Whoever goes on from an earlier checkpoint reads it all the same.
                before.rename(self._carried)
                return
            writer = SegmentWriter(self._carried, self._header)
            try:
                left = (entry for entries in self._by_digest.values() for entry in entries)
                writer.write(b"".join(map(framed, left)))
                writer.sync()
            finally:
                writer.close()
            self._is_changed = False


class JournalFolder:
    """The journals of one job, in one process.

    Where a job runs in several processes, each reads all that earlier runs left. A record finds its
    result wherever it comes; two equal records in two processes may be given the same one.

    Args:
        folder: A local folder that belongs to the job; empty if no operator of it is journalled.
        epoch: Which run of the job this is; each has a higher number than those before, also one
            that a restart in the same process makes.
        from_checkpoint: The checkpoint that this run goes on from; 0 if it begins.
        classes: The job's own classes.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        epoch: int,
        from_checkpoint: int = 0,
        classes: OwnClasses | None = None,
    ) -> None:
        self._folder = Path(folder) if folder else None
        self._epoch = epoch
        self._from_checkpoint = from_checkpoint
        self._classes = classes
        self._recorded: dict[str, RecordedResults] = {}

    def journal(self, operator: str, subtask: int, function: str, *, name: str = "") -> Journal:
        """Return the journal of a subtask; the operator's first one reads what earlier runs left.

        Args:
            operator: The operator's uid.
            subtask: Which subtask.
            function: What its function is known by, see `sage.kernel.operators.journalled`.
            name: The operator's name, for people.

        Raises:
            JournalError: if the folder cannot be read or made.
        """
        if self._folder is None:
            raise JournalError(
                f"the job of operator {name or operator!r} has no folder for journals"
            )
        folder = self._folder / _safe(operator)
        header = Header(operator, function, subtask, self._epoch, self._from_checkpoint)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if operator not in self._recorded:
                entries = self._load(folder, header, name or operator)
                self._recorded[operator] = RecordedResults(folder, header, entries)
        except OSError as error:
            raise JournalError(
                f"the journal of operator {name or operator!r} cannot be opened in "
                f"{str(folder)!r}: {error.strerror or error}",
                hint="choose another journal_dir, a folder on this machine",
            ) from error
        recorded = self._recorded[operator]
        return Journal(folder, header, recorded, name=name, classes=self._classes)

    def retire(self, before_checkpoint: int) -> None:
        """Delete the segments that no checkpoint needs any more.

        Args:
            before_checkpoint: The oldest checkpoint that is kept.
        """
        for path, checkpoint in self._all_segments():
            if checkpoint < before_checkpoint:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete everything: the job starts over."""
        for path, _ in self._all_segments():
            path.unlink(missing_ok=True)

    def _load(self, folder: Path, header: Header, name: str) -> list[Entry]:
        found: list[Entry] = []
        others: set[str] = set()
        ignored = 0
        for path, checkpoint in _segments(folder):
            if checkpoint < self._from_checkpoint:
                continue
            segment = read_segment(path)
            if segment.damaged:
                _logger.warning(
                    "the journal of operator %r is damaged in %d places of %s; the calls whose "
                    "results were there are made again",
                    name,
                    segment.damaged,
                    path,
                )
            if segment.header is None or segment.header.epoch >= self._epoch:
                continue  # another process of this run has written it just now
            if segment.header.function == header.function:
                found += segment.entries
            else:
                others.add(segment.header.function)
                ignored += len(segment.entries)
        if ignored:
            _logger.warning(
                "%d journalled results of operator %r are not used: they come from %s, and its "
                "function is now %s; its calls are made again",
                ignored,
                name,
                ", ".join(sorted(others)),
                header.function,
            )
        oldest = self._from_checkpoint - _MOST_CARRIED
        return [entry for entry in found if entry.checkpoint >= oldest]

    def _all_segments(self) -> Iterator[tuple[Path, int]]:
        if self._folder is not None and self._folder.is_dir():
            for folder in sorted(self._folder.iterdir()):
                yield from _segments(folder)


def _segments(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield an operator's segments with their numbers."""
    for path in sorted(folder.glob("*.results")):
        named = _NAME.fullmatch(path.name)
        if named is not None:
            yield path, int(named[1])


def _safe(operator: str) -> str:
    """Return a name for a folder: what people can read of a uid, and what makes it its own."""
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", operator)[:60]
    return f"{readable}-{blake2b(operator.encode(), digest_size=4).hexdigest()}"
