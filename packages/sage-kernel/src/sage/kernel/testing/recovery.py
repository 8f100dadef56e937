"""What tests of recovery are made of, on any runtime: they meet in files, not in memory.

A source that goes on when something of it has been committed, an accident that happens once, and a
sink whose records count when they are committed. So a test can say "lose this process in the middle
of a job that has a checkpoint", and compare what was committed with what should have been.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sage.common.core.functions import SinkFunction, SourceFunction

__all__ = ["CommittingSink", "Once", "PausingSource"]

_PENDING = re.compile(r"(\d+)-(\d+)\.pending")


class CommittingSink(SinkFunction[Any]):
    """Shows the records of an epoch when the epoch is committed.

    Each subtask has a file for each epoch, pending until a rename. It obeys the contract of
    `sage.common.core.functions.TransactionalSink`, also for a change of parallelism from q to p:
    subtask i settles what subtasks i, i + p, ... of before have prepared.

    Args:
        folder: Where the files are, shared by all subtasks.

    Example:
        >>> from tempfile import mkdtemp
        >>> from sage.kernel.runtime.context import RuntimeContext
        >>> sink = CommittingSink(mkdtemp())
        >>> sink.open(RuntimeContext(name="sink", uid="sink"))
        >>> sink.begin(1)
        >>> sink.write("tea")
        >>> sink.prepare(1)
        >>> sink.committed()
        []
        >>> sink.commit(1)
        >>> sink.committed()
        ['tea']
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        self._records: list[Any] = []
        self._index, self._parallelism = 0, 1

    def open(self, context: Any) -> None:
        """Learn which subtask this is."""
        os.makedirs(self.folder, exist_ok=True)
        self._index, self._parallelism = context.parallel_index, context.parallelism

    def begin(self, epoch: int) -> None:
        """Start an empty epoch."""
        self._records = []

    def write(self, record: Any) -> None:
        """Keep a record for its epoch."""
        self._records.append(record)

    def prepare(self, epoch: int) -> None:
        """Write the epoch to a file that does not count yet."""
        if self._records:
            beside = Path(self.folder, f"{epoch}-{self._index}.part")
            beside.write_bytes(pickle.dumps(self._records))
            beside.rename(beside.with_suffix(".pending"))

    def commit(self, epoch: int) -> None:
        """Let the files of an epoch count."""
        for path in self._pending(epoch):
            path.rename(path.with_suffix(".committed"))

    def abort(self, epoch: int) -> None:
        """Delete the pending files of an epoch."""
        for path in self._pending(epoch):
            path.unlink()

    @property
    def has_committed(self) -> bool:
        """Whether any record counts."""
        return any(Path(self.folder).glob("*.committed"))

    def committed(self) -> list[Any]:
        """Return the records that count, in the order of their epochs."""

        def age(path: Path) -> list[int]:
            return [int(number) for number in path.stem.split("-")]

        paths = sorted(Path(self.folder).glob("*.committed"), key=age)
        return [record for path in paths for record in pickle.loads(path.read_bytes())]

    def _pending(self, epoch: int) -> list[Path]:
        """Return the pending files of an epoch that this subtask has to settle."""
        found = []
        for path in Path(self.folder).iterdir():
            named = _PENDING.fullmatch(path.name)
            if named is None or int(named[1]) != epoch:
                continue
            if int(named[2]) % self._parallelism == self._index:
                found.append(path)
        return found


class PausingSource(SourceFunction[int]):
    """Gives the numbers below ``count``; half of them when a sink has committed some of the others.

    Args:
        count: How many numbers.
        sink: The sink that it looks at.
    """

    def __init__(self, count: int, sink: CommittingSink) -> None:
        self.count = count
        self.sink = sink
        self.given = 0

    def read(self, max_records: int) -> list[int] | None:
        """Return the next numbers."""
        if self.given >= self.count:
            return None
        end, pause = min(self.count, self.given + max_records), self.count // 2
        if self.given <= pause < end and not self.sink.has_committed:
            end = pause
        numbers = list(range(self.given, end))
        self.given = end
        return numbers

    def snapshot_position(self) -> object:
        """Return how many were given."""
        return self.given

    def seek(self, position: Any) -> None:
        """Go on behind those that were given."""
        self.given = position


class Once:
    """Does something in the first process that comes, and in no other one.

    Args:
        path: A file that is not there yet.
        what: What is done, without arguments.
    """

    def __init__(self, path: str | os.PathLike[str], what: Callable[[], object]) -> None:
        self.path = os.fspath(path)
        self.what = what

    def __call__(self) -> None:
        """Do it, if nobody has."""
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        self.what()

    @property
    def has_happened(self) -> bool:
        """Whether it was done."""
        return os.path.exists(self.path)
