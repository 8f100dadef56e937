"""Open windows that are the same for all keys: tumbling and sliding ones.

The windows that are open stand in one heap by their end, one entry for a window however many keys
are in it, so that a record costs the windows it is in and a firing costs the keys it has.

Invariant: a window stays open until the watermark has reached its end and the allowed lateness; a
record is late if all its windows are over.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
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
    """

    def __init__(self, assigner: AlignedAssigner, contents: Contents, lateness_s: float) -> None:
        self._assigner = assigner
        self._contents = contents
        self._lateness_s = lateness_s
        self._open: dict[int, _OpenWindow] = {}
        self._ends: list[tuple[float, float, int]] = []  # when it is looked at, end, number

    @property
    def due(self) -> float:
        """The watermark at which a window ends or is over."""
        return self._ends[0][0] if self._ends else math.inf

    def add(self, key: Any, record: Any, time: float, watermark: float) -> Collection[Cell] | None:
        """Put a record into its windows.

        Returns:
            Its cells, the last window's last; nothing if it falls between windows; None if it is
            late for all of them.
        """
        numbers = self._assigner.indices(time)
        grown: list[tuple[_OpenWindow, Cell | None, Any]] = []
        for number in numbers:
            window = self._open.get(number) or self._opened(number, watermark)
            if window is None:
                continue
            cell = window.cells.get(key)
            if cell is None or cell.content is EMPTY:
                content = self._contents.first(record)
            else:
                content = self._contents.add(cell.content, record)
            grown.append((window, cell, content))
        if not grown:
            return None if numbers else ()
        if grown[-1][1] is None and type(key) not in PLAIN_KEY_TYPES:
            check_key(key)
        return [self._keep(key, *one, watermark) for one in grown]  # from here on nothing raises

    def due_at(self, watermark: float) -> Iterator[Due]:
        """Yield the cells of what has come to its end or is over, in the order of event time."""
        while self._ends and self._ends[0][0] <= watermark:
            _, end_s, number = heappop(self._ends)
            window = self._open[number]
            ends, window.ended = not window.ended, True
            over_s = end_s + self._lateness_s
            is_over = not ends or over_s == end_s
            if is_over:
                del self._open[number]
            else:
                heappush(self._ends, (over_s, end_s, number))
            yield Due(window.cells.values(), ends, is_over)

    def _opened(self, number: int, watermark: float) -> _OpenWindow | None:
        """Return a window that has no records yet, or None if it is over."""
        end_s = self._assigner.end_of(number)
        if end_s + self._lateness_s <= watermark:
            return None
        return _OpenWindow(number, self._assigner.start_of(number), end_s)

    def _keep(
        self, key: Any, window: _OpenWindow, cell: Cell | None, content: Any, watermark: float
    ) -> Cell:
        if cell is None:
            cell = window.cells[key] = Cell(key, window.start_s, window.end_s, content)
            if len(window.cells) == 1:
                self._open[window.number] = window
                window.ended = window.end_s <= watermark
                look_at_s = window.end_s + (self._lateness_s if window.ended else 0.0)
                heappush(self._ends, (look_at_s, window.end_s, window.number))
        else:
            cell.content = content
        return cell
