"""Processing time: one clock for everything in a job that waits.

A clock is called and returns seconds since the epoch. The system's is read once and then counts
monotonically, so that a machine whose time is corrected neither fires timers early nor stops them.
A clock that is driven by hand has ``watch``: whoever waits for it is told when it has moved.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

__all__ = ["Clock", "DrivenClock", "system_clock"]

_EPOCH_S = time.time() - time.monotonic()

Clock = Callable[[], float]


def system_clock() -> float:
    """Return the time in seconds since the epoch; it never goes back."""
    return _EPOCH_S + time.monotonic()


@runtime_checkable
class DrivenClock(Protocol):
    """A clock that moves only when somebody moves it."""

    def __call__(self) -> float:
        """Return the time in seconds since the epoch."""

    def watch(self, moved: Callable[[], None]) -> Callable[[], None]:
        """Call ``moved`` after each move; return what ends that."""
