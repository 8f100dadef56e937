"""How batches move between tasks: a mailbox for each receiver, a channel for each sender into it.

Invariant: a sender holds one credit for each batch that its receiver has not finished with, so a
channel never holds more than ``credits`` batches, and a slow receiver stops its senders. Nothing is
ever dropped because a queue is full. Credits are bounded by time as well: the longer a receiver
takes for a record, the fewer go into a batch, so that what waits in a channel is worked off within
about half a second, and a barrier, or the end of a job, is not stuck behind minutes of slow calls.

A batch is columns: the values, and beside them *riders*, further lists of the same length (keys,
rounds of a loop) where a later operator needs them. Which riders an edge carries is its *layout*,
known on both sides before the job starts.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sage.kernel.checkpoint.barrier import Barrier
    from sage.kernel.metrics.trace import Mark

__all__ = [
    "UNLIMITED",
    "Batch",
    "Channel",
    "ChannelClosed",
    "EndOfInput",
    "LoopTracker",
    "Mailbox",
    "Wake",
    "WatermarkMark",
]


# So much work may wait in a channel, in seconds; until that is known, so many records in a batch.
_MOST_S = 0.5
_AT_FIRST = 16
_UNBOUNDED = 1 << 30

# A record that goes round must never wait for a credit that only its own progress would free.
UNLIMITED = 1 << 30


class Batch(NamedTuple):
    """Records on their way: parallel columns of equal length.

    Attributes:
        values: The records.
        riders: What rides beside them, in the order of the edge's layout.
        trace: Set if these records are followed through the graph; they are then few.
    """

    values: list[Any]
    riders: tuple[list[Any], ...] = ()
    trace: Mark | None = None

    def sliced(self, start: int, end: int) -> Batch:
        """Return the records from ``start`` up to ``end``."""
        riders = tuple(r[start:end] for r in self.riders)
        return Batch(self.values[start:end], riders, self.trace)


class WatermarkMark:
    """How far the sender's event time has come, behind the batches that it sent before.

    While the receiver has not taken it and nothing was sent since, the sender renews it in place,
    so that a slow receiver's mailbox does not fill up. The sender writes first and then looks
    whether it was taken, the receiver says so first and then reads: nothing is missed.

    Attributes:
        watermark: The watermark.
        idle: Whether the sender expects nothing for a while, and need not be waited for.
        taken: Whether the receiver has it.
    """

    __slots__ = ("idle", "taken", "watermark")

    def __init__(self, watermark: float, idle: bool) -> None:
        self.watermark = watermark
        self.idle = idle
        self.taken = False


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


class LoopTracker:
    """Counts what is under way inside a loop, so that the loop knows when it is empty.

    A batch inside counts from the moment that it is sent to a task of the loop until that task has
    worked it off *and* sent on what came of it; what waits outside does not count, but whoever may
    still let something in holds the loop open. So the count is zero only if nothing is anywhere
    inside and nothing can come.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self._doors = 0
        self._someone_waits = False
        self._watching: list[Mailbox] = []

    def watch(self, mailbox: Mailbox) -> None:
        """Wake this mailbox when the loop becomes empty, or less full after `has_room` said no."""
        self._watching.append(mailbox)

    def hold_open(self) -> None:
        """Keep the loop from ending: a task may still let something in."""
        with self._lock:
            self._doors += 1
            self._under_way += 1

    def let_go(self) -> None:
        """That task lets nothing more in."""
        with self._lock:
            self._doors -= 1
        self.remove()

    def has_room(self, most: int) -> bool:
        """Whether at most so much is under way; if not, who asks is woken when that changes."""
        self._someone_waits = True  # before looking, so that no change is missed
        return self._under_way - self._doors <= most

    def add(self, count: int = 1) -> None:
        """Something has entered."""
        with self._lock:
            self._under_way += count

    def remove(self, count: int = 1) -> None:
        """Something is worked off."""
        with self._lock:
            self._under_way -= count
            wake = self._someone_waits or not self._under_way
            self._someone_waits = False
        if wake:
            for mailbox in self._watching:
                mailbox.put(None, Wake())

    @property
    def under_way(self) -> int:
        """How much is inside."""
        return self._under_way


class Channel:
    """One sender's way into a receiver's mailbox, bounded by credits.

    Args:
        mailbox: The receiver's.
        input_index: Which input of the receiver's head this is.
        credits: Batches that may be under way at once.
        edge: Upstream and downstream, for metrics.
        loop: Counts what is inside the loop that the receiver belongs to.
        feeds_back: Whether it closes a loop.
        enters_loop: Whether it leads into a loop from outside.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        input_index: int,
        credits: int,
        edge: tuple[str, str],
        *,
        loop: LoopTracker | None = None,
        feeds_back: bool = False,
        enters_loop: bool = False,
    ) -> None:
        self.loop = loop
        self.feeds_back = feeds_back
        self.enters_loop = enters_loop
        self.mailbox = mailbox
        self.input_index = input_index
        self.edge = edge
        self.capacity = credits
        self.most_records = _UNBOUNDED  # in a batch; fewer where the receiver is slow
        self._record_s = 0.0
        self.sent = 0
        self.received = 0
        self.batches_sent = 0
        self.batches_done = 0
        self.closed = False
        self._credits = threading.Semaphore(credits)
        self._overdrawn = 0  # batches that came without a credit
        self._mark: WatermarkMark | None = None
        self._batches_at_mark = -1

    def send(self, batch: Batch, watermark: float | None = None) -> None:
        """Hand over a batch, waiting for a credit.

        Args:
            batch: The batch.
            watermark: How far event time has come behind it, if that is to be said as `mark` does.

        Raises:
            ChannelClosed: if the job is being cancelled.
        """
        if self.closed:
            raise ChannelClosed
        self._credits.acquire()
        self._put(batch)
        if watermark is not None:
            self.mark(watermark, idle=False)

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
        self.batches_sent += 1
        if self.loop is not None and not self.enters_loop:
            self.loop.add()
        self.mailbox.put(self, batch)

    def mark(self, watermark: float, *, idle: bool) -> None:
        """Say how far event time has come; needs no credit."""
        mark = self._mark
        if mark is not None and self._batches_at_mark == self.batches_sent:
            mark.watermark, mark.idle = watermark, idle
            if not mark.taken:
                return
        self._mark, self._batches_at_mark = WatermarkMark(watermark, idle), self.batches_sent
        self.mailbox.put(self, self._mark)

    def cut(self, barrier: Barrier) -> None:
        """Pass a barrier on, behind the batches that were sent before; needs no credit."""
        self._mark = None  # what is said of time from now on must not overtake the barrier
        self.mailbox.put(self, barrier)

    def readmit(self, batch: Batch) -> None:
        """Count a batch that was under way in a checkpoint as if it had just been sent."""
        self.sent += len(batch.values)
        self.batches_sent += 1
        if not self._credits.acquire(blocking=False):
            self._overdrawn += 1
        if self.loop is not None and not self.enters_loop:
            self.loop.add()

    def end(self) -> None:
        """Say that nothing more will come; needs no credit."""
        self.mailbox.put(self, EndOfInput())

    def took(self, records: int) -> None:
        """Count records that the receiver has taken over."""
        self.received += records

    def start_slowly(self) -> None:
        """Keep batches small until the receiver has said how long it takes; see `pace`."""
        if self.capacity < UNLIMITED:
            self.most_records = _AT_FIRST

    def pace(self, records: int, elapsed_s: float) -> None:
        """Learn how long the receiver took for a batch, and how large the next ones may be.

        Args:
            records: How many records it had.
            elapsed_s: From when the receiver turned to it until it was done with it.
        """
        record_s = elapsed_s / max(1, records)
        # It may be slower at once, and is believed to be faster only after a while.
        self._record_s = max(record_s, 0.8 * self._record_s + 0.2 * record_s)
        if self._record_s and self.capacity < UNLIMITED:
            self.most_records = max(1, int(_MOST_S / (self._record_s * self.capacity)))

    def done_with(self) -> None:
        """Give the credit of a batch back; the receiver calls it when it has worked it off."""
        if self._overdrawn:
            self._overdrawn -= 1
        else:
            self._credits.release()
        self.batches_done += 1
        if self.loop is not None and not self.enters_loop:
            self.loop.remove()

    def close(self) -> None:
        """Let a waiting sender give up."""
        self.closed = True
        # Enough for the task and the linger thread; each credit costs a notification.
        self._credits.release(8)
