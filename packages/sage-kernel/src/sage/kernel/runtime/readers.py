"""How a task reads its source: slicing a sequence, polling a function, or beside a reader thread.

All readers answer the same question: ``read(n)`` gives what is there now, at most n records, an
empty list if nothing is there yet, or None when the source has ended for good. It never blocks for
long, so that cancel, drain and linger are never stuck in the user's code.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from sage.common.core.functions import SourceFunction
from sage.kernel.operators.source import LiveSource

__all__ = ["IteratorReader", "PollingReader", "Reader", "SequenceReader", "reader_of"]


class Reader(Protocol):
    """What a task asks of its source."""

    def read(self, max_records: int, wait_s: float = ...) -> Sequence[Any] | None:
        """Return what is there now, waiting no longer than ``wait_s``, or None at the end."""

    def close(self) -> None:
        """Stop reading."""


def reader_of(source: LiveSource, subtask: int, parallelism: int) -> Reader:
    """Return the reader of one subtask of a source."""
    if source.sequence is not None:
        return SequenceReader(source.sequence, subtask, parallelism)
    if source.polled is not None:
        return PollingReader(source.polled)
    assert source.iterated is not None
    return IteratorReader(source.iterated)


class SequenceReader:
    """Slices a sequence; with several subtasks each has a contiguous part."""

    def __init__(self, sequence: Sequence[Any], subtask: int = 0, parallelism: int = 1) -> None:
        self._sequence = sequence
        self._next = len(sequence) * subtask // parallelism
        self._end = len(sequence) * (subtask + 1) // parallelism

    def read(self, max_records: int, wait_s: float = 0.0) -> Sequence[Any] | None:
        """Return the next slice."""
        if self._next >= self._end:
            return None
        start, self._next = self._next, min(self._next + max_records, self._end)
        return self._sequence[start : self._next]

    def close(self) -> None:
        """Nothing to stop."""


class PollingReader:
    """Asks a `SourceFunction`, and rests a little longer each time that it has nothing."""

    SPINS = 50
    LONGEST_REST_S = 0.001

    def __init__(self, source: SourceFunction[Any]) -> None:
        self._read = source.read
        self._idle = 0

    def read(self, max_records: int, wait_s: float = LONGEST_REST_S) -> Sequence[Any] | None:
        """Return what the source has."""
        records = self._read(max_records)
        if records or records is None:
            self._idle = 0
            return records
        self._idle += 1
        if self._idle > self.SPINS:
            rest_s = min(50e-6 * (self._idle - self.SPINS), self.LONGEST_REST_S, wait_s)
            time.sleep(rest_s)
        return ()

    def close(self) -> None:
        """The function is closed by its operator."""


class IteratorReader:
    """Iterates on a thread of its own into a bounded buffer.

    While items come slowly each one wakes the task. While they come fast the thread takes them in
    runs with ``deque.extend``, which the task can already see while the run goes on, so that an
    iterator that suddenly stalls strands nothing.
    """

    CAPACITY = 8192
    RUN = 512
    FAST_S = 0.002

    def __init__(self, iterate: Callable[[], Iterator[Any]], poll_s: float = 0.002) -> None:
        self._iterate = iterate
        self._poll_s = poll_s
        self._buffer: deque[Any] = deque()
        self._arrived = threading.Semaphore(0)
        self._room = threading.Event()
        self._running_fast = False
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def read(self, max_records: int, wait_s: float = 0.05) -> Sequence[Any] | None:
        """Return what has arrived, waiting a moment if nothing has."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._pull, name="sage-reader", daemon=True)
            self._thread.start()
        buffer = self._buffer
        if not buffer and not self._ended:
            poll_s = self._poll_s if self._running_fast else wait_s
            self._arrived.acquire(timeout=min(poll_s, wait_s))
        ended = self._ended  # before looking at the buffer: what came last is still read
        count = min(len(buffer), max_records)
        if count:
            popleft = buffer.popleft
            records = [popleft() for _ in range(count)]
            if not self._room.is_set() and len(buffer) < self.CAPACITY // 2:
                self._room.set()
            return records
        if not ended:
            return ()
        if self._error is not None:
            raise self._error
        return None

    def close(self) -> None:
        """Let the thread go when the user's code gives it back."""
        self._closed = True
        self._room.set()

    def _pull(self) -> None:
        try:
            self._pull_all(self._iterate())
        except BaseException as error:  # raised again in the task, after what came before it
            self._error = error
        finally:
            self._ended = True
            self._arrived.release()

    def _pull_all(self, iterator: Iterator[Any]) -> None:
        buffer, quick = self._buffer, 0
        end = object()
        while not self._closed:
            if quick < 16:
                started = time.monotonic()
                item = next(iterator, end)
                if item is end:
                    return
                buffer.append(item)
                self._arrived.release()
                quick = quick + 1 if time.monotonic() - started < 50e-6 else 0
            elif not self._pull_run(iterator):
                quick = 0
                if self._ended:
                    return
            while len(buffer) >= self.CAPACITY and not self._closed:
                self._room.clear()
                self._arrived.release()
                self._room.wait(0.1)

    def _pull_run(self, iterator: Iterator[Any]) -> bool:
        """Take a run of items; say whether they still come fast. Sets ``_ended`` at the end."""
        self._running_fast = True
        started = time.monotonic()
        first = list(itertools.islice(iterator, 1))
        if not first:
            self._ended = True
            return False
        self._buffer.append(first[0])
        self._buffer.extend(itertools.islice(iterator, self.RUN))
        self._arrived.release()
        self._running_fast = fast = time.monotonic() - started < self.FAST_S
        return fast
