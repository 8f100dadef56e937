"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["ManualClock"]


class ManualClock:
    """Called like ``time.time``; moves only by `advance`.

    Given to an environment as ``config={"clock": clock}`` it drives timers, timeouts and
    processing-time windows.

    Args:
        now_s: Where it starts, in seconds.

    Example:
        >>> clock = ManualClock()
        >>> clock.advance(1.5)
        >>> clock()
        1.5
    """

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._watching: list[Callable[[], None]] = []

    def __deepcopy__(self, memo: object) -> ManualClock:
        return self  # a source that moves the clock and the job that it moves share it

    def __call__(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ValueError: if it would go back.
        """
        if seconds < 0:
            raise ValueError(f"a clock does not go back, got {seconds}")
        with self._lock:
            self._now_s += seconds
            watching = list(self._watching)
        for moved in watching:
            moved()

    def watch(self, moved: Callable[[], None]) -> Callable[[], None]:
        """Call ``moved`` after each move; return what ends that."""
        with self._lock:
            self._watching.append(moved)

        def unwatch() -> None:
            with self._lock:
                self._watching.remove(moved)

        return unwatch
