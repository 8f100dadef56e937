"""A profiler of one thread, for interpreters whose cProfile hears all threads at once.

From Python 3.12 on cProfile gets its events from the interpreter and not from the thread, and takes
what several threads do for one stack. ``sys.setprofile`` still belongs to a thread; a profiler in
Python on it is about ten times as slow, and right.
"""

from __future__ import annotations

import sys
import time
from types import FrameType
from typing import Any

__all__ = ["ThreadProfiler"]

Function = tuple[str, int, str]


class ThreadProfiler:
    """Counts calls and times of one thread, in the form that ``pstats.Stats`` takes.

    Attributes:
        stats: For each function its outermost calls, all calls, own time, total time and callers.
    """

    def __init__(self) -> None:
        self.stats: dict[Function, tuple[int, int, float, float, dict[Any, Any]]] = {}
        self._stack: list[tuple[Function, float, list[float]]] = []
        self._depth: dict[Function, int] = {}

    def enable(self) -> None:
        """Watch the thread that calls it."""
        sys.setprofile(self._event)

    def create_stats(self) -> None:
        """Nothing to prepare; ``pstats`` asks for it."""

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        now = time.perf_counter()
        if event == "call":
            code = frame.f_code
            self._enter((code.co_filename, code.co_firstlineno, code.co_name), now)
        elif event == "c_call":
            self._enter(("~", 0, f"<built-in {argument.__qualname__}>"), now)
        elif self._stack:  # else a function returns that was called before we watched
            self._leave(now)

    def _enter(self, function: Function, now: float) -> None:
        self._depth[function] = self._depth.get(function, 0) + 1
        self._stack.append((function, now, [0.0]))

    def _leave(self, now: float) -> None:
        function, started, (inner_s,) = self._stack.pop()
        elapsed_s = now - started
        if self._stack:
            self._stack[-1][2][0] += elapsed_s
        self._depth[function] -= 1
        outermost = not self._depth[function]
        first, calls, own_s, total_s, callers = self.stats.get(function, (0, 0, 0.0, 0.0, {}))
        self.stats[function] = (
            first + outermost,
            calls + 1,
            own_s + elapsed_s - inner_s,
            total_s + (elapsed_s if outermost else 0.0),
            callers,
        )
