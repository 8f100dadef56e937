"""What runs a function elsewhere than in its task's thread: on an event loop, in a process.

The task feeds a host records and takes results when it is woken; the host never calls the chain.
All backpressure is in ``room``: a task hands over no more than that, and keeps the credits of what
it could not hand over, so that a slow function slows its senders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sage.kernel.errors import JobFailedError
    from sage.kernel.metrics.trace import Mark
    from sage.kernel.runtime.chain import Chain
    from sage.kernel.runtime.channel import Batch, Mailbox

__all__ = ["Host", "HostFactory", "Outcome", "Slice"]


@dataclass
class Outcome:
    """What became of one record.

    Attributes:
        record: The record.
        riders: What rode beside it.
        results: What the function gave; empty if nothing.
        error: Why it failed for good, or None.
        attempts: How often the function was called.
        mark: The mark of the batch that it was fed in, if the record is traced.
        digest: What its record is known by in the journal, if results are journalled.
        entry: Which entry of the journal holds its result.
    """

    record: Any
    riders: tuple[Any, ...] = ()
    results: Sequence[Any] = ()
    error: Exception | None = None
    attempts: int = 1
    mark: Mark | None = None
    digest: bytes = b""
    entry: bytes = b""

    @property
    def decided(self) -> int:
        """How many records it is about."""
        return 1


@dataclass
class Slice:
    """What became of many records, counted where their function ran.

    Attributes:
        decided: How many records it is about.
        released: How many the function is done with; it may keep some that are decided.
        results: What the function gave, in order, with riders.
        counts: What to add to the operator's statistics, by attribute.
        custom: What to add to the counters of the user's function.
        letters: Records that failed for good, not counted yet.
        work_s: Time in which the function worked.
        failure: Why the job must end, after the results were passed on.
    """

    decided: int
    results: Batch
    released: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    custom: Mapping[str, int] = field(default_factory=dict)
    letters: Sequence[Outcome] = ()
    work_s: float = 0.0
    failure: JobFailedError | None = None


class Host(Protocol):
    """Runs the first operator of a chain."""

    def start(self) -> None:
        """Get ready; called after the operator was opened."""

    def room(self) -> int:
        """Return how many records may be fed now."""

    def feed(self, batch: Batch) -> None:
        """Take over records, no more than there is room for."""

    def take(self) -> Sequence[Outcome | Slice]:
        """Return what is decided, in the order that was promised."""

    @property
    def busy(self) -> bool:
        """Whether records were fed whose outcome was not taken yet."""

    def in_flight(self) -> Batch:
        """Return the records that were fed and whose outcome was not taken, in their order.

        They are part of a checkpoint, and are fed again by a run that goes on from it.
        """

    def cut(self) -> bool:
        """Say whether a checkpoint may be taken now; if not, who asks is woken when that changes.

        It may where what was taken belongs to records that are decided, and to no others.
        """

    def no_more(self) -> None:
        """Say that nothing more will be fed, so that partial batches are worked off."""

    def close(self) -> None:
        """Stop; what is under way is abandoned."""


HostFactory = Callable[["Chain", "Mailbox"], "Host | None"]
