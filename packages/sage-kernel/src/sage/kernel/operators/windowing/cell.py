"""A cell: one window of one key while it is open.

A snapshot has two keyed lists of cells, in the same order. ``cells``: start, end, time of the last
record, fresh and held records, firings, whether one of them gave an output, its timer, and whether
it is empty; ``contents``: what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, repeat
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any

from sage.kernel.checkpoint.operator_state import chunks_of

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


_TOLD = ("start_s", "end_s", "time_s", "fresh", "size", "panes", "spoke", "timer")


def put_cells(state: OperatorState, cells: Sequence[Cell], *, are_lists: bool) -> None:
    """Put cells into a snapshot, without a call for each of them; see the module's docstring.

    Args:
        state: The snapshot.
        cells: The cells.
        are_lists: Whether their contents are lists of records.
    """
    keys = list(map(attrgetter("key"), cells))
    contents = list(map(attrgetter("content"), cells))
    columns = [map(attrgetter(name), cells) for name in _TOLD]
    told = list(zip(*columns, map(is_, contents, repeat(EMPTY)), strict=True))
    state.put_lazily("cells", chunks_of(zip(keys, told, strict=True)))
    contents = [() if content is EMPTY else content for content in contents]
    if are_lists:
        records = list(chain.from_iterable(contents))
        state.put_records("contents", keys, list(map(tuple, contents)), records)
    else:
        state.put_keyed("contents", keys, contents)


def restored_cells(state: RestoredState, *, are_lists: bool) -> list[Cell]:
    """Return the cells of a snapshot; their timers may be numbered alike."""
    cells: list[Cell] = []
    made: Callable[[Any], Any] = list if are_lists else _as_it_is
    pairs = zip(state.keyed("cells"), state.keyed("contents"), strict=True)
    for (key, (start_s, end_s, *told)), (_, content) in pairs:
        *known, is_empty = told
        cell = Cell(key, start_s, end_s, EMPTY if is_empty else made(content))
        cell.time_s, cell.fresh, cell.size, cell.panes, cell.spoke, cell.timer = known
        cells.append(cell)
    return cells


def _as_it_is(content: Any) -> Any:
    return content
