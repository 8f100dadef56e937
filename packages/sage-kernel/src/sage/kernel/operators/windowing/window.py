"""``window``: the operator, as a description that can be planned, shown and sent to a worker.

Example:
    >>> from sage.kernel import LocalEnvironment, TumblingWindow
    >>> visits = LocalEnvironment().from_collection([("ann", 1), ("bob", 2), ("ann", 11)])
    >>> by_user = visits.assign_timestamps(lambda visit: visit[1]).key_by(lambda visit: visit[0])
    >>> by_user.window(TumblingWindow(10)).count().collect()
    [('ann', 1), ('bob', 1), ('ann', 1)]
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from sage.common.core import functions as fn
from sage.kernel.operators.event_time import EventTimeOperator
from sage.kernel.operators.function_spec import REDUCE, FunctionShape, FunctionSpec, LiveFunction
from sage.kernel.operators.inline_expression import InlinedFunction
from sage.kernel.operators.keyed_fold import AGGREGATE
from sage.kernel.operators.operator import LiveOperator
from sage.kernel.operators.windowing.aligned_windows import AlignedWindows
from sage.kernel.operators.windowing.assigners import (
    AlignedAssigner,
    CountWindow,
    GlobalWindow,
    SessionWindow,
    SlidingWindow,
    WindowAssigner,
)
from sage.kernel.operators.windowing.contents import (
    AggregateContents,
    Contents,
    CountContents,
    ListContents,
    ReduceContents,
    TopContents,
)
from sage.kernel.operators.windowing.endless_windows import EndlessWindows
from sage.kernel.operators.windowing.folded_sessions import LiveFoldedSessions
from sage.kernel.operators.windowing.folds import (
    AggregateFold,
    CountFold,
    Fold,
    LiveFoldedWindows,
    ReduceFold,
)
from sage.kernel.operators.windowing.live_windows import LiveWindows
from sage.kernel.operators.windowing.open_windows import OpenWindows
from sage.kernel.operators.windowing.pane import WindowMode
from sage.kernel.operators.windowing.results import (
    AppliedResults,
    OneResult,
    ProcessedResults,
    Results,
)
from sage.kernel.operators.windowing.sessions import Sessions
from sage.kernel.operators.windowing.sliced_windows import LiveSlicedWindows
from sage.kernel.operators.windowing.triggers import AfterWatermark, Trigger

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop
    from sage.kernel.operators.operator import Prove

__all__ = [
    "AGGREGATE",
    "APPLY",
    "EMIT",
    "PROCESS_WINDOW",
    "REDUCE",
    "TOP",
    "ContentSpec",
    "WindowOperator",
]

TOP = FunctionShape("top", fn.KeyByFunction, "get_key")
EMIT = FunctionShape("emit", fn.Function, "emit")
PROCESS_WINDOW = FunctionShape("process", fn.ProcessWindowFunction, "process")
APPLY = FunctionShape("apply", fn.Function, "apply")


@dataclass(frozen=True)
class ContentSpec:
    """What is made of the records of a window, as it was given to a verb.

    Args:
        verb: Which verb.
        function: What it was given; None for ``count``.
        emit: Makes a record of key, window and value; None for the value itself.
        count: Of ``top``: how many.
        inline: What the function adds a record with, where the optimizer proved it.
    """

    verb: Literal["reduce", "aggregate", "count", "top", "process", "apply"]
    function: FunctionSpec | None = None
    emit: FunctionSpec | None = None
    count: int = 0
    inline: InlinedFunction | None = None

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The functions that users gave to it."""
        return tuple(spec for spec in (self.function, self.emit) if spec is not None)

    def contents(self, functions: list[LiveFunction]) -> Contents:
        """Return how contents of windows are made."""
        if self.verb == "count":
            return CountContents()
        if self.verb == "reduce":
            return ReduceContents(functions[0].call)
        if self.verb == "aggregate":
            owner: Any = functions[0].owner
            return AggregateContents(owner)
        if self.verb == "top":
            return TopContents(self.count, functions[0].call)
        return ListContents()

    def results(self, contents: Contents, functions: list[LiveFunction]) -> Results:
        """Return what makes records of a firing."""
        if self.verb == "process":
            return ProcessedResults(contents, functions[0].call)
        if self.verb == "apply":
            return AppliedResults(contents, functions[0].call)
        emit = functions[-1].call if self.emit is not None else None
        return OneResult(contents, emit, with_key=self.verb == "count")


@dataclass(frozen=True)
class WindowOperator(EventTimeOperator):
    """Cuts each key's records into windows and emits what they come to.

    Args:
        assigner: Which windows a record belongs to.
        content: What is made of them.
        trigger: When a window fires.
        allowed_lateness_s: How long windows stay open behind their end, in event time.
        mode: Whether a firing empties the window.
        time: Whether windows go by the records' timestamps or by the clock.
    """

    kind = "window"
    assigner: WindowAssigner
    content: ContentSpec
    trigger: Trigger = field(default_factory=AfterWatermark)
    allowed_lateness_s: float = 0.0
    mode: WindowMode = "accumulating"
    time: Literal["event", "processing"] = "event"

    @property
    def uses_time(self) -> bool:  # type: ignore[override]  # of a class, but windows differ
        """Whether its records must have timestamps: windows without an end do without."""
        return not isinstance(self.assigner, CountWindow | GlobalWindow)

    @property
    def reads_time(self) -> bool:  # type: ignore[override]
        """Whether it makes use of timestamps where there are any."""
        return True

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The functions that users gave to it."""
        return self.content.specs

    @property
    def label(self) -> str:
        """The verb that follows ``window``; the functions of most are lambdas."""
        return f"window.{self.content.verb}"

    @property
    def state_kind(self) -> str:
        """What is kept of which windows, by which time."""
        return f"{self.label} of {self.assigner} in {self.time} time"

    @property
    def note(self) -> str:
        """Which windows, and what of them is not as usual."""
        told = [str(self.assigner)]
        if self.time == "processing":
            told.append("by the clock, so its result depends on when records arrive")
        if self.trigger != AfterWatermark():
            told.append(str(self.trigger))
        if self.allowed_lateness_s:
            told.append(f"late records allowed for {self.allowed_lateness_s:g} s")
        if self.mode == "discarding":
            told.append(self.mode)
        return ", ".join(told)

    def inlined(self, prove: Prove) -> WindowOperator:
        """With what adds a record as an expression, where that can be proved."""
        function = self.content.function
        if function is None:
            return self
        return replace(self, content=replace(self.content, inline=prove(function, parameters=2)))

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """As every operator that follows event time; without timestamps it is the beginning."""
        if isinstance(live, LiveFoldedWindows):
            live.write(loop)
            return
        if "time" in loop.riders:
            super().write(loop, live)
            return
        assert isinstance(live, LiveWindows)
        untimed = loop.bind(live.add_untimed, "f")
        loop.line(f"{untimed}({loop.key}, {loop.value})")

    def live(self, *, may_share: bool = True) -> LiveWindows | LiveFoldedWindows:
        """Make the operator of one subtask, without open windows."""
        functions = [spec.live(may_share=may_share) for spec in self.specs]
        return self._live_folded(functions) or self._live_in_general(functions)

    def _live_folded(self, functions: list[LiveFunction]) -> LiveFoldedWindows | None:
        """Return the fast path, if this is a case for it."""
        fires_once = (
            isinstance(self.trigger, AfterWatermark)
            and self.trigger.early is None
            and not self.allowed_lateness_s
            and self.time == "event"
        )
        fold = self._fold(functions)
        if not fires_once or fold is None:
            return None
        emit = functions[-1].call if self.content.emit is not None else None
        how: Any = {"emit": emit, "with_key": self.content.verb == "count"}
        if isinstance(self.assigner, SessionWindow):
            return LiveFoldedSessions(self, functions, self.assigner, fold, **how)
        steps = self.assigner.steps if isinstance(self.assigner, AlignedAssigner) else None
        if steps is None or (steps > 1 and self.content.verb == "reduce"):
            return None  # slices are put together by `merge`, which a reduction does not declare
        assert isinstance(self.assigner, AlignedAssigner)
        return LiveSlicedWindows(self, functions, self.assigner, fold, **how)

    def _fold(self, functions: list[LiveFunction]) -> Fold | None:
        if self.content.verb == "count":
            return CountFold()
        if self.content.verb == "aggregate":
            is_shared = isinstance(self.assigner, SlidingWindow)
            return AggregateFold(functions[0], self.content.inline, is_shared=is_shared)
        if self.content.verb == "reduce":
            return ReduceFold(functions[0], self.content.inline)
        return None

    def _live_in_general(self, functions: list[LiveFunction]) -> LiveWindows:
        contents = self.content.contents(functions)
        full_at = self.assigner.size if isinstance(self.assigner, CountWindow) else None
        return LiveWindows(
            self,
            functions,
            self._open_windows(contents, full_at),
            contents,
            self.content.results(contents, functions),
            trigger=self.trigger,
            lateness_s=self.allowed_lateness_s,
            discards=self.mode == "discarding" or full_at is not None,
            by_clock=self.time == "processing",
            full_at=full_at,
        )

    def _open_windows(self, contents: Contents, full_at: int | None) -> OpenWindows:
        if isinstance(self.assigner, AlignedAssigner):
            return AlignedWindows(self.assigner, contents, self.allowed_lateness_s)
        if isinstance(self.assigner, SessionWindow):
            return Sessions(self.assigner, contents, self.allowed_lateness_s)
        return EndlessWindows(contents, full_at)
