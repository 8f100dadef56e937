"""How the subtasks of a job are connected, which is where the runtimes differ.

A link is one sender's way into one receiver. The deployment names every link of the plan; a wiring
makes the channel of it: the same object for both ends where they share a process, or one object for
each end where they do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sage.kernel.runtime.channel import Channel, LoopTracker, Mailbox

__all__ = ["Link", "LinkKey", "LocalWiring", "Wiring"]

Subtask = tuple[int, int]
LinkKey = tuple[int, int, int, int]


@dataclass(frozen=True)
class Link:
    """One sender's way into one receiver.

    Attributes:
        sender: Vertex and subtask that sends.
        receiver: Vertex and subtask that receives.
        input_index: Which input of the receiver's head it leads into.
        credits: Batches that may be under way at once.
        names: Upstream and downstream operator, for metrics.
        loop: Counts what is inside the loop that the receiver belongs to.
        feeds_back: Whether it closes a loop.
        enters_loop: Whether it leads into a loop from outside.
    """

    sender: Subtask
    receiver: Subtask
    input_index: int
    credits: int
    names: tuple[str, str]
    loop: LoopTracker | None = None
    feeds_back: bool = False
    enters_loop: bool = False

    @property
    def key(self) -> LinkKey:
        """What tells it from every other link of the plan, in every process."""
        return (*self.receiver, self.input_index, self.sender[1])

    def into(self, mailbox: Mailbox, credits: int | None = None) -> Channel:
        """Return a channel into the receiver's mailbox."""
        return Channel(
            mailbox,
            self.input_index,
            self.credits if credits is None else credits,
            self.names,
            loop=self.loop,
            feeds_back=self.feeds_back,
            enters_loop=self.enters_loop,
        )


class Wiring(Protocol):
    """Makes the channels of a job."""

    def mailbox(self, receiver: Subtask) -> Mailbox:
        """Return what a subtask waits at; called again, the same."""

    def outgoing(self, link: Link) -> Channel:
        """Return the sender's end of a link."""

    def incoming(self, link: Link) -> Channel:
        """Return the receiver's end of a link."""


class LocalWiring:
    """Connects subtasks of one process: both ends of a link are the same object."""

    def __init__(self) -> None:
        self._mailboxes: dict[Subtask, Mailbox] = {}
        self._channels: dict[LinkKey, Channel] = {}

    def mailbox(self, receiver: Subtask) -> Mailbox:
        """Return the mailbox, made when first asked for."""
        return self._mailboxes.setdefault(receiver, Mailbox())

    def outgoing(self, link: Link) -> Channel:
        """Return the channel, made when first asked for."""
        channel = self._channels.get(link.key)
        if channel is None:
            channel = self._channels[link.key] = link.into(self.mailbox(link.receiver))
            channel.start_slowly()
        return channel

    incoming = outgoing
