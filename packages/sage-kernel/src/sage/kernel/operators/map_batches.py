"""``map_batches``: a function over lists, for work that is cheaper together (models, stores).

Records are collected until ``max_size`` are there or ``max_wait_ms`` have passed since the first of
them, then the function gets the list and returns a list of the same length, in the same order.

A snapshot has the buffer, as the listed ``records`` and ``riders``, ``since`` when its first record
waits, and ``watermark at``: where the watermark is among the riders. Where fewer subtasks share the
records of many there may be more than a list may have; then lists come one after the other.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> numbers = LocalEnvironment().from_collection([1, 2, 3])
    >>> numbers.map_batches(lambda batch: [len(batch)] * len(batch), max_size=2).collect()
    [2, 2, 1]
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sage.common.core.functions import MapFunction
from sage.kernel.operators.function_spec import FunctionShape, FunctionSpec, LiveFunction
from sage.kernel.operators.operator import LiveOperator, Operator, Row

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState
    from sage.kernel.operators.loop import Loop

__all__ = ["MAP_BATCHES", "BatchFailed", "LiveBatches", "MapBatchesOperator"]

MAP_BATCHES = FunctionShape("map_batches", MapFunction, "map")


class BatchFailed(Exception):
    """A batch function raised; the policy applies to every record of the batch.

    Attributes:
        records: The batch.
        riders: What rode beside each record; empty if nothing does.
        cause: What was raised.
        again: Calls the function with the same batch once more.
    """

    def __init__(
        self,
        records: list[Any],
        riders: list[tuple[Any, ...]],
        cause: Exception,
        again: Callable[[], Iterable[Any]],
    ) -> None:
        super().__init__(str(cause))
        self.records = records
        self.riders = riders
        self.cause = cause
        self.again = again


class LiveBatches(LiveOperator):
    """The buffer of one subtask."""

    def __init__(self, operator: MapBatchesOperator, function: LiveFunction) -> None:
        super().__init__(operator, [function])
        self.max_size = operator.max_size
        self._max_wait_s = None if operator.max_wait_ms is None else operator.max_wait_ms / 1000
        self._since: float | None = None
        self._buffer: list[Any] = []
        self._riders: list[tuple[Any, ...]] = []
        self._watermark_at: int | None = None

    def layout(self, names: Sequence[str]) -> None:
        """Learn which riders come with a record."""
        self._watermark_at = names.index("watermark") if "watermark" in names else None

    def forwarded(self, watermark: float) -> float:
        """Return the watermark of the oldest record that waits; nothing may overtake it."""
        if self._watermark_at is None or not self._riders:
            return watermark
        return self._riders[0][self._watermark_at]  # type: ignore[no-any-return]

    def is_idle(self, idle: bool) -> bool:
        """Return whether nothing comes from it; as long as records wait, something does."""
        return idle and not self._buffer

    @property
    def held(self) -> int:
        """How many records wait for company."""
        return len(self._buffer)

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in the buffer."""
        super().snapshot(state, full=full)
        state.put_listed("records", self._buffer)
        state.put_listed("riders", self._riders)
        state.put_whole("since", self._since)
        state.put_whole("watermark at", self._watermark_at)

    def restore(self, state: RestoredState) -> None:
        """Take the buffer back."""
        super().restore(state)
        self._buffer, self._riders = state.listed("records"), state.listed("riders")
        since = [since for since in state.whole("since") if since is not None]
        self._since = min(since, default=None) if self._buffer else None
        known = [at for at in state.whole("watermark at") if at is not None]
        self._watermark_at = min(known, default=None)  # no loop that would say it is written yet

    @property
    def due_s(self) -> float | None:
        """When the oldest record has waited long enough; now, if there is a whole list."""
        if not self._buffer:
            return None
        if len(self._buffer) >= self.max_size:
            return -math.inf
        if self._max_wait_s is None:
            return None
        if self._since is None:
            self._since = self.clock()
        return self._since + self._max_wait_s

    def add(self, record: Any) -> Iterable[Any]:
        """Take a record; return the results of its batch if it filled one."""
        self._buffer.append(record)
        return self.on_due() if len(self._buffer) >= self.max_size else ()

    def add_row(self, record: Any, *riders: Any) -> Iterable[Any]:
        """The same for a record with riders; results are rows with the riders of their records."""
        self._riders.append(riders)
        return self.add(record)

    def on_due(self) -> Iterable[Any]:
        """Give the buffer to the function and return the results, Nones left out."""
        size = self.max_size
        batch, self._buffer = self._buffer[:size], self._buffer[size:]
        riders, self._riders = self._riders[:size], self._riders[size:]
        if not self._buffer:
            self._since = None
        return self._results(batch, riders) if batch else ()

    def finish(self) -> Iterable[Any]:
        """Yield the results of what is left."""
        while self._buffer:
            yield from self.on_due()
        yield from super().finish()

    def _results(self, batch: list[Any], riders: list[tuple[Any, ...]]) -> Iterable[Any]:
        try:
            results = self.functions[0].call(batch)
            results = results if hasattr(results, "__len__") else list(results)
            if len(results) != len(batch):
                raise ValueError(
                    f"map_batches function returned {len(results)} results for {len(batch)} records"
                )
        except Exception as error:
            again = functools.partial(self._results, batch, riders)
            raise BatchFailed(batch, riders, error, again) from error
        if riders:
            pairs = zip(results, riders, strict=True)
            kept = [Row((result, *beside)) for result, beside in pairs if result is not None]
        else:
            kept = [result for result in results if result is not None]
        self.statistics.empty += len(batch) - len(kept)
        return kept


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
        live.layout(tuple(loop.riders))
        iterator, produced = loop.fresh("i"), loop.count("produced")
        add = loop.bind(live.add_row if loop.riders else live.add)
        row = ", ".join([loop.value, *loop.riders.values()])
        loop.line(f"{iterator} = iter({add}({row}))")
        loop.each(iterator, rows=bool(loop.riders))
        loop.line(f"{produced} += 1")
