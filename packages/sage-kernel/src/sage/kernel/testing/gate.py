"""A door between a test and the threads of a job."""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["Gate"]


class Gate:
    """Holds whoever passes it until the test opens it; tells the test that somebody waits.

    Copies are the same gate, so that it can be an attribute of a function that is copied for each
    subtask.

    Args:
        timeout_s: Longest wait, in seconds; a test that would hang fails instead.

    Example:
        >>> gate = Gate()
        >>> gate.open()
        >>> gate.wait()
        >>> gate.arrivals
        1
    """

    def __init__(self, timeout_s: float = 30.0) -> None:
        self._timeout_s = timeout_s
        self._condition = threading.Condition()
        self._open = False
        self.arrivals = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Gate:
        return self

    def open(self) -> None:
        """Let everybody through, now and later."""
        with self._condition:
            self._open = True
            self._condition.notify_all()

    def wait(self) -> None:
        """Pass, as soon as the gate is open.

        Raises:
            TimeoutError: if nobody opens it in time.
        """
        with self._condition:
            self.arrivals += 1
            self._condition.notify_all()
            if not self._condition.wait_for(lambda: self._open, self._timeout_s):
                raise TimeoutError(f"nobody opened the gate within {self._timeout_s} s")

    def wait_for_arrival(self, arrivals: int = 1) -> None:
        """Wait, in the test, until somebody has come to the gate.

        Raises:
            TimeoutError: if nobody comes in time.
        """
        with self._condition:
            if not self._condition.wait_for(lambda: self.arrivals >= arrivals, self._timeout_s):
                raise TimeoutError(
                    f"{self.arrivals} of {arrivals} came to the gate within {self._timeout_s} s"
                )

    @property
    def is_open(self) -> bool:
        """Whether it has been opened."""
        return self._open
