"""Which checkpoints are history, and which are what a fenced run has left behind.

A run that was taken over can be stopped at any moment and go on at any later one: between its last
look at who owns the job and the rename of its manifest, too. Nothing that it does itself can rule
that out, so the reader does. Every run records from which checkpoint it goes on; what an earlier
run publishes behind that one never happened. (A fencing token as in Chubby or ZooKeeper, for a
storage that cannot refuse a write.) Invariant: a checkpoint is in the lineage if, and only if,
every later run goes on from it or from one behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Lineage"]

_FORKS = 256  # starts of which it is remembered from where they went on


@dataclass(frozen=True, slots=True)
class Lineage:
    """Which checkpoints the present run of a job descends from.

    Attributes:
        forks: ``(epoch, checkpoint)``: that epoch goes on from that checkpoint, 0 for none.

    Example:
        >>> lineage = Lineage().forked(2, 5)
        >>> lineage.includes(epoch=1, checkpoint=5), lineage.includes(epoch=1, checkpoint=6)
        (True, False)
        >>> lineage.includes(epoch=2, checkpoint=6)
        True
    """

    forks: tuple[tuple[int, int], ...] = ()

    def includes(self, *, epoch: int, checkpoint: int) -> bool:
        """Whether the checkpoint of that number which that epoch took is one of them."""
        return all(checkpoint <= origin for later, origin in self.forks if later > epoch)

    def forked(self, epoch: int, checkpoint: int) -> Lineage:
        """Return the lineage of a run that goes on from a checkpoint.

        A fork from an earlier checkpoint says all that the ones before it said. Of the others the
        latest few are kept: what is forgotten is only what a run could still write that has been
        taken over hundreds of times since.
        """
        kept = [fork for fork in self.forks if fork[1] < checkpoint]
        return Lineage((*kept, (epoch, checkpoint))[-_FORKS:])
