"""``map_async``: an async function, many calls in flight, refilled as each one ends.

Calls are made by as many workers as ``concurrency`` says; each takes the next record the moment its
last call has ended, so there are no waves and no barriers. With ``ordered=True`` results leave in
the order of their records; with ``ordered=False`` as they come.

A checkpoint does not wait for calls: their records are part of it, and are worked off again after a
recovery. A function must therefore not change its record before its last ``await``. With
``journal=True`` it does not call again for a record whose call had ended, see
`sage.kernel.checkpoint.journal`.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> async def double(x):
    ...     return 2 * x
    >>> LocalEnvironment().from_collection([1, 2, 3]).map_async(double, concurrency=2).collect()
    [2, 4, 6]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sage.kernel.errors import GraphError
from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.journalled import check_journal
from sage.kernel.operators.operator import LiveOperator, Operator

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop

__all__ = ["LiveMapAsync", "MapAsyncOperator"]


class LiveMapAsync(LiveOperator):
    """An async map in one subtask; an `AsyncHost` runs it."""

    operator: MapAsyncOperator


@dataclass(frozen=True)
class MapAsyncOperator(Operator):
    """Replaces each record by what the async function returns; None means no output.

    Args:
        function: The async function.
        concurrency: Most calls in flight, in each subtask.
        ordered: Whether results keep the order of their records.
        timeout_s: Longest time for one call, in seconds; None for no limit.
        rate_per_s: Most calls started a second, in each subtask; None for no limit.
        journal: Whether results are journalled, see `sage.kernel.checkpoint.journal`.
    """

    kind = "map_async"
    one_to_one = False
    starts_chain = True
    function: FunctionSpec
    concurrency: int = 64
    ordered: bool = True
    timeout_s: float | None = None
    rate_per_s: float | None = None
    journal: bool = False

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise GraphError(f"concurrency must be at least 1, got {self.concurrency}")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise GraphError(f"timeout_s must be above 0, got {self.timeout_s}")
        if self.rate_per_s is not None and self.rate_per_s <= 0:
            raise GraphError(f"rate_per_s must be above 0, got {self.rate_per_s}")
        check_journal(self.journal, self.function)

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The function."""
        return (self.function,)

    @property
    def is_journalled(self) -> bool:
        """As its option says."""
        return self.journal

    def live(self, *, may_share: bool = True) -> LiveMapAsync:
        """Make the operator of one subtask."""
        return LiveMapAsync(self, [self.function.live(may_share=may_share)])

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """Nothing: its host calls the function, outside of any loop."""
        raise NotImplementedError("map_async runs on an event loop")
