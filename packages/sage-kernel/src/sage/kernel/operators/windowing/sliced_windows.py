"""Tumbling and sliding windows that are folded as records come: the fast path.

Event time is cut into *slices* at every window's start. A record is folded into one slice, however
many windows that is part of; a window is the slices of its length put together when it ends (panes:
Li et al., "No pane, no gain", 2005; slicing: Traub et al., 2019). A tumbling window is one slice.

A slice is a plain dict from key to accumulator, and the loop keeps at hand the two that records
fell into last, since with records out of order it is mostly one of two. Whether a record is late is
asked only when its slice is not open: slices are closed exactly when their last window is.

Invariant: a slice is open exactly as long as a window that it is part of has not ended.

A snapshot has the numbers of the open ``slices``, for each of them the keyed ``cells <number>``,
and the listed ``sizes``. Which windows have ended follows from the watermark. ``merging`` says how
far slices have been put together, so that it goes on in the same way and floats are rounded as they
would have been.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import chain
from typing import TYPE_CHECKING, Any

from sage.kernel.operators.function_spec import LiveFunction
from sage.kernel.operators.operator import Operator
from sage.kernel.operators.windowing.assigners import AlignedAssigner, Window
from sage.kernel.operators.windowing.folds import Fold, LiveFoldedWindows
from sage.kernel.operators.windowing.slice_merging import SliceMerger, Unmerged
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, check_key

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState
    from sage.kernel.operators.loop import Loop

__all__ = ["LiveSlicedWindows"]

MISSING: Any = object()


class _Slice:
    """What came between two window starts."""

    __slots__ = ("cells", "end_s", "number", "size", "start_s")

    def __init__(self, number: int, start_s: float, end_s: float) -> None:
        self.number = number
        self.start_s = start_s
        self.end_s = end_s
        self.size = 0
        self.cells: dict[Any, Any] = {}


class LiveSlicedWindows(LiveFoldedWindows):
    """The open slices of one subtask.

    Args:
        operator: The description.
        functions: Its live functions.
        assigner: Tumbling windows, or sliding ones whose slide divides their size.
        fold: What is made of records.
        emit: Makes a record of key, window and value; None for the value itself.
        with_key: Whether the value itself is given as ``(key, value)``.
    """

    def __init__(
        self,
        operator: Operator,
        functions: list[LiveFunction],
        assigner: AlignedAssigner,
        fold: Fold,
        *,
        emit: Callable[[Any, Window, Any], Any] | None = None,
        with_key: bool = False,
    ) -> None:
        super().__init__(operator, functions, fold, emit=emit, with_key=with_key)
        assert assigner.steps is not None
        self._assigner = assigner
        self._steps = assigner.steps
        self._slices: dict[int, _Slice] = {}
        self._cells: dict[int, dict[Any, Any]] = {}
        self._numbers: list[int] = []  # a heap; slices that are gone are passed over
        self._merger = SliceMerger(self._cells, self._steps, fold) if self._steps > 1 else None
        if self._merger is not None:
            self._value_of = self._merged_value
        self._next_window = -math.inf  # every window before it has ended
        self.nowhere = _Slice(0, math.inf, -math.inf)

    @property
    def held(self) -> int:
        """How many records are in slices of windows that have not ended."""
        return sum(piece.size for piece in list(self._slices.values()))

    def find(self, time: float, watermark: float) -> _Slice | None:
        """Return the slice of a time, or None if all its windows have ended."""
        number = self._assigner.last_started(time)
        piece = self._slices.get(number)
        if piece is not None:
            if piece.end_s <= watermark and self._merger is not None:
                self._merger.stale = True  # it may have been merged already
            return piece
        if self._assigner.end_of(number) <= watermark:
            return None
        if watermark > -math.inf:
            # What ended while nothing was there must not be opened again.
            ended = self._assigner.last_started(watermark) - self._steps
            self._next_window = max(self._next_window, ended + 1)
        piece = self._open(number)
        if piece.end_s <= watermark and self._merger is not None:
            self._merger.stale = True
        first = max(self._next_window, number - self._steps + 1)
        self.due = min(self.due, self._assigner.end_of(int(first)))
        return piece

    def _open(self, number: int) -> _Slice:
        start_s, end_s = self._assigner.start_of(number), self._assigner.start_of(number + 1)
        piece = self._slices[number] = _Slice(number, start_s, end_s)
        self._cells[number] = piece.cells
        heappush(self._numbers, number)
        return piece

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in the slices, at C's speed where accumulators are plain values or tuples of them."""
        super().snapshot(state, full=full)
        state.put_whole("slices", list(self._slices))
        state.put_listed("sizes", [(piece.number, piece.size) for piece in self._slices.values()])
        for number, cells in self._cells.items():
            state.put_keyed(f"cells {number}", cells, cells.values())
        if self._merger is not None:
            state.put_whole("merging", self._merger.progress)

    def restore(self, state: RestoredState) -> None:
        """Open the slices; each subtask has all of them, maybe without a key of its own."""
        super().restore(state)
        for number in sorted(set(chain.from_iterable(state.whole("slices")))):
            self._open(number).cells.update(state.keyed(f"cells {number}"))
        for number, size in state.listed("sizes"):
            self._slices[number].size += size
        progress = state.whole("merging")  # also where it is of no use: all state is asked for
        if not self._slices:
            return
        lowest, ends = self._lowest(), self._assigner.end_of
        window = first = lowest - self._steps + 1
        while ends(window) <= self.watermark:
            window += 1
        if window > first:
            self._next_window = window
        self.due = ends(window)
        if self._merger is not None and not state.is_rescaled:
            self._merger.resume(window, progress[0])

    def fire(self, watermark: float) -> None:
        """Emit the windows that have ended, in their order."""
        assigner, slices = self._assigner, self._slices
        while slices:
            number = int(max(self._next_window, self._lowest() - self._steps + 1))
            end_s = assigner.end_of(number)
            if end_s > watermark:
                self.due = end_s
                return
            if self._merger is not None:
                cells = self._merger.cells_of(number)
            else:
                cells = slices[number].cells
            self.say(Window(assigner.start_of(number), end_s), cells)
            self._next_window = number + 1
            if number in slices:
                del slices[number], self._cells[number]
        self.due = math.inf

    def _merged_value(self, accumulator: Any) -> Any:
        if type(accumulator) is Unmerged:
            raise accumulator.error
        return self._fold.result(accumulator)

    def _lowest(self) -> int:
        """Return the number of the first slice."""
        while self._numbers[0] not in self._slices:
            heappop(self._numbers)
        return self._numbers[0]

    def write(self, loop: Loop) -> None:
        """Write the fold, with the slices of the last two records at hand."""
        me, now, time = loop.bind(self, "e"), loop.riders["watermark"], loop.riders["time"]
        nowhere, find = loop.bind(self.nowhere, "o"), loop.bind(self.find, "f")
        here, other, start, end = (loop.fresh(hint) for hint in ("s", "s", "a", "z"))
        cells, get, count, due = (loop.fresh(hint) for hint in ("c", "g", "n", "d"))
        found, open_slice = loop.fresh("p"), loop.bind(self._slices.get, "g")
        step, offset = (
            loop.bind(self._assigner.step_s, "b"),
            loop.bind(self._assigner.start_at_s, "b"),
        )
        settle = f"{here}.size += {count}; {count} = 0"
        turn = f"{start} = {here}.start_s; {end} = {here}.end_s; {cells} = {here}.cells"
        loop.at_start(f"{here} = {other} = {nowhere}; {count} = 0; {due} = {me}.due; {turn}")
        loop.at_end(f"{here}.size += {count}")
        loop.block(
            f"if {now} >= {due}:",
            [
                settle,
                f"{me}.advance({now}); {due} = {me}.due",
                f"{here} = {other} = {nowhere}",
                turn,
            ],
        )
        loop.block(
            f"if not {start} <= {time} < {end}:",
            [
                settle,
                f"if {other}.start_s <= {time} < {other}.end_s:",
                f"    {here}, {other} = {other}, {here}",
                "else:",
                f"    {found} = {open_slice}(({time} - {offset}) // {step})",
                # What can be doubted (rounding, a slice that was merged) is for `find` to say.
                f"    if {found} is None or {found}.end_s <= {now} "
                f"or not {found}.start_s <= {time} < {found}.end_s:",
                f"        {found} = {find}({time}, {now})",
                f"        if {found} is None:",
                f"            {loop.bind(self.refuse_late, 'f')}({loop.value}, {time}, {now})",
                "            continue",
                f"    {other}, {here}, {due} = {here}, {found}, {me}.due",
                f"{turn}; {get} = {cells}.get",
            ],
        )
        plain, check = loop.bind(PLAIN_KEY_TYPES, "p"), loop.bind(check_key, "c")
        new_key = [f"if type({loop.key}) not in {plain}: {check}({loop.key})"]
        before, missing = loop.fresh("a"), loop.bind(MISSING, "x")
        loop.line(f"{before} = {get}({loop.key}, {missing})")
        first = f"{cells}[{loop.key}] = {self._fold.first_of(loop)}"
        loop.block(f"if {before} is {missing}:", [*new_key, first])
        grown = self._fold.with_one_more(loop, before)
        loop.block("else:", [f"{cells}[{loop.key}] = {grown}"])
        loop.line(f"{count} += 1")
