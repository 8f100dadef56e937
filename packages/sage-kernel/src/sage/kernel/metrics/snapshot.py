"""Turns the raw counts of running tasks into the metrics of a job."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from sage.kernel.metrics.checkpoints import CheckpointMetrics
from sage.kernel.metrics.fates import OperatorMetrics, OperatorStatistics
from sage.kernel.metrics.histogram import Histogram

__all__ = ["EdgeMetrics", "JobMetrics", "rated", "subtask_metrics", "summed"]


@dataclass(frozen=True)
class EdgeMetrics:
    """An edge between two tasks: ``sent = received + in_channel``.

    Attributes:
        upstream: Name of the operator that sends.
        downstream: Name of the operator that receives.
        sent: Records that were sent.
        received: Records that were worked off.
        batches: Batches that are in the channel now.
        capacity: Most batches that the channel holds before its sender waits; 0 for no limit.
    """

    upstream: str
    downstream: str
    sent: int
    received: int
    batches: int = 0
    capacity: int = 0

    @property
    def in_channel(self) -> int:
        """Records that were sent and are not worked off yet."""
        return self.sent - self.received

    @property
    def fill(self) -> float:
        """How full the channel is, 0 to 1; at 1 its sender waits."""
        return min(self.batches / self.capacity, 1.0) if self.capacity else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return every number as plain data."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "in_channel": self.in_channel, "fill": self.fill}


@dataclass(frozen=True)
class JobMetrics:
    """The metrics of a job, at one moment.

    Attributes:
        job: Name of the job.
        status: Where it stands.
        elapsed_s: Time since its start.
        operators: Sums over subtasks, in the order of the plan.
        subtasks: The same for each subtask.
        edges: One for each pair of subtasks that are connected by a channel.
        latency: Times of sampled records from source to sink, or None without ``sample_trace``.
        traces_dropped: Finished traces that made room for newer ones.
        checkpoints: How checkpoints went, or None if the job makes none.
    """

    job: str
    status: str
    elapsed_s: float
    operators: list[OperatorMetrics] = field(default_factory=list)
    subtasks: list[OperatorMetrics] = field(default_factory=list)
    edges: list[EdgeMetrics] = field(default_factory=list)
    latency: Histogram | None = None
    traces_dropped: int = 0
    checkpoints: CheckpointMetrics | None = None

    def __getitem__(self, name: str) -> OperatorMetrics:
        """Return the metrics of the operator of that name or uid."""
        for operator in self.operators:
            if name in (operator.name, operator.uid):
                return operator
        raise KeyError(name)

    def warnings(self) -> list[str]:
        """Return what looks like a mistake: an operator all of whose records end in no output."""
        return [
            f"every one of the {o.received} records of {o.name!r} ended in None: "
            f"did its function forget to return?"
            for o in self.operators
            if o.kind in _RETURNING and o.received and o.received == o.no_output
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as plain data.

        Example:
            >>> JobMetrics("demo", "finished", 0.5).to_dict()["status"]
            'finished'
        """
        return {
            "job": self.job,
            "status": self.status,
            "elapsed_s": self.elapsed_s,
            "operators": [operator.to_dict() for operator in self.operators],
            "subtasks": [subtask.to_dict() for subtask in self.subtasks],
            "edges": [edge.to_dict() for edge in self.edges],
            "latency": self.latency.to_dict() if self.latency is not None else None,
            "traces_dropped": self.traces_dropped,
            "checkpoints": self.checkpoints.to_dict() if self.checkpoints is not None else None,
            "warnings": self.warnings(),
        }

    def to_json(self, indent: int | None = None) -> str:
        """Return `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def to_prometheus(self) -> str:
        """Return the metrics in the text format that Prometheus reads.

        Raises:
            MissingExtraError: if ``isage-kernel[prometheus]`` is not installed.
        """
        # prometheus_client takes 60 ms to import, which only those who scrape should pay.
        from sage.kernel.metrics.prometheus import exposition

        return exposition(self)


# Verbs whose function returns its output, so that None for every record looks like a mistake.
_RETURNING = ("map", "map_async", "comap")


def subtask_metrics(
    chain: Iterable[tuple[str, str, str, bool, OperatorStatistics, bool, int, float]],
    subtask: int,
    busy_s: float,
    idle_s: float = 0.0,
    blocked_s: float = 0.0,
) -> list[OperatorMetrics]:
    """Derive the metrics of the operators of one task.

    Args:
        chain: For each operator, in order: uid, name, kind, whether it is one to one, its counts,
            whether it is the first of its loop, how many records it holds, and how far event time
            has come behind it.
        subtask: Which subtask.
        busy_s: Time in which the task worked.
        idle_s: Time in which it waited for input.
        blocked_s: Time in which it waited for a slower receiver.
    """
    derived = []
    sent_before = 0
    for uid, name, kind, one_to_one, counts, is_first, kept, watermark in chain:
        received = counts.entered if is_first else sent_before
        lost = counts.filtered + counts.late + counts.skipped + counts.dead_lettered + counts.failed
        if kind == "source":
            received = sent = emitted = counts.produced
            no_output = held = 0
        else:
            no_output = counts.no_output + counts.empty
            # What it holds is known now, its counts as of its last batch.
            kept = max(0, min(kept, received - lost - no_output))
            held = counts.pending + counts.failed + kept
            emitted = received - lost - no_output - kept
            sent = (emitted if one_to_one else counts.produced) + counts.flushed
        derived.append(
            OperatorMetrics(
                uid=uid,
                name=name,
                kind=kind,
                subtask=subtask,
                received=received + counts.pending,
                sent=sent,
                emitted=emitted,
                no_output=no_output,
                filtered=counts.filtered,
                late=counts.late,
                skipped=counts.skipped,
                dead_lettered=counts.dead_lettered,
                held=held,
                failed=counts.failed,
                retries=counts.retries,
                busy_s=busy_s,
                idle_s=idle_s,
                blocked_s=blocked_s,
                custom=dict(counts.custom),
                latency=counts.latency,
                watermark_s=watermark if math.isfinite(watermark) else None,
            )
        )
        sent_before = sent
    return derived


def summed(subtasks: list[OperatorMetrics]) -> list[OperatorMetrics]:
    """Add up the subtasks of each operator, keeping the order."""
    by_uid: dict[str, list[OperatorMetrics]] = {}
    for metrics in subtasks:
        by_uid.setdefault(metrics.uid, []).append(metrics)
    return [_sum(group) for group in by_uid.values()]


_ADDED = (
    "received",
    "sent",
    "emitted",
    "no_output",
    "filtered",
    "late",
    "skipped",
    "dead_lettered",
    "held",
    "failed",
    "retries",
    "busy_s",
    "idle_s",
    "blocked_s",
    "lifetime_s",
    "rate_per_s",
    "recent_rate_per_s",
)


def _sum(group: list[OperatorMetrics]) -> OperatorMetrics:
    first = group[0]
    totals = {name: sum(getattr(m, name) for m in group) for name in _ADDED}
    custom: dict[str, int] = {}
    for metrics in group:
        for name, count in metrics.custom.items():
            custom[name] = custom.get(name, 0) + count
    latencies = [m.latency for m in group if m.latency is not None]
    watermarks = [m.watermark_s for m in group if m.watermark_s is not None]
    return OperatorMetrics(
        uid=first.uid,
        name=first.name,
        kind=first.kind,
        subtask=None,
        custom=custom,
        latency=Histogram.sum(latencies) if latencies else None,
        watermark_s=min(watermarks) if len(watermarks) == len(group) else None,
        guarantee=first.guarantee,
        **totals,
    )


def rated(
    subtasks: list[OperatorMetrics],
    elapsed_s: float,
    before: JobMetrics | None,
    guarantees: Mapping[str, str] = MappingProxyType({}),
) -> list[OperatorMetrics]:
    """Add the rates, the time that they are of, and what sinks guarantee, to those of subtasks.

    Args:
        subtasks: Their counts now.
        elapsed_s: Time since the start of the job.
        before: The metrics that were asked for last, or None.
        guarantees: What each sink guarantees, by its uid.
    """
    since_s = elapsed_s - (before.elapsed_s if before is not None else 0.0)
    earlier = {(m.uid, m.subtask): m.received for m in before.subtasks} if before else {}
    return [
        replace(
            metrics,
            lifetime_s=elapsed_s,
            guarantee=guarantees.get(metrics.uid),
            rate_per_s=_per_second(metrics.received, elapsed_s),
            recent_rate_per_s=_per_second(
                metrics.received - earlier.get((metrics.uid, metrics.subtask), 0), since_s
            ),
        )
        for metrics in subtasks
    ]


def _per_second(records: int, elapsed_s: float) -> float:
    return records / elapsed_s if elapsed_s > 0 else 0.0
