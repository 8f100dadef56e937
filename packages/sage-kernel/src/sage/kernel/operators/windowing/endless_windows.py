"""Open windows without an end: the global window of a key, and windows of a number of records.

Invariant: a window of a number of records is forgotten when it is full; what is left of all others
is said at the end of the input.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from sage.kernel.operators.windowing.cell import EMPTY, Cell
from sage.kernel.operators.windowing.contents import Contents
from sage.kernel.operators.windowing.open_windows import Due
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, check_key

__all__ = ["EndlessWindows"]


class EndlessWindows:
    """One open window for each key of one subtask.

    Args:
        contents: How their contents are made.
        full_at: Number of records at which a window is forgotten; None if it never is.

    Attributes:
        due: Infinite: only the end of the input ends them.
    """

    def __init__(self, contents: Contents, full_at: int | None = None) -> None:
        self._contents = contents
        self._full_at = full_at
        self._cells: dict[Any, Cell] = {}
        self.due = math.inf

    def add(self, key: Any, record: Any, time: float, watermark: float) -> Sequence[Cell] | None:
        """Put a record into its key's window; none is late."""
        cell = self._cells.get(key)
        if cell is None:
            if type(key) not in PLAIN_KEY_TYPES:
                check_key(key)
            cell = Cell(key, -math.inf, math.inf, self._contents.first(record))
            self._cells[key] = cell
        elif cell.content is EMPTY:
            cell.content = self._contents.first(record)
        else:
            cell.content = self._contents.add(cell.content, record)
        cell.time_s = time
        cell.fresh += 1
        if cell.size + 1 == self._full_at:
            del self._cells[key]
        return (cell,)

    def cells(self) -> list[Cell]:
        """Return the cells, in the order of their first records."""
        return list(self._cells.values())

    def reopen(self, cells: Sequence[Cell], watermark: float) -> None:
        """Take the cells back."""
        self._cells.update((cell.key, cell) for cell in cells)

    def due_at(self, watermark: float) -> Iterator[Due]:
        """Yield all cells at the end of the input."""
        if watermark == math.inf and self._cells:
            cells, self._cells = self._cells, {}
            yield Due(cells.values(), ends=True, is_over=True)
