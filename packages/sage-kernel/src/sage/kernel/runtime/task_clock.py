"""Where a task's time goes, counted once a batch."""

from __future__ import annotations

__all__ = ["TaskClock"]


class TaskClock:
    """The times of one task, in seconds.

    Attributes:
        busy_s: In the chain, and in a source's own code.
        idle_s: Waiting for input.
        blocked_s: Waiting for a receiver that is slower.
        working_since: When the task went into a user's function, if it is in one now.
    """

    __slots__ = ("blocked_s", "busy_s", "idle_s", "working_since")

    def __init__(self) -> None:
        self.busy_s = 0.0
        self.idle_s = 0.0
        self.blocked_s = 0.0
        self.working_since: float | None = None
