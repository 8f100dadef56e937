"""Channels between actors.

A batch is an argument of one actor call to the receiver, pushed by the sender, pipelined. Half of a
channel's credits are calls that have not returned; the other half are batches that wait in the
receiver's mailbox. The call that would add one more to them returns only when the receiver has
worked one off. So a channel never has more than its credits under way, and no acknowledgement
travels apart from the calls' own returns.

All calls of one sender are executed in their order, by one thread of the receiver, so the end of an
input comes after its last batch. That thread waits for nothing but the receiver's own task, which
takes batches in order of arrival, whatever input they belong to: so one full input cannot block
another for good.

Marks, barriers and ends go the same way, behind the batches that were sent before, and need no
credit. Every call names the run that it belongs to. An actor serves one run after the other, and a
sender of an earlier one that was stopped and goes on is refused: nothing that it says can be taken
for what its replacement says.
"""

from __future__ import annotations

import functools
import pickle
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.errors import JobFailedError
from sage.kernel.runtime.channel import Batch, Channel, ChannelClosed, Mailbox
from sage.kernel.runtime.wiring import Link, LinkKey

__all__ = ["ActorWiring", "Carried", "RemoteChannel", "pieces"]

# How often a sender that waits for a credit looks whether the job was cancelled.
_LOOK_S = 0.1
# Credits count batches; this bounds what they hold.
_MOST_BYTES = 4 << 20


class Carried(NamedTuple):
    """What went through one end of a link.

    Attributes:
        records: How many records.
        batches: How many batches, in this run.
        restored: At the receiver's end, records of earlier runs, as a checkpoint counts them.
    """

    records: int = 0
    batches: int = 0
    restored: int = 0


class RemoteChannel(Channel):
    """The sender's end of a link into another actor."""

    def __init__(self, link: Link) -> None:
        super().__init__(Mailbox(), link.input_index, link.credits, link.names)
        self._link = link
        self._most = max(1, link.credits - _kept(link))
        self._unreturned: deque[Any] = deque()
        self._deliver: Any = None

    def connect(self, run: str, peers: Mapping[tuple[int, int], Any]) -> None:
        """Learn which actor the receiver is, and which run this is."""
        deliver = peers[self._link.receiver].deliver.remote
        self._deliver = functools.partial(deliver, run, self._link.key)

    def send(self, batch: Batch, watermark: float | None = None) -> None:
        """Push a batch, waiting for a credit; one of large records goes in pieces.

        A watermark travels in the call of the last piece: a call of its own would cost as much as a
        small batch.

        Raises:
            ChannelClosed: if the job is being cancelled or the receiver is gone.
            JobFailedError: if a record cannot be sent to another process.
        """
        *others, last = pieces(batch)
        for piece in others:
            self._push(piece)
        self._push(last, None if watermark is None else (watermark, False))

    def _push(self, batch: Batch, mark: tuple[float, bool] | None = None) -> None:
        while len(self._unreturned) >= self._most:
            self._await_return()
        if self.closed:
            raise ChannelClosed
        try:
            returned = self._deliver(batch.values, batch.riders, mark)
        except RayActorError as error:
            raise ChannelClosed from error
        except Exception as error:
            raise self._failed(error) from error
        self._unreturned.append(returned)
        self.sent += len(batch.values)
        self.batches_sent += 1

    @property
    def has_credit(self) -> bool:
        """Whether a batch could be sent now without waiting."""
        while self._unreturned and ray.wait([self._unreturned[0]], timeout=0)[0]:
            self._await_return()
        return len(self._unreturned) < self._most

    def mark(self, watermark: float, *, idle: bool) -> None:
        """Say how far event time has come, behind the batches that were sent before."""
        if self.closed:
            raise ChannelClosed
        _ = self.has_credit  # takes note of calls that have returned
        self._unreturned.append(self._deliver([], (), (watermark, idle)))

    def cut(self, barrier: Barrier) -> None:
        """Pass a barrier on, behind the batches that were sent before."""
        if self.closed:
            raise ChannelClosed
        _ = self.has_credit
        self._unreturned.append(self._deliver(barrier, ()))

    def end(self) -> None:
        """Say that nothing more will come, and wait until every batch was accepted.

        Raises:
            ChannelClosed: if the job is being cancelled or the receiver is gone.
            JobFailedError: if a record could not be rebuilt in the receiver's process.
        """
        if self.closed:
            raise ChannelClosed
        self._unreturned.append(self._deliver(None, ()))
        while self._unreturned:
            self._await_return()

    def close(self) -> None:
        """Let a waiting sender give up."""
        self.closed = True

    def _failed(self, error: Exception) -> JobFailedError:
        return JobFailedError(self.edge[0], error, doing=f"sending records to {self.edge[1]!r}")

    def _await_return(self) -> None:
        """Wait until the oldest call has returned."""
        while not self.closed:
            try:
                accepted = ray.get(self._unreturned[0], timeout=_LOOK_S)
            except GetTimeoutError:
                continue
            except RayActorError as error:
                raise ChannelClosed from error
            except RayError as error:  # the receiver could not unpickle the batch
                raise self._failed(error) from error
            if not accepted:
                raise ChannelClosed
            self._unreturned.popleft()
            return
        raise ChannelClosed


class ActorWiring:
    """The ends of the links of one subtask.

    Args:
        run: Which run this is.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._mailbox = Mailbox()
        self._incoming: dict[LinkKey, Channel] = {}
        self._delivered: Counter[LinkKey] = Counter()
        self._outgoing: dict[LinkKey, RemoteChannel] = {}

    def mailbox(self, receiver: tuple[int, int]) -> Mailbox:
        """Return the actor's only mailbox."""
        return self._mailbox

    def incoming(self, link: Link) -> Channel:
        """Return the channel that `deliver` puts batches into."""
        channel = self._incoming[link.key] = link.into(self._mailbox, _kept(link))
        return channel

    def outgoing(self, link: Link) -> Channel:
        """Return the channel that pushes batches to another actor."""
        channel = self._outgoing[link.key] = RemoteChannel(link)
        return channel

    def connect(self, peers: Mapping[tuple[int, int], Any]) -> None:
        """Learn which actor each receiver is."""
        for channel in self._outgoing.values():
            channel.connect(self._run, peers)

    def deliver(
        self,
        run: str,
        key: LinkKey,
        values: list[Any] | Barrier | None,
        riders: tuple[list[Any], ...],
        mark: tuple[float, bool] | None = None,
    ) -> bool:
        """Put a batch, a barrier, a mark or the end of an input into the mailbox.

        Returns:
            Whether it was accepted; not if it comes from another run, or nothing is any more.
        """
        if run != self._run:
            return False
        channel = self._incoming[key]
        try:
            if values is None:
                channel.end()
            elif isinstance(values, Barrier):
                channel.cut(values)
            elif values:
                channel.send(Batch(values, riders))
                self._delivered[key] += len(values)
            if mark is not None:
                channel.mark(mark[0], idle=mark[1])
        except ChannelClosed:
            return False
        return True

    def close(self) -> None:
        """Accept nothing more, and let a delivery that waits for room go."""
        for channel in self._incoming.values():
            channel.close()

    @property
    def sent(self) -> dict[LinkKey, Carried]:
        """What was sent over each outgoing link."""
        return {k: Carried(c.sent, c.batches_sent) for k, c in self._outgoing.items()}

    @property
    def received(self) -> dict[LinkKey, Carried]:
        """What the task took from each incoming link."""
        return {
            key: Carried(c.received, c.batches_done, c.sent - self._delivered[key])
            for key, c in self._incoming.items()
        }


def pieces(batch: Batch) -> Iterator[Batch]:
    """Yield a batch in pieces of some megabytes, judged by one of its records."""
    total = len(batch.values)
    try:
        record_bytes = len(pickle.dumps(batch.values[total // 2], 5))
    except Exception:  # Ray's pickling can more; what even that cannot is told when it is sent
        record_bytes = 0
    size = max(1, _MOST_BYTES // max(1, record_bytes))
    if size >= total:
        yield batch
        return
    for start in range(0, total, size):
        yield batch.sliced(start, start + size)


def _kept(link: Link) -> int:
    """How many of a link's batches may wait in the receiver's mailbox."""
    return max(1, link.credits // 2)
