"""How batches move between tasks: a mailbox for each receiver, a channel for each sender into it.

Invariant: a sender holds one credit for each batch that its receiver has not finished with, so a
channel never holds more than ``credits`` batches, and a slow receiver stops its senders. Nothing is
ever dropped because a queue is full.

A batch is columns: the values, and beside them the keys where a later operator needs them.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

__all__ = ["Batch", "Channel", "ChannelClosed", "EndOfInput", "Mailbox", "Wake"]


class Batch(NamedTuple):
    """Records on their way: parallel columns of equal length."""

    values: list[Any]
    keys: list[Any] | None = None


class EndOfInput(NamedTuple):
    """The sender has nothing more to say."""


class Wake(NamedTuple):
    """Makes a sleeping receiver look around: it may have been cancelled."""


class ChannelClosed(Exception):
    """The job is being cancelled; whoever waits at a channel gives up."""


class Mailbox:
    """What a task waits at: one queue for all its inputs."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Channel | None, Any]] = SimpleQueue()
        self.closed = False

    def put(self, channel: Channel | None, item: Any) -> None:
        """Add an item; credits were settled by the channel."""
        self._queue.put((channel, item))

    def get(self, timeout_s: float | None = None) -> tuple[Channel | None, Any] | None:
        """Return the next item and its channel, or None if none came in time.

        Raises:
            ChannelClosed: if the job is being cancelled.
        """
        if self.closed:
            raise ChannelClosed
        try:
            item = self._queue.get(timeout=timeout_s)
        except Empty:
            item = None
        if self.closed:
            raise ChannelClosed
        return item

    @property
    def empty(self) -> bool:
        """Whether nothing is waiting now."""
        return self._queue.empty()

    def close(self) -> None:
        """Wake the receiver for good."""
        self.closed = True
        self._queue.put((None, Wake()))


class Channel:
    """One sender's way into a receiver's mailbox, bounded by credits.

    Args:
        mailbox: The receiver's.
        input_index: Which input of the receiver's head this is.
        credits: Batches that may be under way at once.
        edge: Upstream and downstream, for metrics.
    """

    def __init__(
        self, mailbox: Mailbox, input_index: int, credits: int, edge: tuple[str, str]
    ) -> None:
        self.mailbox = mailbox
        self.input_index = input_index
        self.edge = edge
        self.sent = 0
        self.received = 0
        self.closed = False
        self._credits = threading.Semaphore(credits)

    def send(self, batch: Batch) -> None:
        """Hand over a batch, waiting for a credit.

        Raises:
            ChannelClosed: if the job is being cancelled.
        """
        self._credits.acquire()
        self._put(batch)

    @property
    def has_credit(self) -> bool:
        """Whether a batch could be sent now without waiting."""
        if self._credits.acquire(blocking=False):
            self._credits.release()
            return True
        return False

    def _put(self, batch: Batch) -> None:
        if self.closed:
            raise ChannelClosed
        self.sent += len(batch.values)
        self.mailbox.put(self, batch)

    def end(self) -> None:
        """Say that nothing more will come; needs no credit."""
        self.mailbox.put(self, EndOfInput())

    def done_with(self, batch: Batch) -> None:
        """Give the credit of a batch back; the receiver calls it when it has worked it off."""
        self.received += len(batch.values)
        self._credits.release()

    def close(self) -> None:
        """Let a waiting sender give up."""
        self.closed = True
        self._credits.release(1 << 20)
