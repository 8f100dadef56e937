"""A pane: one firing of a window, of those that it may have.

A window that fires early, on time and late speaks several times about the same stretch of time;
`PaneInfo` tells the firings apart, as in Beam.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["PaneInfo", "PaneTiming", "WindowMode"]

PaneTiming = Literal["early", "on_time", "late"]
WindowMode = Literal["accumulating", "discarding"]


@dataclass(frozen=True)
class PaneInfo:
    """Which firing of its window this is.

    Attributes:
        timing: Before the watermark reached the window's end, when it did, or after.
        index: How many firings of the window came before.
        is_last: Whether it is certain that no other comes: its allowed lateness is over.

    Example:
        >>> PaneInfo("on_time", 0, is_last=True)
        PaneInfo(timing='on_time', index=0, is_last=True)
    """

    timing: PaneTiming
    index: int
    is_last: bool
