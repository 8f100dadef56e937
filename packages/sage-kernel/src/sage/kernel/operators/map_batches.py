"""``map_batches``: a function over lists, for work that is cheaper together (models, stores).

Records are collected until ``max_size`` are there or ``max_wait_ms`` have passed since the first of
them, then the function gets the list and returns a list of the same length, in the same order.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> numbers = LocalEnvironment().from_collection([1, 2, 3])
    >>> numbers.map_batches(lambda batch: [len(batch)] * len(batch), max_size=2).collect()
    [2, 2, 1]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sage.common.core.functions import MapFunction
from sage.kernel.operators.function_spec import FunctionShape, FunctionSpec, LiveFunction
from sage.kernel.operators.operator import LiveOperator, Operator

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop

__all__ = ["MAP_BATCHES", "LiveBatches", "MapBatchesOperator"]

MAP_BATCHES = FunctionShape("map_batches", MapFunction, "map")


class LiveBatches(LiveOperator):
    """The buffer of one subtask."""

    def __init__(self, operator: MapBatchesOperator, function: LiveFunction) -> None:
        super().__init__(operator, [function])
        self.max_size = operator.max_size
        self.buffer: list[Any] = []

    def add(self, record: Any) -> Iterable[Any]:
        """Take a record; return the results of its batch if it filled one."""
        self.buffer.append(record)
        return self.run() if len(self.buffer) >= self.max_size else ()

    def run(self) -> Iterable[Any]:
        """Give the buffer to the function and return the results, Nones left out."""
        batch, self.buffer = self.buffer, []
        if not batch:
            return ()
        results = self.functions[0].call(batch)
        if not isinstance(results, Sequence) and not hasattr(results, "__len__"):
            results = list(results)
        if len(results) != len(batch):
            raise ValueError(
                f"map_batches function returned {len(results)} results for {len(batch)} records"
            )
        return [result for result in results if result is not None]

    def finish(self) -> Iterable[Any]:
        """Yield the results of what is left."""
        yield from self.run()
        yield from super().finish()


@dataclass(frozen=True)
class MapBatchesOperator(Operator):
    """Applies a function to lists of records.

    Args:
        function: From a list to a list of the same length.
        max_size: Most records in a list.
        max_wait_ms: Longest wait for a list to fill; None waits until it is full or the input ends.
    """

    kind = "map_batches"
    one_to_one = False
    function: FunctionSpec
    max_size: int = 32
    max_wait_ms: float | None = None

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The function."""
        return (self.function,)

    def live(self, *, may_share: bool = True) -> LiveBatches:
        """Make the operator of one subtask, with an empty buffer."""
        return LiveBatches(self, self.function.live(may_share=may_share))

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """An inner loop over what the buffer gives when it is full."""
        assert isinstance(live, LiveBatches)
        iterator, produced = loop.fresh("i"), loop.count("produced")
        loop.line(f"{iterator} = iter({loop.bind(live.add)}({loop.value}))")
        loop.each(iterator)
        loop.line(f"{produced} += 1")
