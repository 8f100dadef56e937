"""A cell: one window of one key while it is open.

A snapshot has two keyed lists of cells, in the same order. ``cells``: start, end, time of the last
record, fresh and held records, firings, whether one of them gave an output, when the clock makes it
fire and which timer that is (or two Nones), and whether it is empty; ``contents``: what is in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState

__all__ = ["EMPTY", "Cell", "put_cells", "restored_cells"]

EMPTY: Any = object()  # the content of a window that has said everything, in discarding mode


class Cell:
    """What is known of a window of a key.

    Attributes:
        key: The key.
        start_s: The window's start.
        end_s: Its end, which is not in it.
        content: What the records so far have come to, or ``EMPTY``.
        fresh: Records since its last firing.
        size: Records that are held on its behalf; each counts in the last of its windows.
        panes: Firings so far.
        spoke: Whether a firing gave an output.
        time_s: Timestamp of its last record, where the window has no end to give its results one.
        timer: When the clock makes it fire, and which of all timers that is; or None.
        deadline_s: Watermark at which a session is looked at next; infinite once it is gone.
        ended: Whether the watermark had reached a session's end when that was looked at.
        heir: The session that this one became part of, or None.
        serial: Which session it is, in the order of their first records.
    """

    __slots__ = (
        "content",
        "deadline_s",
        "end_s",
        "ended",
        "fresh",
        "heir",
        "key",
        "panes",
        "serial",
        "size",
        "spoke",
        "start_s",
        "time_s",
        "timer",
    )

    def __init__(self, key: Any, start_s: float, end_s: float, content: Any) -> None:
        self.key = key
        self.start_s = start_s
        self.end_s = end_s
        self.content = content
        self.fresh = 0
        self.size = 0
        self.panes = 0
        self.spoke = False
        self.time_s = end_s
        self.timer: tuple[float, int] | None = None
        self.deadline_s = end_s
        self.ended = False
        self.heir: Cell | None = None
        self.serial = 0

    @property
    def inheriting(self) -> Cell:
        """The session that this one is part of by now, which may be itself."""
        cell = self
        while cell.heir is not None:
            cell = cell.heir
        return cell


_TOLD = attrgetter("start_s", "end_s", "time_s", "fresh", "size", "panes", "spoke")
_NO_TIMER = (None, None)


def put_cells(state: OperatorState, cells: Sequence[Cell]) -> None:
    """Put cells into a snapshot; see the module's docstring."""
    keys = [cell.key for cell in cells]
    contents = [cell.content for cell in cells]
    told = [
        (*_TOLD(cell), *(cell.timer or _NO_TIMER), content is EMPTY)
        for cell, content in zip(cells, contents, strict=True)
    ]
    state.put_keyed("cells", keys, told)
    state.put_keyed("contents", keys, [None if c is EMPTY else c for c in contents])


def restored_cells(state: RestoredState) -> list[Cell]:
    """Return the cells of a snapshot; their timers may be numbered alike."""
    cells = []
    pairs = zip(state.keyed("cells"), state.keyed("contents"), strict=True)
    for (key, (start_s, end_s, *told)), (_, content) in pairs:
        time_s, fresh, size, panes, spoke, timer_s, timer, is_empty = told
        cell = Cell(key, start_s, end_s, EMPTY if is_empty else content)
        cell.time_s, cell.fresh, cell.size = time_s, fresh, size
        cell.panes, cell.spoke = panes, spoke
        cell.timer = None if timer is None else (timer_s, timer)
        cells.append(cell)
    return cells
