"""How a task reads its source: slicing a sequence, polling a function, or beside a reader thread.

All readers answer the same question: ``read(n)`` gives what is there now, at most n records, an
empty list if nothing is there yet, or None when the source has ended for good. It never blocks for
long, so that cancel, drain and linger are never stuck in the user's code.

For checkpoints a reader says where it is and goes back there: a sequence to an index, a source
function to the position that it names itself. What is iterated cannot go back; the build refuses it
where that would break a promise.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sage.common.core.functions import ReplayableSource, SourceFunction
from sage.kernel.errors import StateMismatchError
from sage.kernel.operators.source import LiveSource

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState

__all__ = ["IteratorReader", "PollingReader", "Reader", "SequenceReader", "reader_of"]


class Reader(Protocol):
    """What a task asks of its source."""

    def read(self, max_records: int, wait_s: float = ...) -> Sequence[Any] | None:
        """Return what is there now, waiting no longer than ``wait_s``, or None at the end."""

    def close(self) -> None:
        """Stop reading."""

    def snapshot(self, state: OperatorState) -> None:
        """Put in where it is: behind the last record that ``read`` has returned."""

    def restore(self, state: RestoredState, operator: str, *, ended: bool) -> None:
        """Go back there; called before the first ``read``.

        Args:
            state: What was put in.
            operator: Name of the source, for errors.
            ended: Whether it had been read to its end, and will not be read again.

        Raises:
            StateMismatchError: if it is not the same source any more.
        """


_POSITION = "#position"


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
        self._later: list[list[int]] = []  # further parts, after the parallelism has changed

    def read(self, max_records: int, wait_s: float = 0.0) -> Sequence[Any] | None:
        """Return the next slice."""
        while self._next >= self._end:
            if not self._later:
                return None
            self._next, self._end = self._later.pop(0)
        start, self._next = self._next, min(self._next + max_records, self._end)
        return self._sequence[start : self._next]

    def close(self) -> None:
        """Nothing to stop."""

    def snapshot(self, state: OperatorState) -> None:
        """Put in which parts are still to be read."""
        state.put_whole(_POSITION, [len(self._sequence), [self._next, self._end], *self._later])

    def restore(self, state: RestoredState, operator: str, *, ended: bool) -> None:
        """Read what was still to be read; of all parts a share if the parallelism has changed."""
        parts: list[list[int]] = []
        for length, *ranges in state.whole(_POSITION):
            if length != len(self._sequence):
                raise StateMismatchError(
                    f"source {operator!r} had {length} records when the checkpoint was made and "
                    f"has {len(self._sequence)} now",
                    operator=operator,
                    hint="give it the same records, or start over: fresh=True",
                )
            parts += ranges
        if state.is_rescaled:
            parts = [_share(part, state.subtask, state.parallelism) for part in parts]
        if parts:
            (self._next, self._end), *self._later = parts


def _share(part: list[int], subtask: int, parallelism: int) -> list[int]:
    start, length = part[0], max(0, part[1] - part[0])
    return [
        start + length * subtask // parallelism,
        start + length * (subtask + 1) // parallelism,
    ]


class PollingReader:
    """Asks a `SourceFunction`, and rests a little longer each time that it has nothing."""

    SPINS = 50
    LONGEST_REST_S = 0.001

    def __init__(self, source: SourceFunction[Any]) -> None:
        self._source = source
        self._read = source.read
        self._idle = 0
        self._ended = False

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

    def snapshot(self, state: OperatorState) -> None:
        """Put in the position that the function names, if it can go back to one."""
        if isinstance(self._source, ReplayableSource) and not self._ended:
            state.put_whole(_POSITION, [self._source.snapshot_position()])

    def restore(self, state: RestoredState, operator: str, *, ended: bool) -> None:
        """Have the function seek its position."""
        positions = state.whole(_POSITION)
        self._ended = ended  # then it is not even open
        if ended or not positions or not isinstance(self._source, ReplayableSource):
            return
        if state.is_rescaled:
            raise state.refuse_rescale(operator, "each of its subtasks has a position of its own")
        self._source.seek(positions[0][0])


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

    def snapshot(self, state: OperatorState) -> None:
        """Nothing: it cannot be read again."""

    def restore(self, state: RestoredState, operator: str, *, ended: bool) -> None:
        """Nothing: it is read from where the user's code begins."""

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
