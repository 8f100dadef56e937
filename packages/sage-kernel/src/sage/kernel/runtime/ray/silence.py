"""How long actors have not been heard.

Silence is counted in looks, not read from a clock. While the driver was stopped itself, nobody
waited for an answer, and one that is there is found with the next look.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sage.kernel.runtime.ray.plan import Subtask

__all__ = ["Silence"]


class Silence:
    """Who is expected to answer, and has not for how long.

    Args:
        look_s: Seconds between two looks; a longer pause counts for no more than twice as much.
        clock: Seconds by a clock that does not go back.

    Example:
        >>> now = 0.0
        >>> silence = Silence(1.0, clock=lambda: now)
        >>> silence.heard((0, 0))
        >>> now = 1.0
        >>> silence.longer_than(0.5)
        (0, 0)
    """

    def __init__(self, look_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_s = 2 * look_s
        self._clock = clock
        self._looked_s = clock()
        self._unheard_s: dict[Subtask, float] = {}

    def heard(self, at: Subtask) -> None:
        """An actor has answered, or is expected to from now on."""
        self._unheard_s[at] = 0.0

    def forget(self, at: Subtask) -> None:
        """An actor has nothing more to say."""
        self._unheard_s.pop(at, None)

    def longer_than(self, timeout_s: float | None) -> Subtask | None:
        """Look, and return who has not been heard for so long, if there is one."""
        now, before = self._clock(), self._looked_s
        self._looked_s = now
        for at in self._unheard_s:
            self._unheard_s[at] += min(now - before, self._most_s)
        if timeout_s is None:
            return None
        return next((at for at, s in self._unheard_s.items() if s > timeout_s), None)
