"""The counts of a task's operators and of its channels, as metrics."""

from __future__ import annotations

import time

from sage.kernel.metrics.fates import OperatorMetrics
from sage.kernel.metrics.snapshot import EdgeMetrics, subtask_metrics
from sage.kernel.runtime.channel import UNLIMITED, Channel
from sage.kernel.runtime.task import Task

__all__ = ["edge_metrics_of", "metrics_of"]


def metrics_of(task: Task) -> list[OperatorMetrics]:
    """Return the metrics of every operator of a task, the source first."""
    rows = []
    if task.source is not None:
        t = task.source.transformation
        source = task.source
        how = ("source", True)
        rows.append((t.uid, t.name, *how, source.statistics, True, 0, source.watermark_s))
    for segment in task.chain.segments:
        for index, node in enumerate(segment.nodes):
            t, operator = node.transformation, node.live.operator
            how = (operator.kind, operator.one_to_one)
            kept = (index == 0, node.live.held, node.watermark_s)
            rows.append((t.uid, t.name, *how, node.statistics, *kept))
    clock, since = task.clock, task.clock.working_since
    under_way_s = 0.0 if since is None else max(0.0, time.monotonic() - since)
    busy_s = clock.busy_s + under_way_s
    return subtask_metrics(rows, task.subtask, busy_s, clock.idle_s, clock.blocked_s)


def edge_metrics_of(channel: Channel) -> EdgeMetrics:
    """Return the counts of a channel."""
    return EdgeMetrics(
        *channel.edge,
        channel.sent,
        channel.received,
        max(0, channel.batches_sent - channel.batches_done),
        0 if channel.capacity >= UNLIMITED else channel.capacity,
    )
