"""Where a job stands."""

from __future__ import annotations

from enum import Enum

__all__ = ["RunState"]


class RunState(Enum):
    """Where a job stands."""

    CREATED = "created"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
