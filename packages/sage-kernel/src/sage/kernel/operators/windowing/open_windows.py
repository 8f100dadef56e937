"""What the engine asks of a collection of open windows, whatever kind they are.

Three kinds of windows differ in how they are found and when they end: those that all keys share
(`aligned_windows`), those that each key has for itself and that grow together (`sessions`), and the
one that has no end (`endless_windows`). Triggers, panes and results are the same for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from sage.kernel.operators.windowing.cell import Cell

__all__ = ["Due", "OpenWindows"]


class Due(NamedTuple):
    """Cells whose time has come.

    Attributes:
        cells: In the order of their first records.
        ends: Whether the watermark has reached their end just now.
        is_over: Whether no record can come into them any more; they are forgotten.
    """

    cells: Iterable[Cell]
    ends: bool
    is_over: bool


class OpenWindows(Protocol):
    """The open windows of one subtask.

    Attributes:
        due: The watermark at which a window ends or is over; infinite if only the end is left.
    """

    due: float

    def add(self, key: Any, record: Any, time: float, watermark: float) -> Sequence[Cell] | None:
        """Put a record into its windows and count it as fresh there; all of it, or nothing.

        Returns:
            Its cells, by window; nothing if it falls between windows; None if it is late for all.
        """

    def cells(self) -> list[Cell]:
        """Return the cells of all open windows; those that fire together in that order."""

    def reopen(self, cells: Sequence[Cell], watermark: float) -> None:
        """Take back what `cells` returned, perhaps of several subtasks, into no open windows.

        Args:
            cells: The cells, whatever was known of them.
            watermark: How far event time had come.
        """

    def due_at(self, watermark: float) -> Iterator[Due]:
        """Yield the cells of what has come to its end or is over, in the order of event time."""
