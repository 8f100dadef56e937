"""Windows on a plain list: what the engine's windows must give, one record at a time.

There is one list of windows. Every step looks at all of them, each keeps all of its records, and
what a firing says is a list of records; nothing is folded, indexed or remembered that could be
computed again. It is quadratic, and obviously right.

Example:
    >>> from sage.kernel import TumblingWindow
    >>> told = windows_of(
    ...     [Arrival("a", "k", 1, watermark=-5), Arrival("b", "k", 12, watermark=10)],
    ...     TumblingWindow(10),
    ... )
    >>> [(pane.start_s, pane.end_s, pane.records) for pane in told.panes]
    [(0, 10, ['a']), (10, 20, ['b'])]
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sage.kernel.operators.windowing import (
    AfterCount,
    AfterProcessingTime,
    AfterWatermark,
    CountWindow,
    PaneInfo,
    SessionWindow,
    Trigger,
    WindowAssigner,
    WindowMode,
)
from sage.kernel.testing.operator_harness import Arrival

__all__ = ["ClockMoves", "ExpectedPane", "ExpectedWindows", "windows_of"]


@dataclass(frozen=True)
class ClockMoves:
    """The clock is moved, and what waits for it is told.

    Attributes:
        by_s: How far, in seconds.
    """

    by_s: float


@dataclass(frozen=True)
class ExpectedPane:
    """One firing.

    Attributes:
        key: The key.
        start_s: The window's start.
        end_s: Its end.
        records: What it is about, in the order of arrival; of merged sessions the earlier first.
        pane: Which firing of the window it is.
        time_s: The timestamp of its results.
    """

    key: Any
    start_s: float
    end_s: float
    records: list[Any]
    pane: PaneInfo
    time_s: float


@dataclass
class ExpectedWindows:
    """What must have come out at the end of the input.

    Attributes:
        panes: The firings, in their order.
        late: Records whose windows were all over.
        between: Records that are in no window.
    """

    panes: list[ExpectedPane] = field(default_factory=list)
    late: list[Any] = field(default_factory=list)
    between: list[Any] = field(default_factory=list)


@dataclass(eq=False)
class _Window:
    key: Any
    start_s: float
    end_s: float
    born: int
    records: list[Any] = field(default_factory=list)
    unsaid: int = 0
    firings: int = 0
    has_ended: bool = False
    timer: tuple[float, int] | None = None  # when, and which of those set
    last_time_s: float = 0.0


def windows_of(
    events: Iterable[Arrival | ClockMoves],
    assigner: WindowAssigner,
    *,
    trigger: Trigger | None = None,
    allowed_lateness_s: float = 0.0,
    mode: WindowMode = "accumulating",
    now_s: float = 0.0,
) -> ExpectedWindows:
    """Return what windows must give for a finite input.

    Args:
        events: Records with their times and watermarks, and moves of the clock between them.
        assigner: Which windows a record belongs to.
        trigger: When they fire.
        allowed_lateness_s: How long they stay open behind their end.
        mode: Whether a firing says everything so far.
        now_s: Where the clock stands at first.
    """
    if isinstance(assigner, CountWindow):
        return _counted([e for e in events if isinstance(e, Arrival)], assigner.size)
    run = _Run(assigner, trigger or AfterWatermark(), allowed_lateness_s, mode, now_s)
    for event in events:
        if isinstance(event, Arrival):
            run.let_time_come_to(event.watermark)
            run.add(event)
        else:
            run.move_clock(event.by_s)
    run.let_time_come_to(math.inf)
    return run.told


class _Run:
    def __init__(
        self,
        assigner: WindowAssigner,
        trigger: Trigger,
        lateness_s: float,
        mode: WindowMode,
        now_s: float,
    ) -> None:
        self.assigner = assigner
        self.lateness_s = lateness_s
        self.mode = mode
        self.by_watermark = isinstance(trigger, AfterWatermark)
        self.early = trigger.early if isinstance(trigger, AfterWatermark) else trigger
        self.late = trigger.late if isinstance(trigger, AfterWatermark) else trigger
        self.now_s = now_s
        self.watermark = -math.inf
        self.windows: list[_Window] = []
        self.arrived = 0
        self.timers_set = 0
        self.told = ExpectedWindows()

    def let_time_come_to(self, watermark: float) -> None:
        """Fire and forget whatever is due, in the order of event time."""
        self.watermark = watermark
        while due := [w for w in self.windows if self.next_moment(w) <= watermark]:
            window = min(due, key=lambda w: (self.next_moment(w), w.end_s, w.born))
            if not window.has_ended:
                window.has_ended = True
                always = self.by_watermark and self.mode == "accumulating"
                if window.unsaid or always:
                    self.fire(window, "on_time")
            else:
                if window.unsaid:
                    self.fire(window, "late")
                self.windows.remove(window)

    def next_moment(self, window: _Window) -> float:
        """Return the watermark at which a window ends, or at which it is over."""
        return window.end_s + self.lateness_s if window.has_ended else window.end_s

    def add(self, arrival: Arrival) -> None:
        """Put a record into its windows."""
        self.arrived += 1
        spans = [(w.start_s, w.end_s) for w in self.assigner.windows(arrival.time_s)]
        if not spans:
            self.told.between.append(arrival.record)
            return
        if isinstance(self.assigner, SessionWindow):
            windows = self.session_of(arrival, *spans[0])
        else:
            windows = [self.window_of(arrival.key, *span) for span in spans]
        windows = [w for w in windows if w.end_s + self.lateness_s > self.watermark]
        if not windows:
            self.told.late.append(arrival.record)
        for window in windows:
            if window not in self.windows:
                self.windows.append(window)
            window.records.append(arrival.record)
            window.unsaid += 1
            window.last_time_s = arrival.time_s
            window.has_ended = window.end_s <= self.watermark
        for window in windows:
            self.ask_trigger(window)

    def window_of(self, key: Any, start_s: float, end_s: float) -> _Window:
        """Return the open window of a key, or a new one."""
        for window in self.windows:
            if (window.key, window.start_s, window.end_s) == (key, start_s, end_s):
                return window
        return _Window(key, start_s, end_s, self.arrived)

    def session_of(self, arrival: Arrival, start_s: float, end_s: float) -> list[_Window]:
        """Put a record's session together with those that it overlaps, unless that is over."""
        met = [
            w
            for w in self.windows
            if w.key == arrival.key and w.start_s < end_s and start_s < w.end_s
        ]
        met.sort(key=lambda w: w.start_s)
        merged = _Window(
            arrival.key,
            min([start_s, *(w.start_s for w in met)]),
            max([end_s, *(w.end_s for w in met)]),
            min([self.arrived, *(w.born for w in met)]),
            [record for w in met for record in w.records],
            sum(w.unsaid for w in met),
            sum(w.firings for w in met),
            timer=min((w.timer for w in met if w.timer is not None), default=None),
        )
        if merged.end_s + self.lateness_s > self.watermark:
            self.windows = [w for w in self.windows if w not in met]
        return [merged]

    def ask_trigger(self, window: _Window) -> None:
        """Fire a window if what has come is enough, or set its timer."""
        trigger = self.late if window.has_ended else self.early
        if isinstance(trigger, AfterCount) and window.unsaid >= trigger.count:
            self.fire(window, "late" if window.has_ended else "early")
        if isinstance(trigger, AfterProcessingTime) and window.timer is None:
            self.timers_set += 1
            window.timer = (self.now_s + trigger.delay_s, self.timers_set)

    def move_clock(self, by_s: float) -> None:
        """Fire the windows whose timers are over."""
        self.now_s += by_s
        waiting = [(w.timer, w) for w in self.windows if w.timer is not None]
        for (due_s, _), window in sorted(waiting, key=lambda pair: pair[0]):
            if due_s <= self.now_s:
                window.timer = None
                trigger = self.late if window.has_ended else self.early
                if isinstance(trigger, AfterProcessingTime):
                    self.fire(window, "late" if window.has_ended else "early")

    def fire(self, window: _Window, timing: Any) -> None:
        """Say what is in a window."""
        is_last = window.end_s + self.lateness_s <= self.watermark
        self.told.panes.append(
            ExpectedPane(
                window.key,
                window.start_s,
                window.end_s,
                list(window.records),
                PaneInfo(timing, window.firings, is_last),
                math.nextafter(window.end_s, -math.inf)
                if window.end_s < math.inf
                else window.last_time_s,
            )
        )
        window.firings += 1
        window.unsaid = 0
        window.timer = None
        if self.mode == "discarding":
            window.records = []


def _counted(arrivals: list[Arrival], size: int) -> ExpectedWindows:
    """Cut each key's records into groups of one size; the full ones come first."""
    groups: list[list[Arrival]] = []
    told = ExpectedWindows()
    for arrival in arrivals:
        group = next((g for g in groups if g[0].key == arrival.key and len(g) < size), None)
        if group is None:
            group = []
            groups.append(group)
        group.append(arrival)
        if len(group) == size:
            told.panes.append(_full(group))
    told.panes += [_full(group) for group in groups if len(group) < size]
    return told


def _full(group: list[Arrival]) -> ExpectedPane:
    return ExpectedPane(
        group[0].key,
        -math.inf,
        math.inf,
        [arrival.record for arrival in group],
        PaneInfo("on_time", 0, is_last=True),
        group[-1].time_s,
    )
