"""Windows: how an endless stream is cut into pieces that have an end.

Layout:
    assigners        which windows a record belongs to
    triggers         when a window says what is in it
    pane             which firing of a window it is
    window           the operator, as a description
    folds            the fast paths, written into the loop: what they share, and how they end
    sliced_windows   tumbling and sliding windows, folded slice by slice; slice_merging puts slices
                     together
    folded_sessions  session windows, folded as records come
    live_windows     everything else: any window, trigger, content and mode
    open_windows     what a collection of open windows is; aligned_windows, sessions and
                     endless_windows are the three kinds
    cell             one window of one key
    contents         what the records of a window come to
    results          what a firing says
    arguments        seconds and counts, checked when an assigner or a trigger is made
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
from sage.kernel.operators.windowing.pane import PaneInfo, PaneTiming, WindowMode
from sage.kernel.operators.windowing.triggers import (
    AfterCount,
    AfterProcessingTime,
    AfterWatermark,
    RepeatedTrigger,
    Trigger,
)

__all__ = [
    "AfterCount",
    "AfterProcessingTime",
    "AfterWatermark",
    "AlignedAssigner",
    "CountWindow",
    "GlobalWindow",
    "PaneInfo",
    "PaneTiming",
    "RepeatedTrigger",
    "SessionWindow",
    "SlidingWindow",
    "Trigger",
    "TumblingWindow",
    "Window",
    "WindowAssigner",
    "WindowMode",
]
