"""Open windows that are the same for all keys: tumbling and sliding ones.

The windows that are open stand in one heap by their end, one entry for a window however many keys
are in it, so that a record costs the windows it is in and a firing costs the keys it has.

Invariant: a window stays open until the watermark has reached its end and the allowed lateness; a
record is late if all its windows are over.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import Any

from sage.kernel.operators.windowing.assigners import AlignedAssigner
from sage.kernel.operators.windowing.cell import EMPTY, Cell
from sage.kernel.operators.windowing.contents import Contents
from sage.kernel.operators.windowing.open_windows import Due
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, check_key

__all__ = ["AlignedWindows"]


class _OpenWindow:
    """A window with the cells of its keys, in the order in which they came."""

    __slots__ = ("cells", "end_s", "ended", "number", "start_s")

    def __init__(self, number: int, start_s: float, end_s: float) -> None:
        self.number = number
        self.start_s = start_s
        self.end_s = end_s
        self.ended = False
        self.cells: dict[Any, Cell] = {}


class AlignedWindows:
    """The open windows of one subtask.

    Args:
        assigner: Which windows there are.
        contents: How their contents are made.
        lateness_s: How long a window stays open behind its end, in event time.

    Attributes:
        due: The watermark at which a window ends or is over.
    """

    def __init__(self, assigner: AlignedAssigner, contents: Contents, lateness_s: float) -> None:
        self._assigner = assigner
        self._contents = contents
        self._lateness_s = lateness_s
        self._open: dict[int, _OpenWindow] = {}
        self._ends: list[tuple[float, float, int]] = []  # when it is looked at, end, number
        self.due = math.inf
        # Most records fall where the one before fell: between two starts, into the same windows.
        self._here: list[_OpenWindow] = []
        self._since_s, self._until_s = math.inf, -math.inf

    def add(self, key: Any, record: Any, time: float, watermark: float) -> Sequence[Cell] | None:
        """Put a record into its windows.

        Returns:
            Its cells, by window; nothing if it falls between windows; None if it is late for all.
        """
        if self._since_s <= time < self._until_s:
            windows = self._here
        else:
            numbers = self._assigner.indices(time)
            windows = self._windows(numbers, watermark)
            if not windows:
                return None if numbers else ()
        contents = self._contents
        known = [window.cells.get(key) for window in windows]
        grown = [
            contents.first(record)
            if cell is None or cell.content is EMPTY
            else contents.add(cell.content, record)
            for cell in known
        ]
        if known[-1] is None and type(key) not in PLAIN_KEY_TYPES:
            check_key(key)
        cells = []  # from here on nothing raises
        for window, cell, content in zip(windows, known, grown, strict=True):
            if cell is None:
                cell = self._new_cell(window, key, watermark)
            cell.content = content
            cell.fresh += 1
            cells.append(cell)
        return cells

    def cells(self) -> list[Cell]:
        """Return the cells, window by window."""
        return [cell for window in self._open.values() for cell in window.cells.values()]

    def reopen(self, cells: Sequence[Cell], watermark: float) -> None:
        """Open the windows of cells."""
        by_start: dict[float, _OpenWindow] = {}
        for cell in cells:
            window = by_start.get(cell.start_s)
            if window is None:
                number = self._assigner.last_started(cell.start_s)
                window = by_start[cell.start_s] = _OpenWindow(number, cell.start_s, cell.end_s)
                self._note_open(window, watermark)
            window.cells[cell.key] = cell

    def due_at(self, watermark: float) -> Iterator[Due]:
        """Yield the cells of what has come to its end or is over, in the order of event time."""
        while self._ends and self._ends[0][0] <= watermark:
            _, end_s, number = heappop(self._ends)
            self._here, self._since_s, self._until_s = [], math.inf, -math.inf
            window = self._open[number]
            ends, window.ended = not window.ended, True
            over_s = end_s + self._lateness_s
            is_over = not ends or over_s == end_s
            if is_over:
                del self._open[number]
            else:
                heappush(self._ends, (over_s, end_s, number))
            self._note_due()
            yield Due(window.cells.values(), ends, is_over)

    def _windows(self, numbers: range, watermark: float) -> list[_OpenWindow]:
        """Return those of some windows that are not over, and remember them if all are open."""
        windows = []
        for number in numbers:
            window = self._open.get(number) or self._opened(number, watermark)
            if window is not None:
                windows.append(window)
        if windows and self._assigner.steps is not None and all(w.cells for w in windows):
            self._here = windows
            self._since_s = self._assigner.start_of(numbers[-1])
            self._until_s = self._assigner.start_of(numbers[-1] + 1)
        return windows

    def _opened(self, number: int, watermark: float) -> _OpenWindow | None:
        """Return a window that has no records yet, or None if it is over."""
        end_s = self._assigner.end_of(number)
        if end_s + self._lateness_s <= watermark:
            return None
        return _OpenWindow(number, self._assigner.start_of(number), end_s)

    def _new_cell(self, window: _OpenWindow, key: Any, watermark: float) -> Cell:
        cell = window.cells[key] = Cell(key, window.start_s, window.end_s, EMPTY)
        if len(window.cells) == 1:
            self._note_open(window, watermark)
        return cell

    def _note_open(self, window: _OpenWindow, watermark: float) -> None:
        self._open[window.number] = window
        window.ended = window.end_s <= watermark
        look_at_s = window.end_s + (self._lateness_s if window.ended else 0.0)
        heappush(self._ends, (look_at_s, window.end_s, window.number))
        self._note_due()

    def _note_due(self) -> None:
        self.due = self._ends[0][0] if self._ends else math.inf
