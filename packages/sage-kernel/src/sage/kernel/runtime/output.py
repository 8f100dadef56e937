"""Where a chain's results leave it: buffers that become batches on channels.

The generated loop appends to plain lists. A buffer is sent when it is full, when the task has
nothing else to do, and at the latest ``linger_ms`` after its first record, by the job's linger
thread if the task itself is stuck in a user's function. Appending needs no lock: both threads only
ever remove a prefix, under the buffer's lock, and appends go to the other end.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence

from sage.kernel.errors import KeyRefusedError
from sage.kernel.graph.transformation import Partitioning
from sage.kernel.runtime.channel import Batch, Channel
from sage.kernel.state.key_group import KeyRouter, refused_key

__all__ = ["Columns", "OutputEdge"]


class Columns:
    """Parallel lists that a generated loop appends to."""

    def __init__(self, keyed: bool) -> None:
        self.values: list[object] = []
        self.keys: list[object] | None = [] if keyed else None

    def take(self) -> Batch:
        """Remove and return what is complete.

        Keys are appended after values, so the shorter of the two lists says how many are complete.
        """
        if self.keys is None:
            count = len(self.values)
            keys = None
        else:
            count = len(self.keys)
            keys = self.keys[:count]
            del self.keys[:count]
        values = self.values[:count]
        del self.values[:count]
        return Batch(values, keys)

    def extend(self, batch: Batch) -> None:
        """Add a batch at the end."""
        self.values.extend(batch.values)
        if self.keys is not None:
            self.keys.extend(batch.keys or ())


class OutputEdge:
    """One edge that leaves a subtask: its buffer, its channels and how records are spread.

    Args:
        partitioning: How records are spread over the channels.
        channels: One for each receiving subtask.
        keyed: Whether keys travel beside the values.
        batch_size: Most records in a batch.
        refuse: Takes a record whose key cannot be routed, and why; it may raise.
    """

    def __init__(
        self,
        partitioning: Partitioning,
        channels: Sequence[Channel],
        *,
        keyed: bool,
        batch_size: int,
        refuse: Callable[[object, KeyRefusedError], None],
    ) -> None:
        self.partitioning = partitioning
        self.channels = channels
        self.columns = Columns(keyed or partitioning is Partitioning.HASH)
        self.batch_size = batch_size
        self._refuse = refuse
        self._lock = threading.Lock()
        self._turn = itertools.cycle(channels)
        self._router = KeyRouter(len(channels))

    @property
    def waiting(self) -> int:
        """How many records are in the buffer."""
        return len(self.columns.values)

    def flush(self) -> None:
        """Send everything in the buffer, waiting for credits."""
        if not self.columns.values:
            return
        with self._lock:
            batch = self.columns.take()
            for channel, part in self._parts(batch):
                channel.send(part)

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

    def end(self) -> None:
        """Send what is left and say that nothing more will come."""
        self.flush()
        for channel in self.channels:
            channel.end()

    def _parts(self, batch: Batch) -> list[tuple[Channel, Batch]]:
        if len(batch.values) > self.batch_size:
            return [
                pair for piece in _pieces(batch, self.batch_size) for pair in self._parts(piece)
            ]
        if not batch.values:
            return []
        if len(self.channels) == 1:
            return [(self.channels[0], batch)]
        if self.partitioning is Partitioning.BROADCAST:
            return [(channel, batch) for channel in self.channels]
        if self.partitioning is Partitioning.HASH:
            return self._by_key(batch)
        return [(next(self._turn), batch)]

    def _by_key(self, batch: Batch) -> list[tuple[Channel, Batch]]:
        parts: list[tuple[list[object], list[object]]] = [([], []) for _ in self.channels]
        router = self._router
        for value, key in zip(batch.values, batch.keys or (), strict=True):
            try:
                values, keys = parts[router[key]]
            except KeyRefusedError as error:
                self._refuse(value, error)
                continue
            except TypeError:  # an unhashable key
                self._refuse(value, refused_key(key))
                continue
            values.append(value)
            keys.append(key)
        return [
            (channel, Batch(values, keys))
            for channel, (values, keys) in zip(self.channels, parts, strict=True)
            if values
        ]


def _pieces(batch: Batch, size: int) -> list[Batch]:
    return [
        Batch(batch.values[i : i + size], None if batch.keys is None else batch.keys[i : i + size])
        for i in range(0, len(batch.values), size)
    ]
