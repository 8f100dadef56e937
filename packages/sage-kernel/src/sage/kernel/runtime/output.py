"""Where a chain's results leave it: buffers that become batches on channels.

The generated loop appends to plain lists. A buffer is sent when it is full, when the task has
nothing else to do, and at the latest ``linger_ms`` after its first record, by the job's linger
thread if the task itself is stuck in a user's function. Appending needs no lock: both threads only
ever remove a prefix, under the buffer's lock, and appends go to the other end.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sage.kernel.errors import KeyRefusedError
from sage.kernel.graph.transformation import Partitioning
from sage.kernel.runtime.channel import Batch, Channel
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, KeyRouter, refused_key
from sage.kernel.time.watermark import START_OF_TIME

if TYPE_CHECKING:
    from sage.kernel.checkpoint.barrier import Barrier

__all__ = ["Columns", "OutputEdge", "Refuse"]


class Columns:
    """Parallel lists that a generated loop appends to: the values first, then the riders.

    Args:
        layout: Names of the riders.
    """

    def __init__(self, layout: tuple[str, ...] = ()) -> None:
        self.layout = layout
        self.values: list[object] = []
        self.riders: tuple[list[object], ...] = tuple([] for _ in layout)

    def take(self) -> Batch:
        """Remove and return what is complete.

        The last column is appended to last, so its length says how many records are complete.
        """
        count = len(self.riders[-1] if self.riders else self.values)
        batch = Batch(self.values[:count], tuple(r[:count] for r in self.riders))
        for column in (self.values, *self.riders):
            del column[:count]
        return batch

    def extend(self, batch: Batch) -> None:
        """Add a batch of the same layout at the end."""
        self.values.extend(batch.values)
        for mine, theirs in zip(self.riders, batch.riders, strict=True):
            mine.extend(theirs)

    def append_row(self, row: Sequence[object]) -> None:
        """Add one value with its riders."""
        for column, item in zip((self.values, *self.riders), row, strict=True):
            column.append(item)


Refuse = Callable[[object, Mapping[str, object], KeyRefusedError], None]


class OutputEdge:
    """One edge that leaves a subtask: its buffer, its channels and how records are spread.

    Args:
        partitioning: How records are spread over the channels.
        channels: One for each receiving subtask.
        layout: The riders that travel beside the values.
        batch_size: Most records in a batch.
        refuse: Takes a record whose key cannot be routed, its riders, and why; it may raise.
    """

    def __init__(
        self,
        partitioning: Partitioning,
        channels: Sequence[Channel],
        *,
        layout: tuple[str, ...],
        batch_size: int,
        refuse: Refuse,
    ) -> None:
        self.partitioning = partitioning
        self.channels = channels
        self.columns = Columns(layout)
        self._most = batch_size
        self.waiting_since: float | None = None
        self.carries_time = "watermark" in layout
        self.watermark = START_OF_TIME
        self.idle = False
        # What each channel was told of time.
        self._told = dict.fromkeys(channels, (START_OF_TIME, False))
        self.blocked_s = 0.0  # how long receivers that were slower let the task wait
        self._refuse = refuse
        self._lock = threading.Lock()
        self._turn = itertools.cycle(channels)
        self._router = KeyRouter(len(channels))

    @property
    def batch_size(self) -> int:
        """Most records in a batch: few where a receiver takes long for each."""
        return min(self._most, min(channel.most_records for channel in self.channels))

    @property
    def waiting(self) -> int:
        """How many records are in the buffer."""
        return len(self.columns.values)

    def flush(self) -> None:
        """Send everything in the buffer, waiting for credits."""
        if not self.columns.values:
            return
        with self._lock:
            self.waiting_since = None
            parts = self._parts(self.columns.take())
            # Time is at least as far as the task last said. One that was idle then is waking up,
            # and says so when it knows how far time is.
            says_time = self.carries_time and not self.idle
            state = (self.watermark, False)
            last = {channel: at for at, (channel, _) in enumerate(parts)}
            for at, (channel, part) in enumerate(parts):
                if says_time and last[channel] == at and self._told[channel] != state:
                    self._told[channel] = state
                    self._send(channel, part, self.watermark)
                else:
                    self._send(channel, part)

    def send_alone(self, batch: Batch, marked: Callable[[Batch], Batch] | None) -> None:
        """Send a batch that must not be mixed with others, behind what is in the buffer.

        Args:
            batch: What to send.
            marked: Makes of each part what travels; None sends them as they are.
        """
        self.flush()
        with self._lock:
            for channel, part in self._parts(batch):
                self._send(channel, marked(part) if marked is not None else part)

    def _send(self, channel: Channel, batch: Batch, watermark: float | None = None) -> None:
        started = time.monotonic()
        channel.send(batch, watermark)
        self.blocked_s += time.monotonic() - started

    def try_flush(self) -> None:
        """Send what is in the buffer if nobody else is sending and every receiver has room now.

        The linger thread calls this; it is the only one beside the task that sends here, and the
        lock keeps the task out meanwhile, so the credits it saw are still there when it sends.
        """
        if not self.columns.values or not self._lock.acquire(blocking=False):
            return
        try:
            if all(channel.has_credit for channel in self.channels):
                for channel, part in self._parts(self.columns.take()):
                    channel.send(part)
        finally:
            self._lock.release()

    def mark(self) -> None:
        """Say how far event time has come, if it has, and nothing older waits to be sent."""
        state = (self.watermark, self.idle)
        if all(told == state for told in self._told.values()):
            return
        with self._lock:  # the linger thread may be about to send what it has taken
            if self.columns.values:
                return
            for channel in self.channels:
                if self._told[channel] != state:
                    self._told[channel] = state
                    channel.mark(self.watermark, idle=self.idle)

    def cut(self, barrier: Barrier) -> None:
        """Send what is left, say how far event time has come, and send a barrier behind it.

        So all subtasks that receive it are at one time when they cut: which windows have fired is
        then known by the time alone, also when their keys are divided anew.
        """
        self.flush()
        if self.carries_time:
            self.mark()
        with self._lock:  # behind what the linger thread has taken
            for channel in self.channels:
                channel.cut(barrier)

    def end(self) -> None:
        """Send what is left, say how far event time has come, and that nothing more will come."""
        self.flush()
        if self.carries_time:
            self.mark()  # what fires by it and what by the end must not depend on batches
        with self._lock:  # behind what the linger thread has taken
            for channel in self.channels:
                channel.end()

    def _parts(self, batch: Batch) -> list[tuple[Channel, Batch]]:
        most = self.batch_size
        if len(batch.values) > most:
            return [pair for piece in _pieces(batch, most) for pair in self._parts(piece)]
        if not batch.values:
            return []
        if len(self.channels) == 1:  # the optimizer has made it forward, whatever the verb said
            return self._by_key(batch) if self._may_refuse(batch) else [(self.channels[0], batch)]
        if self.partitioning is Partitioning.BROADCAST:
            return [(channel, batch) for channel in self.channels]
        if self.partitioning is Partitioning.HASH:
            return self._by_key(batch)
        return [(next(self._turn), batch)]

    def _may_refuse(self, batch: Batch) -> bool:
        """Whether some key is perhaps none: `key_by` refuses it, however many subtasks follow."""
        if "key" not in self.columns.layout:
            return False
        keys = batch.riders[self.columns.layout.index("key")]
        return not PLAIN_KEY_TYPES.issuperset(map(type, keys))

    def _by_key(self, batch: Batch) -> list[tuple[Channel, Batch]]:
        keys = batch.riders[self.columns.layout.index("key")]
        rows: list[list[int]] = [[] for _ in self.channels]
        router = self._router
        for row, key in enumerate(keys):
            try:
                rows[router[key]].append(row)
            except KeyRefusedError as error:
                self._refuse_row(batch, row, error)
            except TypeError:  # an unhashable key
                self._refuse_row(batch, row, refused_key(key))
        return [
            (channel, _picked(batch, chosen))
            for channel, chosen in zip(self.channels, rows, strict=True)
            if chosen
        ]

    def _refuse_row(self, batch: Batch, row: int, error: KeyRefusedError) -> None:
        columns = zip(self.columns.layout, batch.riders, strict=True)
        self._refuse(batch.values[row], {name: column[row] for name, column in columns}, error)


def _picked(batch: Batch, rows: list[int]) -> Batch:
    def pick(column: list[object]) -> list[object]:
        return [column[row] for row in rows]

    return Batch(pick(batch.values), tuple(pick(rider) for rider in batch.riders))


def _pieces(batch: Batch, size: int) -> list[Batch]:
    return [batch.sliced(start, start + size) for start in range(0, len(batch.values), size)]
