"""Drives one operator by hand: its generated loop and its live state, without a job around them.

A test says which records come, in which batches, and how far event time has come beside each; it
sees results, late records and counts at any moment in between. Flink's operator test harnesses are
the model.

Example:
    >>> from sage.kernel.operators.interval_join import IntervalJoinOperator
    >>> harness = OperatorHarness(IntervalJoinOperator(None, lower_s=0, upper_s=5))
    >>> harness.process(Arrival("tea", key="k", time_s=1.0))
    >>> harness.process(Arrival("paid", key="k", time_s=3.0, input_index=1))
    >>> harness.results
    [('tea', 'paid')]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sage.kernel.checkpoint.operator_state import OperatorState
from sage.kernel.metrics.fates import OperatorStatistics
from sage.kernel.operators.event_time import LATE, LiveEventTimeOperator
from sage.kernel.operators.operator import Operator, Row
from sage.kernel.runtime.chain_compiler import CompiledLoop, compile_loop
from sage.kernel.runtime.output import Columns
from sage.kernel.state.codec import StateCodec
from sage.kernel.time.clock import Clock

__all__ = ["Arrival", "OperatorHarness", "arrivals", "batches"]

LAYOUT = ("key", "time", "watermark")


@dataclass(frozen=True)
class Arrival:
    """A record as it comes to an operator.

    Attributes:
        record: The record.
        key: Its key.
        time_s: Its timestamp.
        watermark: How far event time has come, this record included.
        input_index: Which input it comes in by.
    """

    record: Any
    key: Any
    time_s: float
    watermark: float = -math.inf
    input_index: int = 0


class OperatorHarness:
    """One operator in one subtask.

    Args:
        operator: The description.
        clock: Processing time; the system's if not given.

    Attributes:
        live: Its live state.
        statistics: Its counts.
    """

    def __init__(self, operator: Operator, clock: Clock | None = None) -> None:
        self.live = operator.live()
        self.live.clock = clock or self.live.clock
        self.statistics: OperatorStatistics = self.live.statistics
        self._out, self._late = Columns(("time", "watermark")), Columns(("time",))
        self.live.sides[LATE] = self._late
        if isinstance(self.live, LiveEventTimeOperator):
            self.live.collect_in(self._out)
        self._loops: dict[int, CompiledLoop] = {}

    @property
    def results(self) -> list[Any]:
        """What it has emitted."""
        return list(self._out.values)

    @property
    def rows(self) -> list[tuple[Any, float, float]]:
        """What it has emitted, each with its time and the watermark beside it."""
        times, watermarks = self._out.riders
        return list(zip(self._out.values, times, watermarks, strict=True))  # type: ignore[arg-type]

    @property
    def late(self) -> list[Any]:
        """What it has refused as late."""
        return list(self._late.values)

    def process(self, *arrived: Arrival) -> None:
        """Work off a batch; what comes by different inputs is in batches of its own."""
        for input_index, batch in groupby(arrived, key=lambda arrival: arrival.input_index):
            self._loop(input_index).run((a.record, a.key, a.time_s, a.watermark) for a in batch)

    def advance(self, watermark: float) -> None:
        """Let event time go on, as at the end of a batch."""
        self.live.advance(watermark)

    def tick(self) -> None:
        """Let it emit what has waited long enough by the clock."""
        due_s = self.live.due_s
        while due_s is not None and due_s <= self.live.clock():
            self._emit(self.live.on_due())
            due_s = self.live.due_s

    def finish(self) -> None:
        """End the input."""
        self.live.advance(math.inf)
        self._emit(self.live.finish())

    def snapshot(self) -> OperatorState:
        """Return what it has to remember, not yet encoded."""
        state = OperatorState(StateCodec(self.live.operator.label))
        self.live.snapshot(state)
        return state

    def _emit(self, records: Iterable[Any]) -> None:
        for record in records:
            self.statistics.flushed += 1
            if type(record) is Row:
                value, _, time_s, watermark = record
                self._out.append_row((value, time_s, watermark))
            else:
                self._out.append_row((record, math.inf, math.inf))

    def _loop(self, input_index: int) -> CompiledLoop:
        if input_index not in self._loops:
            self._loops[input_index] = compile_loop(
                [self.live],
                [self.statistics],
                layout=LAYOUT,
                input_index=input_index,
                out=self._out,
            )
        return self._loops[input_index]


def arrivals(
    events: Iterable[tuple[int, Any, float, Any]], max_out_of_orderness_s: float
) -> list[Arrival]:
    """Return events as one split brings them: the watermark is the highest time less a bound.

    Args:
        events: Input, key, time in seconds and record of each.
        max_out_of_orderness_s: The bound.
    """
    highest, arrived = -math.inf, []
    for input_index, key, time_s, record in events:
        highest = max(highest, time_s)
        watermark = highest - max_out_of_orderness_s
        arrived.append(Arrival(record, key, time_s, watermark, input_index))
    return arrived


def batches(arrived: Sequence[Arrival], size: int) -> Iterator[Sequence[Arrival]]:
    """Yield arrivals in batches of one size; the last one may be smaller."""
    for start in range(0, len(arrived), size):
        yield arrived[start : start + size]
