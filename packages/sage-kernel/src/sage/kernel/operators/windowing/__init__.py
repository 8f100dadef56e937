"""Windows: how an endless stream is cut into pieces that have an end.

Layout:
    arguments    seconds and counts, checked when an assigner or a trigger is made
    assigners    which windows a record belongs to
"""

from sage.kernel.operators.windowing.assigners import (
    AlignedAssigner,
    CountWindow,
    GlobalWindow,
    SessionWindow,
    SlidingWindow,
    TumblingWindow,
    Window,
    WindowAssigner,
)

__all__ = [
    "AlignedAssigner",
    "CountWindow",
    "GlobalWindow",
    "SessionWindow",
    "SlidingWindow",
    "TumblingWindow",
    "Window",
    "WindowAssigner",
]
