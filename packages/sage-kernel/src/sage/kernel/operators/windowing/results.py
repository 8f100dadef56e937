"""What a firing says: the records that come of a window's content.

The user's functions run here, when a window fires and not when a record arrives; so what they raise
belongs to no record, and the error policy is applied to ``(key, window, content)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from sage.kernel.operators.event_time import LiveEventTimeOperator
from sage.kernel.operators.flat_map import items_of
from sage.kernel.operators.windowing.assigners import Window
from sage.kernel.operators.windowing.cell import Cell
from sage.kernel.operators.windowing.contents import Contents
from sage.kernel.operators.windowing.pane import PaneInfo, PaneTiming

__all__ = ["AppliedResults", "OneResult", "ProcessedResults", "Results", "WindowContext"]


class Results(Protocol):
    """What makes records of a firing."""

    def of(self, cell: Cell, context: WindowContext, *, is_kept: bool) -> Iterable[Any]:
        """Return the records that come of a firing; None among them is no output.

        Args:
            cell: The window of a key.
            context: Says which window and which firing.
            is_kept: Whether the window's content is kept, and may grow.
        """


class WindowContext:
    """What ``process(key, records, ctx)`` gets beside the key and its records.

    Attributes:
        watermark: How far event time has come.
        current_key: The key.
        spoke: Whether the firing has given a side output.
    """

    def __init__(self, live: LiveEventTimeOperator) -> None:
        self._live = live
        self.watermark = 0.0
        self.current_key: Any = None
        self.spoke = False
        self._span: tuple[float, float] = (0.0, 0.0)
        self._timing: PaneTiming = "on_time"
        self._index = 0
        self._is_last = False
        self._time_s = 0.0

    def begin(
        self, cell: Cell, timing: PaneTiming, watermark: float, time_s: float, *, is_last: bool
    ) -> None:
        """Turn to another firing."""
        self.current_key, self._span, self._index = cell.key, (cell.start_s, cell.end_s), cell.panes
        self._timing, self._is_last = timing, is_last
        self.watermark, self._time_s, self.spoke = watermark, time_s, False

    @property
    def window(self) -> Window:
        """The window, with ``start_s`` and ``end_s``."""
        return Window(*self._span)

    @property
    def pane(self) -> PaneInfo:
        """Which firing of the window this is."""
        return PaneInfo(self._timing, self._index, self._is_last)

    def output(self, tag: str, record: Any) -> None:
        """Send a record to the side output of that name; counted if nothing reads it."""
        self.spoke = True
        side = self._live.sides.get(tag)
        if side is not None:
            # Not the watermark that fires it: what goes on now is not behind that yet.
            now = self._live.watermark
            beside = {"time": self._time_s, "watermark": now, "key": self.current_key}
            side.append_row((record, *map(beside.get, side.layout)))
        else:
            counts = self._live.statistics.custom
            name = f"unread side output {tag!r}"
            counts[name] = counts.get(name, 0) + 1


class OneResult:
    """One record for each firing, or none if it is None.

    Args:
        contents: Says what a content stands for.
        emit: Makes the record of key, window and value; None for the value itself.
        with_key: Whether the value itself is given as ``(key, value)``.
    """

    def __init__(
        self, contents: Contents, emit: Callable[[Any, Window, Any], Any] | None, *, with_key: bool
    ) -> None:
        self._value = contents.value
        self._emit = emit
        self._with_key = with_key

    def of(self, cell: Cell, context: WindowContext, *, is_kept: bool) -> tuple[Any, ...]:
        """Return a tuple of one."""
        value = self._value(cell.content, is_kept=is_kept)
        if self._emit is not None:
            return (self._emit(cell.key, context.window, value),)
        return ((cell.key, value) if self._with_key else value,)


class ProcessedResults:
    """What ``process(key, records, ctx)`` gives."""

    def __init__(
        self, contents: Contents, process: Callable[[Any, Any, WindowContext], Any]
    ) -> None:
        self._value = contents.value
        self._process = process
        self._items = items_of("process")

    def of(self, cell: Cell, context: WindowContext, *, is_kept: bool) -> Iterable[Any]:
        """Return what the function returns or yields."""
        records = self._value(cell.content, is_kept=is_kept)
        return self._items(self._process(cell.key, records, context))


class AppliedResults:
    """What ``apply(key, window, records)`` gives."""

    def __init__(self, contents: Contents, apply: Callable[[Any, Window, Any], Any]) -> None:
        self._value = contents.value
        self._apply = apply
        self._items = items_of("apply")

    def of(self, cell: Cell, context: WindowContext, *, is_kept: bool) -> Iterable[Any]:
        """Return what the function returns or yields."""
        records = self._value(cell.content, is_kept=is_kept)
        return self._items(self._apply(cell.key, context.window, records))
