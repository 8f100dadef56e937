"""How the checkpoints of a job went."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["CheckpointMetrics"]


@dataclass(frozen=True)
class CheckpointMetrics:
    """What ``job.metrics().checkpoints`` says.

    Attributes:
        completed: How many were completed, in this process.
        failed: How many were given up or could not be written.
        last: Number of the newest complete one, 0 for none.
        last_duration_s: From its request to its manifest.
        last_size_bytes: Of its own files; those of earlier ones that it rests on are not counted.
        last_completed_at: Seconds since the epoch, or None.
        restored: Number of the checkpoint that the job goes on from, 0 for none.
        restarts: How often the job was started again in this process.
    """

    completed: int = 0
    failed: int = 0
    last: int = 0
    last_duration_s: float = 0.0
    last_size_bytes: int = 0
    last_completed_at: float | None = None
    restored: int = 0
    restarts: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return every number as plain data."""
        return asdict(self)
