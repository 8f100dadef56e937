"""What became of the records of an operator: counts that always add up.

The generated loop counts only what is rare (a record that goes no further) or cannot be derived
(how many items a ``flat_map`` gave). Everything else follows, operator by operator along a chain::

    received(first) = entered                  received(next) = sent(previous)
    sent(one to one) = received - no_output - filtered - skipped - dead_lettered - failed + flushed
    sent(otherwise)  = produced + flushed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sage.kernel.metrics.histogram import Histogram

__all__ = ["OperatorMetrics", "OperatorStatistics"]


class OperatorStatistics:
    """The raw counts of one operator in one subtask; only its task writes them."""

    __slots__ = (
        "custom",
        "dead_lettered",
        "empty",
        "entered",
        "failed",
        "filtered",
        "flushed",
        "late",
        "latency",
        "no_output",
        "pending",
        "produced",
        "retries",
        "skipped",
    )

    def __init__(self) -> None:
        self.entered = 0  # records that came in at the head of a loop
        self.no_output = 0
        self.filtered = 0
        self.late = 0
        self.skipped = 0
        self.dead_lettered = 0
        self.failed = 0  # records at which the job failed
        self.pending = 0  # records taken in and not yet decided
        self.produced = 0  # outputs, where they are not one to one
        self.empty = 0  # inputs that gave no output, where they are not one to one
        self.flushed = 0  # outputs at the end of the input, and those resumed after an error
        self.retries = 0
        self.custom: dict[str, int] = {}  # counters of the user's function
        self.latency: Histogram | None = None  # of sampled records, once there are any

    def add(self, counts: Mapping[str, int], custom: Mapping[str, int]) -> None:
        """Add what was counted in another process, by attribute and by the function's names."""
        for name, count in counts.items():
            setattr(self, name, getattr(self, name) + count)
        for name, count in custom.items():
            self.custom[name] = self.custom.get(name, 0) + count

    def snapshot(self) -> dict[str, Any]:
        """Return the counts for a checkpoint; what is pending is given again and counted then."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        return {**counts, "custom": dict(self.custom)}

    def restore(self, counts: Mapping[str, Any]) -> None:
        """Add the counts of a checkpoint."""
        plain = {name: counts[name] for name in _COUNTS}
        self.add(plain, counts["custom"])

    def timed(self, elapsed_s: float) -> None:
        """Count the time of a sampled record in the operator."""
        if self.latency is None:
            self.latency = Histogram()
        self.latency.add(elapsed_s)


_COUNTS = tuple(
    name for name in OperatorStatistics.__slots__ if name not in ("custom", "latency", "pending")
)


@dataclass(frozen=True)
class OperatorMetrics:
    """The fates of the records of one operator, over all its subtasks or in one.

    Invariant: ``received`` is the sum of ``emitted``, ``no_output``, ``filtered``, ``late``,
    ``skipped``, ``dead_lettered`` and ``held``.

    Attributes:
        uid: The operator's identity.
        name: Its name.
        kind: Its verb.
        subtask: Which subtask, or None for the sum.
        received: Records that came in.
        sent: Records that went out.
        held: In state, in a buffer or in flight; where the job failed, the failing record.
        failed: Records at which the job failed; they are among the ``held``.
        busy_s: Time in which its task worked; the operators of a chain share one task.
        idle_s: Time in which its task waited for input.
        blocked_s: Time in which its task waited for a slower receiver (backpressure).
        lifetime_s: Time of the job, once for each subtask; the shares are shares of it.
        rate_per_s: Records that came in for each second of the job.
        recent_rate_per_s: The same since the metrics were asked for before.
        latency: Times of sampled records in it, in seconds, or None without ``sample_trace``.
        watermark_s: How far event time has come behind it, in the slowest subtask; None where
            nothing is known of event time (yet).
        guarantee: Of a sink, how often a record reaches its target when the job fails and goes on:
            "exactly once", "effectively once (idempotent)", "at least once", or without
            checkpoints "at most once (no checkpoints)"; None for other operators.
    """

    uid: str
    name: str
    kind: str
    subtask: int | None
    received: int = 0
    sent: int = 0
    emitted: int = 0
    no_output: int = 0
    filtered: int = 0
    late: int = 0
    skipped: int = 0
    dead_lettered: int = 0
    held: int = 0
    failed: int = 0
    retries: int = 0
    busy_s: float = 0.0
    idle_s: float = 0.0
    blocked_s: float = 0.0
    lifetime_s: float = 0.0
    rate_per_s: float = 0.0
    recent_rate_per_s: float = 0.0
    custom: dict[str, int] = field(default_factory=dict)
    latency: Histogram | None = None
    watermark_s: float | None = None
    guarantee: str | None = None

    @property
    def records_in(self) -> int:
        """The same as ``received``."""
        return self.received

    @property
    def records_out(self) -> int:
        """The same as ``sent``."""
        return self.sent

    @property
    def errors(self) -> int:
        """Records that its function gave up: skipped, set aside, or the end of the job."""
        return self.skipped + self.dead_lettered + self.failed

    @property
    def busy_share(self) -> float:
        """Share of the job's time in which its task worked, 0 to 1."""
        return self._share(self.busy_s)

    @property
    def idle_share(self) -> float:
        """Share of the job's time in which its task waited for input, 0 to 1."""
        return self._share(self.idle_s)

    @property
    def backpressured_share(self) -> float:
        """Share of the job's time in which its task waited for a slower receiver, 0 to 1."""
        return self._share(self.blocked_s)

    @property
    def mean_cost_s(self) -> float:
        """Working time of its task for each record that came into it, in seconds."""
        return self.busy_s / self.received if self.received else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return every count, share and time as plain data."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        latency = self.latency.to_dict() if self.latency is not None else None
        return {
            **values,
            "errors": self.errors,
            "busy_share": self.busy_share,
            "idle_share": self.idle_share,
            "backpressured_share": self.backpressured_share,
            "mean_cost_s": self.mean_cost_s,
            "custom": dict(self.custom),
            "latency": latency,
        }

    def _share(self, part_s: float) -> float:
        return min(part_s / self.lifetime_s, 1.0) if self.lifetime_s > 0 else 0.0
