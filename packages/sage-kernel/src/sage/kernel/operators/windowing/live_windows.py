"""The windows of one subtask: when they fire, what they say, and what becomes of their records.

Works for every kind of window, trigger, content and mode; how windows are found is in
`open_windows` and those that it names, what is in them in `contents`, what they say in `results`.

Order is exact: a record's watermark first fires what it completes, by window end and then by each
key's first record in the window; then the record is added, and fires what its trigger says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sage.kernel.operators.event_time import LiveEventTimeOperator, just_before
from sage.kernel.operators.function_spec import LiveFunction
from sage.kernel.operators.operator import Operator
from sage.kernel.operators.windowing.cell import EMPTY, Cell, put_cells, restored_cells
from sage.kernel.operators.windowing.contents import Contents, ListContents, TopContents
from sage.kernel.operators.windowing.open_windows import OpenWindows
from sage.kernel.operators.windowing.pane import PaneTiming
from sage.kernel.operators.windowing.results import Results, WindowContext
from sage.kernel.operators.windowing.triggers import (
    AfterProcessingTime,
    AfterWatermark,
    RepeatedTrigger,
    Trigger,
)
from sage.kernel.time.watermark import START_OF_TIME

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState

__all__ = ["LiveWindows"]

_FEW_TIMERS = 64  # below, looking for those that were taken back is not worth it


class LiveWindows(LiveEventTimeOperator):
    """The open windows of one subtask, with their triggers.

    Args:
        operator: The description.
        functions: Its live functions.
        windows: Where the open windows are kept.
        contents: How their contents are made.
        results: What makes records of a firing.
        trigger: When windows fire.
        lateness_s: How long windows stay open behind their end.
        discards: Whether a firing empties the window.
        by_clock: Whether the clock is what windows end by.
        full_at: Number of records at which a window is full; None if it never is.
    """

    def __init__(
        self,
        operator: Operator,
        functions: list[LiveFunction],
        windows: OpenWindows,
        contents: Contents,
        results: Results,
        *,
        trigger: Trigger,
        lateness_s: float,
        discards: bool,
        by_clock: bool = False,
        full_at: int | None = None,
    ) -> None:
        super().__init__(operator, functions)
        self._windows = windows
        self._contents = contents
        self._results = results
        self._lateness_s = lateness_s
        self._discards = discards
        self._by_clock = by_clock
        self._full_at = full_at
        self._early, self._late = _phases(trigger)
        self._always_on_time = isinstance(trigger, AfterWatermark) and not discards
        self._context = WindowContext(self)
        self._timers: list[tuple[tuple[float, int], Cell]] = []
        self._timers_set = 0
        self._most_timers = _FEW_TIMERS
        self._held = 0

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in the cells.

        Contents that are lists are copied, if no record in them can be changed; all others that can
        be changed are encoded now, which takes 1 to 2 µs for each and for each record in it.
        """
        super().snapshot(state, full=full)
        put_cells(state, self._windows.cells(), are_lists=isinstance(self._contents, ListContents))

    def restore(self, state: RestoredState) -> None:
        """Take the cells back, and set their timers."""
        super().restore(state)
        cells = restored_cells(state, are_lists=isinstance(self._contents, ListContents))
        self._held = sum(cell.size for cell in cells)
        if isinstance(self._contents, TopContents):
            self._contents.resume(cell.content for cell in cells if cell.content is not EMPTY)
        self._windows.reopen(cells, self.watermark)
        self.due = self._windows.due
        timed = [cell for cell in cells if cell.timer is not None]
        for cell in sorted(timed, key=attrgetter("timer")):
            assert cell.timer is not None
            self._set_timer(cell, cell.timer[0])

    @property
    def held(self) -> int:
        """How many records are in windows and have not been said for the last time."""
        return self._held

    @property
    def due_s(self) -> float | None:
        """When the clock makes a window fire, or ends one that goes by the clock."""
        next_s = self._windows.due if self._by_clock else math.inf
        if self._next_timer() is not None:
            next_s = min(next_s, self._timers[0][0][0])
        return next_s if next_s < math.inf else None

    def on_due(self) -> Iterable[Any]:
        """Fire what the clock says."""
        now = self.clock()
        if self._by_clock:
            self.advance(now)
        while (cell := self._next_timer()) is not None and self._timers[0][0][0] <= now:
            cell.timer = None
            timing = self._timing(cell, self.watermark)
            if isinstance(self._trigger_of(timing), AfterProcessingTime):
                self._fire(cell, timing, self.watermark)
        return ()

    def add(self, input_index: int, key: Any, record: Any, time: float, watermark: float) -> None:
        """Put a record into its windows, and fire those whose triggers it sets off."""
        cells = self._windows.add(key, record, time, watermark)
        if watermark > self.watermark:
            self.watermark = watermark
        if cells is None:
            self.refuse_late(record, time, watermark)
            return
        if not cells:
            self.statistics.no_output += 1  # between two windows
            return
        self._held += 1
        last = cells[-1]
        last.size += 1
        self.due = self._windows.due
        if last.size == self._full_at:
            self._fire(last, "on_time", watermark, is_full=True)
            return
        if self._early is None and watermark < cells[0].end_s:
            return
        for cell in cells:
            timing = self._timing(cell, watermark)
            trigger = self._trigger_of(timing)
            if trigger is not None:
                self._after_record(cell, trigger, timing, watermark)

    def add_untimed(self, key: Any, record: Any) -> None:
        """Put a record of a stream without timestamps into a window without an end."""
        self.add(0, key, record, START_OF_TIME, START_OF_TIME)

    def fire(self, watermark: float) -> None:
        """Fire the windows that have ended, and what is left of those that are over."""
        for cells, ends, is_over in self._windows.due_at(watermark):
            for cell in cells:
                if ends and (cell.fresh or self._always_on_time):
                    self.come_to_end(cell.end_s)
                    self._fire(cell, "on_time", watermark)
                elif is_over and cell.fresh:
                    self._fire(cell, "late", watermark)
                if is_over:
                    self._let_go(cell)
        self.due = self._windows.due

    def _after_record(
        self, cell: Cell, trigger: RepeatedTrigger, timing: PaneTiming, watermark: float
    ) -> None:
        if isinstance(trigger, AfterProcessingTime):
            if cell.timer is None:
                self._set_timer(cell, self.clock() + trigger.delay_s)
        elif cell.fresh >= trigger.count:
            self._fire(cell, timing, watermark)

    def _timing(self, cell: Cell, watermark: float) -> PaneTiming:
        return "early" if watermark < cell.end_s else "late"

    def _trigger_of(self, timing: PaneTiming) -> RepeatedTrigger | None:
        return self._early if timing == "early" else self._late

    def _next_timer(self) -> Cell | None:
        """Return the window whose timer is the next, dropping those that were taken back."""
        while self._timers:
            timer, cell = self._timers[0]
            cell = cell.inheriting
            if cell.timer is timer:
                return cell
            heappop(self._timers)
        return None

    def _set_timer(self, cell: Cell, due_s: float) -> None:
        """Set a window's timer; those taken back go before they outnumber those that wait."""
        self._timers_set += 1
        cell.timer = (due_s, self._timers_set)
        heappush(self._timers, (cell.timer, cell))
        if len(self._timers) > self._most_timers:
            self._timers = [
                entry for entry in self._timers if entry[1].inheriting.timer is entry[0]
            ]
            heapify(self._timers)
            self._most_timers = max(_FEW_TIMERS, 2 * len(self._timers))

    def _fire(
        self, cell: Cell, timing: PaneTiming, watermark: float, *, is_full: bool = False
    ) -> None:
        """Say what is in a window."""
        is_last = is_full or cell.end_s + self._lateness_s <= watermark
        time_s = just_before(cell.end_s) if cell.end_s < math.inf else cell.time_s
        self._context.begin(cell, timing, watermark, time_s, is_last=is_last)
        cell.panes += 1
        cell.fresh = 0
        cell.timer = None
        if self._speak(cell, time_s, is_kept=not (is_last or self._discards)):
            cell.spoke = True
        if self._discards:
            cell.content = EMPTY
            self._let_go(cell)

    def _speak(self, cell: Cell, time_s: float, *, is_kept: bool) -> bool:
        """Emit what comes of a firing; return whether that is anything."""
        context, produced = self._context, self.statistics.produced
        source = (cell.key, context.window, cell.content)
        for record in self.results_of(
            lambda: self._results.of(cell, context, is_kept=is_kept), source
        ):
            if record is not None:
                self.emit(record, time_s)
        return self.statistics.produced > produced or context.spoke

    def _let_go(self, cell: Cell) -> None:
        """Say what became of the records of a window that are not in it any more."""
        self._held -= cell.size
        if not cell.spoke:
            self.statistics.no_output += cell.size
        cell.size = 0


def _phases(trigger: Trigger) -> tuple[RepeatedTrigger | None, RepeatedTrigger | None]:
    """Return what makes a window fire before its end, and what behind it."""
    if isinstance(trigger, AfterWatermark):
        return trigger.early, trigger.late
    return trigger, trigger
