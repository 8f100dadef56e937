"""A clock that stands still until a test moves it."""

from __future__ import annotations

__all__ = ["ManualClock"]


class ManualClock:
    """Called like ``time.monotonic``; moves only by `advance`.

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

    def __call__(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ValueError: if it would go back.
        """
        if seconds < 0:
            raise ValueError(f"a clock does not go back, got {seconds}")
        self._now_s += seconds
