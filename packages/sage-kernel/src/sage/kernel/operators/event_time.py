"""What operators that follow event time share: a point in time, and results of their own.

Two riders go beside each record of a stream with timestamps: its ``time``, and the ``watermark`` of
its split, this record included. So an operator knows exactly how far event time has come when a
record arrives, however batches fall.

Such an operator keeps records and says something when the watermark passes what it waits for, which
has nothing to do with the record that is being worked off. Therefore it ends its loop: its results
are collected in columns, and what follows it is another loop over them.

Invariant: a result never comes behind the watermark that goes on with it, except what is late
anyway; and the content of a result depends only on the records before the watermark that completed
it, so firing later, at the end of a batch, changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sage.kernel.operators.function_spec import LiveFunction
from sage.kernel.operators.operator import LiveOperator, Operator
from sage.kernel.time.watermark import END_OF_TIME, START_OF_TIME

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState
    from sage.kernel.operators.loop import Loop
    from sage.kernel.operators.operator import SideOutput

__all__ = [
    "LATE",
    "EventTimeOperator",
    "LiveEventTimeOperator",
    "just_before",
    "refuse_behind_watermark",
]

LATE = "late"
_END = object()


def just_before(end_s: float) -> float:
    """Return the last point in time before ``end_s``: the time of a window's result."""
    return math.nextafter(end_s, -math.inf)


class LiveEventTimeOperator(LiveOperator):
    """An event-time operator in one subtask.

    Attributes:
        out: Its results; the deployment sets it before the loop is written.
        due: The watermark at which `fire` has something to say; infinite if nothing waits.
        watermark: How far event time has come for those behind it.
        refuse: Does what the error policy says with something that failed, after so many attempts,
            and is no input record.
        tries_again: Whether the policy says to try something again that failed with an error, after
            so many attempts; it waits as long as the policy says.
        relieve: Sends on what waits in ``out``, in the middle of a batch.
        most_waiting: So many results may wait there.
    """

    def __init__(self, operator: Operator, functions: list[LiveFunction]) -> None:
        super().__init__(operator, functions)
        self.due = END_OF_TIME
        self.watermark = START_OF_TIME
        self.refuse: Callable[[Any, Exception, int], None] = _raise
        self.tries_again: Callable[[Exception, int], bool] = _never
        self.relieve: Callable[[], None] = _nothing
        self.most_waiting = 1024

    def collect_in(self, out: SideOutput) -> None:
        """Put results there from now on."""
        self.out = out

    def add(self, input_index: int, key: Any, record: Any, time: float, watermark: float) -> None:
        """Take a record; what its watermark completes has been said before.

        Args:
            input_index: Which input it came in by.
            key: Its key.
            record: The record.
            time: Its timestamp, in seconds.
            watermark: How far event time had come when it arrived.
        """
        raise NotImplementedError

    def fire(self, watermark: float) -> None:
        """Emit everything that a watermark completes, and say in ``due`` what comes next."""

    def advance(self, watermark: float) -> None:
        """Let event time go on; called at ``due``, at the end of a batch and at the end of all."""
        if watermark >= self.due or watermark == END_OF_TIME:
            self.fire(watermark)
        if watermark > self.watermark:
            self.watermark = watermark

    def forwarded(self, watermark: float) -> float:
        """Return the watermark that goes on when this one comes in."""
        return self.watermark if watermark != END_OF_TIME else END_OF_TIME

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in ``watermark``. What is due follows from what waits, so that is not put in."""
        super().snapshot(state, full=full)
        state.put_whole("watermark", self.watermark)

    def restore(self, state: RestoredState) -> None:
        """Take back ``watermark``: of several subtasks, that of the one that is furthest behind."""
        super().restore(state)
        self.watermark = min(state.whole("watermark"), default=START_OF_TIME)

    def come_to_end(self, end_s: float) -> None:
        """Note that what comes now is of a window that ends here, or of a later one, or late.

        So the watermark beside results follows from the windows alone, not from where batches end.
        """
        if self.watermark < end_s < END_OF_TIME:
            self.watermark = just_before(end_s)

    def emit(self, record: Any, time_s: float, watermark: float | None = None) -> None:
        """Give one result.

        Args:
            record: The result.
            time_s: Its timestamp.
            watermark: How far event time has come for those behind it; None for ``watermark``.
        """
        if watermark is None:
            watermark = self.watermark
        out = self.out
        self.statistics.produced += 1
        out.values.append(record)
        for name, column in zip(out.layout, out.riders, strict=True):
            column.append(time_s if name == "time" else watermark if name == "watermark" else None)
        if len(out.values) >= self.most_waiting:
            self.relieve()

    def emit_all(self, records: Sequence[Any], time_s: float) -> None:
        """Give many results of the same time."""
        out, size = self.out, self.most_waiting
        for start in range(0, len(records), size):
            part = records[start : start + size]
            self.statistics.produced += len(part)
            out.values.extend(part)
            for name, column in zip(out.layout, out.riders, strict=True):
                beside = {"time": time_s, "watermark": self.watermark}.get(name)
                column.extend([beside] * len(part))
            if len(out.values) >= size:
                self.relieve()

    def refuse_late(self, record: Any, time: float, watermark: float) -> None:
        """Count a record as late and give it to the side output ``late``."""
        self.statistics.late += 1
        side = self.sides.get(LATE)
        if side is not None:
            beside = {"time": time, "watermark": watermark}
            side.append_row((record, *map(beside.get, side.layout)))

    def results_of(self, call: Callable[[], Iterable[Any]], source: Any) -> Iterator[Any]:
        """Yield what a user's function gives that is called for no single record.

        Args:
            call: Calls it.
            source: What it is called for; that is set aside if the function fails for good.
        """
        items: Iterator[Any] | None = None
        attempts = 1
        while True:
            try:
                if items is None:
                    items = iter(call())
                item = next(items, _END)
            except Exception as error:
                if self.tries_again(error, attempts):
                    items, attempts = None, attempts + 1
                    continue
                self.refuse(source, error, attempts)
                return
            if item is _END:
                return
            yield item

    def try_again(self, call: Callable[[], Any], source: Any, error: Exception) -> Any:
        """Return what a function gives at last that has raised; None if it fails for good.

        Args:
            call: Calls it.
            source: What it is called for; that is set aside if the function fails for good.
            error: What it has raised.
        """
        attempts = 1
        while self.tries_again(error, attempts):
            attempts += 1
            try:
                return call()
            except Exception as again:
                error = again
        self.refuse(source, error, attempts)
        return None


@dataclass(frozen=True)
class EventTimeOperator(Operator):
    """Base of the operators that follow event time; see the module's docstring."""

    one_to_one: ClassVar[bool] = False
    ends_segment: ClassVar[bool] = True
    uses_time: ClassVar[bool] = True

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``if watermark >= due: advance(watermark)``, then ``add(...)``."""
        assert isinstance(live, LiveEventTimeOperator)
        now, time = loop.riders["watermark"], loop.riders["time"]
        me, add = loop.bind(live, "e"), loop.bind(live.add, "f")
        loop.block(f"if {now} >= {me}.due:", [f"{me}.advance({now})"])
        key = loop.riders.get("key", "None")
        loop.line(f"{add}({loop.input_index}, {key}, {loop.value}, {time}, {now})")


def refuse_behind_watermark(loop: Loop, live: LiveOperator) -> None:
    """Write that a record whose time is over is late: counted, and in the side output ``late``."""
    time, now, side = loop.riders["time"], loop.riders["watermark"], live.sides.get(LATE)
    told = loop.collecting(side) if side is not None else []
    loop.block(f"if {time} < {now}:", [f"{loop.count('late')} += 1", *told, "continue"])


def _raise(record: Any, error: Exception, attempts: int) -> None:
    raise error


def _never(error: Exception, attempts: int) -> bool:
    return False


def _nothing() -> None:
    return None
