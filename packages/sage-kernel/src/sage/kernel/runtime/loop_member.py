"""A task's part in a feedback loop: when new records may enter, and what counts as being inside.

A loop is empty for good when no task can let anything new in and nothing is under way in it. Each
task of a loop says both: it *holds the loop open* until its inputs from outside have ended, and it
counts what its operators hold between two batches, which no channel sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sage.kernel.runtime.channel import Channel, LoopTracker, Mailbox
from sage.kernel.runtime.segment import Node

__all__ = ["LoopMember"]


class LoopMember:
    """One task of a loop.

    Args:
        tracker: Counts what is inside, for all tasks of the loop.
        mailbox: The task's, woken when the loop becomes empty or has room again.
        inputs: The task's channels.
        nodes: The task's operators that belong to the loop; its chain may go on behind it.
        max_under_way: So much may be inside before something new has to wait.
    """

    def __init__(
        self,
        tracker: LoopTracker,
        mailbox: Mailbox,
        inputs: Sequence[Channel],
        nodes: Sequence[Node],
        max_under_way: int,
    ) -> None:
        self.tracker = tracker
        self._nodes = nodes
        self._max_under_way = max_under_way
        self._held = 0
        self._entries = sum(channel.enters_loop for channel in inputs)
        self._is_head = any(channel.feeds_back for channel in inputs)
        self._holds_open = self._entries > 0
        if self._holds_open:
            tracker.hold_open()
        if self._is_head or self._holds_open:
            tracker.watch(mailbox)

    @property
    def may_end(self) -> bool:
        """Whether the task may end, for the loop: a head waits until nothing is inside."""
        return not self._is_head or self.tracker.under_way == 0

    def admits(self, channel: Channel) -> bool:
        """Whether a batch of this channel may be worked off now; what goes round always may."""
        return not channel.enters_loop or self.tracker.has_room(self._max_under_way)

    def input_ended(self, channel: Channel) -> None:
        """An input has ended."""
        self._entries -= channel.enters_loop

    def let_go(self, held_back: Iterable[Channel]) -> None:
        """Stop holding the loop open once nothing new can enter through this task.

        Args:
            held_back: The channels of batches that still wait to be worked off.
        """
        if not self._holds_open or self._entries:
            return
        if any(channel.enters_loop for channel in held_back):
            return
        self.leave()

    def leave(self) -> None:
        """Let nothing more in; a task that had come to its end before says so at once."""
        if self._holds_open:
            self._holds_open = False
            self.tracker.let_go()

    def open_cut(self) -> None:
        """Keep the loop from ending: a barrier goes round, and every head has to pass it on."""
        self.tracker.add()

    def close_cut(self) -> None:
        """The barrier has come round."""
        self.tracker.remove()

    def count_held(self) -> None:
        """Let the loop count what the operators hold; called when everything else was sent on."""
        held = sum(node.live.held for node in self._nodes)
        change, self._held = held - self._held, held
        if change > 0:
            self.tracker.add(change)
        elif change < 0:
            self.tracker.remove(-change)
