"""Which windows a record belongs to, by its time alone.

A window is ``[start, end)``: it has its start and does not have its end. Windows of fixed size are
numbered, and start and end are computed from the number (``index * slide + offset``), never from a
record, so that all records of a window see the same two floats. Invariant: a record of time t is
in window i exactly if ``start(i) <= t < end(i)`` holds for these floats; where ``size`` is a whole
multiple of ``slide`` (up to rounding, as with 0.3 and 0.1) windows meet end to start without a gap
or an overlap, and every record is in equally many.

Window kinds follow the Dataflow model (Akidau et al., 2015) and have Flink's names.

Example:
    >>> TumblingWindow(60).windows(61.5)
    [Window(start_s=60, end_s=120)]
    >>> SlidingWindow(60, 30).windows(61.5)
    [Window(start_s=30, end_s=90), Window(start_s=60, end_s=120)]
    >>> TumblingWindow(10, offset_s=3).windows(-1)
    [Window(start_s=-7, end_s=3)]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from sage.kernel.operators.windowing.arguments import check_count, check_seconds

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


@dataclass(frozen=True)
class Window:
    """A stretch of time: its start is in it, its end is not.

    Attributes:
        start_s: First moment in it, in seconds.
        end_s: First moment behind it.
    """

    start_s: float
    end_s: float

    def __contains__(self, time_s: float) -> bool:
        return self.start_s <= time_s < self.end_s


@dataclass(frozen=True)
class WindowAssigner:
    """Base of the assigners; see the module's docstring."""

    def windows(self, time_s: float) -> list[Window]:
        """Return the windows of a record of this time, by start.

        Raises:
            ValueError: if floats cannot tell the windows of this time apart.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class AlignedAssigner(WindowAssigner):
    """Windows that are the same for all keys: of a fixed size, one every ``slide`` seconds."""

    size_s: float

    @property
    def step_s(self) -> float:
        """Seconds from one window's start to the next one's."""
        raise NotImplementedError

    @property
    def start_at_s(self) -> float:
        """Where window 0 starts."""
        raise NotImplementedError

    def window(self, index: int) -> Window:
        """Return the window of that number."""
        return Window(self.start_of(index), self.end_of(index))

    def start_of(self, index: int) -> float:
        """Return the start of the window of that number."""
        return index * self.step_s + self.start_at_s

    def end_of(self, index: int) -> float:
        """Return the end of the window of that number."""
        steps = self.steps
        if steps is None:
            return self.start_of(index) + self.size_s
        return self.start_of(index + steps)

    def indices(self, time_s: float) -> range:
        """Return the numbers of the windows of a record; it is empty in a gap between windows.

        Raises:
            ValueError: if floats cannot tell the windows of this time apart.
        """
        last = self.last_started(time_s)
        steps = self.steps
        if steps is not None:
            return range(last - steps + 1, last + 1)
        first = last - int(self.size_s // self.step_s)
        while self.end_of(first) <= time_s:
            first += 1
        while self.end_of(first - 1) > time_s:
            first -= 1
        return range(first, last + 1)

    def windows(self, time_s: float) -> list[Window]:
        """Return the windows of a record of this time, by start.

        Raises:
            ValueError: if floats cannot tell the windows of this time apart.
        """
        return [self.window(index) for index in self.indices(time_s)]

    @cached_property
    def steps(self) -> int | None:
        """How many steps a window is long, or None if that is no whole number."""
        steps = round(self.size_s / self.step_s)
        rounding = 4 * math.ulp(self.size_s)
        return steps if steps and abs(steps * self.step_s - self.size_s) <= rounding else None

    def last_started(self, time_s: float) -> int:
        """Return the last window that has started: a division, put right by what floats say.

        Raises:
            ValueError: if floats cannot tell the windows of this time apart.
        """
        step_s, at_s = self.step_s, self.start_at_s
        try:
            guess = int((time_s - at_s) // step_s)
        except OverflowError:
            guess = 0
        for index in (guess, guess - 1, guess + 1):
            if index * step_s + at_s <= time_s < (index + 1) * step_s + at_s:
                return index
        raise ValueError(
            f"the time {time_s!r} is too large for windows every {self.step_s!r} s: "
            f"next to it, floats are {math.ulp(time_s):g} s apart"
        )


@dataclass(frozen=True)
class TumblingWindow(AlignedAssigner):
    """Windows of one size, end to start: each record is in exactly one.

    Args:
        size_s: Length in seconds.
        offset_s: Shifts all windows; without it they are aligned to the epoch.

    Raises:
        GraphError: if the size is not above 0, or an argument is no finite number.

    Example:
        >>> TumblingWindow(3600, offset_s=-900).windows(0)
        [Window(start_s=-900, end_s=2700)]
    """

    offset_s: float = 0

    def __post_init__(self) -> None:
        check_seconds("TumblingWindow", "size_s", self.size_s, above=0)
        check_seconds("TumblingWindow", "offset_s", self.offset_s)

    @property
    def step_s(self) -> float:
        """Its size: a window starts where the one before ends."""
        return self.size_s

    @property
    def start_at_s(self) -> float:
        """Its offset."""
        return self.offset_s


@dataclass(frozen=True)
class SlidingWindow(AlignedAssigner):
    """Windows of one size that start every ``slide_s`` seconds and overlap if that is less.

    ``slide_s`` need not divide ``size_s``. If it is larger, records between windows are in none and
    are counted as without output.

    Args:
        size_s: Length in seconds.
        slide_s: Seconds from one window's start to the next one's.
        offset_s: Shifts all windows; without it they are aligned to the epoch.

    Raises:
        GraphError: if size or slide is not above 0, or an argument is no finite number.

    Example:
        >>> SlidingWindow(5, 2).windows(4)
        [Window(start_s=0, end_s=5), Window(start_s=2, end_s=7), Window(start_s=4, end_s=9)]
        >>> SlidingWindow(1, 5).windows(3)
        []
    """

    slide_s: float
    offset_s: float = 0

    def __post_init__(self) -> None:
        check_seconds("SlidingWindow", "size_s", self.size_s, above=0)
        check_seconds("SlidingWindow", "slide_s", self.slide_s, above=0)
        check_seconds("SlidingWindow", "offset_s", self.offset_s)

    @property
    def step_s(self) -> float:
        """Its slide."""
        return self.slide_s

    @property
    def start_at_s(self) -> float:
        """Its offset."""
        return self.offset_s


@dataclass(frozen=True)
class SessionWindow(WindowAssigner):
    """A window for each stretch of a key's records without a gap of ``gap_s`` or more.

    Every record opens ``[t, t + gap_s)``; windows of a key that overlap become one. Two records
    exactly ``gap_s`` apart are in two sessions, as in Beam: ends are exclusive.

    Args:
        gap_s: Silence that ends a session, in seconds.

    Raises:
        GraphError: if the gap is no finite number above 0.

    Example:
        >>> SessionWindow(30).windows(100)
        [Window(start_s=100, end_s=130)]
    """

    gap_s: float

    def __post_init__(self) -> None:
        check_seconds("SessionWindow", "gap_s", self.gap_s, above=0)

    def windows(self, time_s: float) -> list[Window]:
        """Return the session of a record that is alone.

        Raises:
            ValueError: if the gap is too small to end after this time.
        """
        return [Window(time_s, self.end_after(time_s))]

    def end_after(self, time_s: float) -> float:
        """Return when a session ends whose last record is of this time.

        Raises:
            ValueError: if the gap is too small to end after this time.
        """
        end_s = time_s + self.gap_s
        if time_s < end_s < math.inf:
            return end_s
        raise ValueError(
            f"the time {time_s!r} is too large for sessions with a gap of {self.gap_s!r} s: "
            f"next to it, floats are {math.ulp(time_s):g} s apart"
        )


@dataclass(frozen=True)
class GlobalWindow(WindowAssigner):
    """One window for all time; it ends with the input, and a trigger fires it before.

    Example:
        >>> GlobalWindow().windows(5)
        [Window(start_s=-inf, end_s=inf)]
    """

    def windows(self, time_s: float) -> list[Window]:
        """Return the only window that there is."""
        return [Window(-math.inf, math.inf)]


@dataclass(frozen=True)
class CountWindow(WindowAssigner):
    """A window for every ``size`` records of a key, in the order in which they come.

    The last one may be incomplete at the end of the input; it is emitted too. No record is late.

    Args:
        size: How many records.

    Raises:
        GraphError: if it is no whole number of at least 1.

    Example:
        >>> CountWindow(100).size
        100
    """

    size: int

    def __post_init__(self) -> None:
        check_count("CountWindow", "size", self.size)

    def windows(self, time_s: float) -> list[Window]:
        """Return the window without bounds: time does not divide it."""
        return [Window(-math.inf, math.inf)]
