"""Open sessions: windows that each key has for itself, and that become one when they overlap.

A record opens ``[t, t + gap)``. It is put together with all sessions of its key that it overlaps,
so a record that comes out of order can join two. A session stands in the heap under the end that it
had when it was put there; growing leaves that entry as it is, and when its time has come the
session is put back under its new end. So records that make a session longer cost no heap work.

Invariant: the sessions of a key do not overlap, and stand in the order of their starts.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import chain
from operator import attrgetter
from typing import Any, Protocol

from sage.kernel.operators.windowing.assigners import SessionWindow
from sage.kernel.operators.windowing.cell import EMPTY, Cell
from sage.kernel.operators.windowing.contents import Contents
from sage.kernel.operators.windowing.open_windows import Due
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, check_key

__all__ = ["Sessions", "joined", "overlapping"]


class Sessions:
    """The open sessions of one subtask.

    Args:
        assigner: Says the gap.
        contents: How their contents are made.
        lateness_s: How long a session stays open behind its end, in event time.

    Attributes:
        due: The watermark at which a session may have ended or be over.
    """

    def __init__(self, assigner: SessionWindow, contents: Contents, lateness_s: float) -> None:
        self._assigner = assigner
        self._contents = contents
        self._lateness_s = lateness_s
        self._of_key: dict[Any, list[Cell]] = {}
        self._ends: list[tuple[float, float, int, Cell]] = []  # deadline, end then, serial
        self._opened = 0
        self.due = math.inf

    def add(self, key: Any, record: Any, time: float, watermark: float) -> Sequence[Cell] | None:
        """Put a record into a session, its own or one that it makes of those it overlaps."""
        start_s, end_s = time, self._assigner.end_after(time)
        sessions = self._of_key.get(key)
        met: list[Cell] = []
        first = behind = 0
        if sessions:
            last = sessions[-1]
            if last.start_s <= time < last.end_s and last.content is not EMPTY:
                # The next record of the newest session: nothing is put together, nothing is late.
                last.content = self._contents.add(last.content, record)
                last.fresh += 1
                if end_s > last.end_s:
                    self._move_end(last, end_s, watermark)
                return (last,)
            first, behind = overlapping(sessions, start_s, end_s)
            met = sessions[first:behind]
        if met:
            start_s, end_s = min(start_s, met[0].start_s), max(end_s, met[-1].end_s)
        if end_s + self._lateness_s <= watermark:
            return None
        held = [cell.content for cell in met if cell.content is not EMPTY]
        content = joined(self._contents, held, record)
        if sessions is None:
            if type(key) not in PLAIN_KEY_TYPES:
                check_key(key)
            sessions = self._of_key[key] = []
        cell = self._put_together(met) if met else self._open(key)
        sessions[first:behind] = [cell]
        cell.start_s, cell.content = start_s, content
        cell.fresh += 1
        self._move_end(cell, end_s, watermark)
        return (cell,)

    def cells(self) -> list[Cell]:
        """Return the sessions, in the order in which they were opened."""
        return sorted(chain.from_iterable(self._of_key.values()), key=attrgetter("serial"))

    def reopen(self, cells: Sequence[Cell], watermark: float) -> None:
        """Open sessions again, each under the end that it has now."""
        for cell in cells:
            cell.serial, cell.deadline_s = self._opened, math.inf
            self._opened += 1
            insort(self._of_key.setdefault(cell.key, []), cell, key=attrgetter("start_s"))
            self._move_end(cell, cell.end_s, watermark)

    def due_at(self, watermark: float) -> Iterator[Due]:
        """Yield sessions, one at a time, that have come to their end or are over."""
        while self._ends and self._ends[0][0] <= watermark:
            deadline_s, end_s, _, cell = heappop(self._ends)
            self._note_due()
            if cell.deadline_s != deadline_s:
                continue  # it became part of another, or is looked at sooner
            over_s = cell.end_s + self._lateness_s
            if cell.end_s != end_s:
                self._look_at(cell, over_s if cell.ended else cell.end_s)
                continue
            ends, cell.ended = not cell.ended, True
            is_over = deadline_s == over_s
            if is_over:
                self._forget(cell)
            else:
                self._look_at(cell, over_s)
            yield Due((cell,), ends, is_over)

    def _open(self, key: Any) -> Cell:
        cell = Cell(key, 0.0, 0.0, EMPTY)
        cell.deadline_s = math.inf
        cell.serial = self._opened
        self._opened += 1
        return cell

    def _put_together(self, met: list[Cell]) -> Cell:
        """Return the session that came first, with what is known of the others."""
        cell = min(met, key=lambda session: session.serial)
        for other in met:
            if other is cell:
                continue
            cell.fresh += other.fresh
            cell.size += other.size
            cell.panes += other.panes
            cell.spoke = cell.spoke or other.spoke
            timers = [timer for timer in (cell.timer, other.timer) if timer is not None]
            cell.timer = min(timers, default=None)
            other.deadline_s, other.heir = math.inf, cell
        return cell

    def _move_end(self, cell: Cell, end_s: float, watermark: float) -> None:
        """Give a session its end, and see to it that it is looked at in time."""
        cell.end_s = end_s
        cell.ended = end_s <= watermark
        look_at_s = end_s + self._lateness_s if cell.ended else end_s
        if look_at_s < cell.deadline_s:
            self._look_at(cell, look_at_s)

    def _look_at(self, cell: Cell, deadline_s: float) -> None:
        cell.deadline_s = deadline_s
        heappush(self._ends, (deadline_s, cell.end_s, cell.serial, cell))
        self._note_due()

    def _note_due(self) -> None:
        self.due = self._ends[0][0] if self._ends else math.inf

    def _forget(self, cell: Cell) -> None:
        cell.deadline_s = math.inf
        sessions = self._of_key[cell.key]
        sessions.remove(cell)
        if not sessions:
            del self._of_key[cell.key]


def joined(contents: Contents, held: list[Any], record: Any) -> Any:
    """Return what sessions and a record that joins them come to, the earlier sessions first.

    Several sessions are put together only when the record has a content of its own: if it is
    refused, none of them has changed.
    """
    if len(held) == 1:
        return contents.add(held[0], record)
    return functools.reduce(contents.merge, [*held, contents.first(record)])


class Span(Protocol):
    """A session, as far as time goes."""

    start_s: float
    end_s: float


def overlapping(sessions: Sequence[Span], start_s: float, end_s: float) -> tuple[int, int]:
    """Return which sessions, in order, overlap a window: the first, and the first behind them."""
    behind = first = bisect_left(sessions, end_s, key=lambda session: session.start_s)
    while first and sessions[first - 1].end_s > start_s:
        first -= 1
    return first, behind
