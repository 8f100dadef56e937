"""A transactional sink in one subtask: which epochs it has prepared, and which to commit.

Epochs have the numbers of checkpoints: what is written behind barrier n - 1 is epoch n, or a later
one if checkpoint n is never made. Invariant: an epoch is committed only when a checkpoint is
complete that has it among the prepared ones, and whatever is not in the checkpoint that a run
begins with is aborted before the first record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sage.common.core.functions import TransactionalSink
from sage.kernel.checkpoint.steps import reached

if TYPE_CHECKING:
    from sage.kernel.operators.operator import LiveOperator

__all__ = ["SinkTransactions"]


class SinkTransactions:
    """The epochs of one sink.

    Args:
        sink: The user's function.
    """

    def __init__(self, sink: TransactionalSink) -> None:
        self._sink: Any = sink
        self.prepared: list[int] = []
        self._epoch = 0

    @classmethod
    def of(cls, live: LiveOperator) -> SinkTransactions | None:
        """Return the transactions of an operator, or None if it has none."""
        sinks: list[Any] = [f.owner for f in live.functions] if live.operator.terminal else []
        return next((cls(sink) for sink in sinks if isinstance(sink, TransactionalSink)), None)

    def settle_old(self, prepared: Iterable[int], restored: int, highest_begun: int) -> None:
        """Bring the sink to where the checkpoint is that this run begins with.

        Args:
            prepared: The epochs that the checkpoint has.
            restored: Its number, 0 for none.
            highest_begun: The highest number that any run has begun.
        """
        known = sorted(set(prepared))
        for epoch in known:
            reached("recovery.commit.before")
            self._sink.commit(epoch)
            reached("recovery.commit.after")
        for epoch in range(restored + 1, highest_begun + 2):
            if epoch not in known:
                reached("recovery.abort.before")
                self._sink.abort(epoch)
                reached("recovery.abort.after")

    def start_over(self) -> None:
        """Have the sink remove what earlier runs have written, if it can."""
        if hasattr(self._sink, "start_over"):
            self._sink.start_over()

    def begin(self, epoch: int) -> None:
        """Start an epoch."""
        self._epoch = epoch
        self._sink.begin(epoch)

    def prepare(self) -> list[int]:
        """Make what was written durable; return all epochs that wait for their commit."""
        reached("sink.prepare.before")
        self._sink.prepare(self._epoch)
        reached("sink.prepare.after")
        self.prepared.append(self._epoch)
        return list(self.prepared)

    def commit(self, epochs: Iterable[int]) -> None:
        """Make epochs visible that a complete checkpoint has, in their order."""
        for epoch in sorted(epochs):
            if epoch in self.prepared:
                reached("sink.commit.before")
                self._sink.commit(epoch)
                reached("sink.commit.after")
                self.prepared.remove(epoch)
