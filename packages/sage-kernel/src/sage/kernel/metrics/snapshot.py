"""Turns the raw counts of running tasks into the metrics of a job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sage.kernel.metrics.fates import OperatorMetrics, OperatorStatistics

__all__ = ["EdgeMetrics", "JobMetrics", "subtask_metrics", "summed"]


@dataclass(frozen=True)
class EdgeMetrics:
    """An edge between two tasks: ``sent = received + in_channel``."""

    upstream: str
    downstream: str
    sent: int
    received: int

    @property
    def in_channel(self) -> int:
        """Records that were sent and are not worked off yet."""
        return self.sent - self.received


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
    """

    job: str
    status: str
    elapsed_s: float
    operators: list[OperatorMetrics] = field(default_factory=list)
    subtasks: list[OperatorMetrics] = field(default_factory=list)
    edges: list[EdgeMetrics] = field(default_factory=list)

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
            if o.kind == "map" and o.received and o.received == o.no_output
        ]


def subtask_metrics(
    chain: Iterable[tuple[str, str, str, bool, OperatorStatistics, bool]],
    subtask: int,
    busy_s: float,
) -> list[OperatorMetrics]:
    """Derive the metrics of the operators of one task.

    Args:
        chain: For each operator, in order: uid, name, kind, whether it is one to one, its counts,
            and whether it is the first of its loop.
        subtask: Which subtask.
        busy_s: Time in which the task worked.
    """
    derived = []
    sent_before = 0
    for uid, name, kind, one_to_one, counts, is_first in chain:
        received = counts.entered if is_first else sent_before
        lost = counts.filtered + counts.late + counts.skipped + counts.dead_lettered + counts.failed
        if kind == "source":
            received = sent = emitted = counts.produced
            no_output = held = 0
        else:
            no_output = counts.no_output + counts.empty
            held = counts.pending + counts.failed
            emitted = received - lost - no_output
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
                retries=counts.retries,
                busy_s=busy_s,
                custom=dict(counts.custom),
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
    "retries",
    "busy_s",
)


def _sum(group: list[OperatorMetrics]) -> OperatorMetrics:
    first = group[0]
    totals = {name: sum(getattr(m, name) for m in group) for name in _ADDED}
    custom: dict[str, int] = {}
    for metrics in group:
        for name, count in metrics.custom.items():
            custom[name] = custom.get(name, 0) + count
    return OperatorMetrics(
        uid=first.uid, name=first.name, kind=first.kind, subtask=None, custom=custom, **totals
    )
