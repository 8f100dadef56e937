"""A cell: one window of one key while it is open."""

from __future__ import annotations

from typing import Any

__all__ = ["EMPTY", "Cell"]

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
