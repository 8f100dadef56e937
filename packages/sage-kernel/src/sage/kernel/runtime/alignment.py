"""When a task may take its part of a checkpoint: barrier alignment.

A checkpoint is due in a task when it is known (somebody asked for it, or a barrier came) and every
input has either delivered its barrier or ended. A source has no inputs, so it is due when asked; a
task whose inputs have all ended is due when asked as well, and makes the cut for those behind it.
Back edges of loops are no inputs here: what comes by them is logged (see ``input_checkpoints``).

While a task waits for the slower inputs, what comes behind the barrier of a faster one is kept
back. Invariant: whatever is handed on before the cut came before the barrier of its input.
Without exactly-once nothing is kept back, so what came behind a barrier may be in the cut, and is
seen twice after a recovery.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.runtime.channel import Channel

__all__ = ["Alignment"]

Item = tuple[Channel, Any]


class Alignment:
    """The inputs of one task between two cuts.

    Args:
        inputs: Its channels; back edges are left out.
        blocks: Whether what comes behind a barrier is kept back.
    """

    def __init__(self, inputs: Sequence[Channel], *, blocks: bool) -> None:
        self._blocks = blocks
        self._delivered = {channel: 0 for channel in inputs if not channel.feeds_back}
        self._kept: deque[Item] = deque()
        self._taken = 0
        self.barrier: Barrier | None = None

    def ask(self, barrier: Barrier) -> list[Item]:
        """Learn of a checkpoint; return what an older one kept back, which is given up."""
        known = self.barrier.checkpoint if self.barrier is not None else self._taken
        if barrier.checkpoint <= known:
            return []
        self.barrier = barrier
        return self._release()

    def deliver(self, channel: Channel, barrier: Barrier) -> list[Item]:
        """Take the barrier of an input; return what is free to be handled now, in its order."""
        freed = self.ask(barrier)
        if freed:  # what this input sent between its two barriers comes before this one
            return [*freed, (channel, barrier)]
        if self.barrier is not None and barrier.checkpoint == self.barrier.checkpoint:
            self._delivered[channel] = barrier.checkpoint
        return []

    def end(self, channel: Channel) -> None:
        """Take the end of an input: there is nothing to wait for any more."""
        self._delivered.pop(channel, None)

    def keeps(self, channel: Channel, item: Any) -> bool:
        """Keep an item that came behind the barrier; say whether that was done."""
        if self.barrier is None or not self._blocks:
            return False
        if self._delivered.get(channel, 0) < self.barrier.checkpoint:
            return False
        self._kept.append((channel, item))
        return True

    @property
    def is_due(self) -> bool:
        """Whether the cut can be made now."""
        if self.barrier is None:
            return False
        checkpoint = self.barrier.checkpoint
        return all(delivered >= checkpoint for delivered in self._delivered.values())

    def take(self) -> tuple[Barrier, list[Item]]:
        """Make the cut; return its barrier and what was kept back."""
        assert self.barrier is not None
        barrier, self.barrier = self.barrier, None
        self._taken = barrier.checkpoint
        return barrier, self._release()

    def _release(self) -> list[Item]:
        kept, self._kept = list(self._kept), deque()
        return kept
