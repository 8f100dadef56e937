"""The metrics of a job in the text format of Prometheus, by its own client library.

Counters carry ``job``, ``operator`` and ``subtask``, so that sums and rates are left to Prometheus.
Where two operators have the same name, the uid tells them apart.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from sage.common.errors import MissingExtraError

try:
    from prometheus_client import CollectorRegistry, generate_latest, start_http_server
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ImportError as error:
    raise MissingExtraError("prometheus-client", extra="isage-kernel[prometheus]") from error

if TYPE_CHECKING:
    from sage.kernel.metrics.fates import OperatorMetrics
    from sage.kernel.metrics.histogram import Histogram
    from sage.kernel.metrics.snapshot import EdgeMetrics, JobMetrics

__all__ = ["JobCollector", "MetricsServer", "exposition"]

_FATES = ("emitted", "no_output", "filtered", "late", "skipped", "dead_lettered", "held")
_STATES = {"busy": "busy_s", "idle": "idle_s", "backpressured": "blocked_s"}


def exposition(metrics: JobMetrics) -> str:
    """Return the metrics as text."""
    registry = CollectorRegistry()
    registry.register(JobCollector(lambda: metrics))
    return generate_latest(registry).decode()


class JobCollector(Collector):
    """Gives the metrics of a job to a registry of ``prometheus_client``, fresh at each scrape.

    Args:
        read: Returns the metrics as they stand, such as ``job.metrics``.
    """

    def __init__(self, read: Callable[[], JobMetrics]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering it does not read the job."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every family of metrics."""
        metrics = self._read()
        yield from _of_job(metrics)
        yield from _of_operators(metrics)
        yield from _of_edges(metrics)


class MetricsServer:
    """Serves the metrics of a job at ``http://127.0.0.1:<port>/metrics`` until it is closed.

    Args:
        read: Returns the metrics as they stand.
        port: Where to listen; 0 takes a free one.
        host: The interface to listen at; by default only this machine is served.

    Attributes:
        port: Where it listens.
        url: What Prometheus scrapes.
    """

    def __init__(
        self, read: Callable[[], JobMetrics], port: int = 0, host: str = "127.0.0.1"
    ) -> None:
        registry = CollectorRegistry()
        registry.register(JobCollector(read))
        self._server, self._thread = start_http_server(port, host, registry)
        self.port: int = self._server.server_port
        self.url = f"http://{host}:{self.port}/metrics"

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _of_job(metrics: JobMetrics) -> Iterator[Metric]:
    elapsed = GaugeMetricFamily(
        "sage_job_elapsed_seconds", "Time since the start of the job.", labels=["job", "status"]
    )
    elapsed.add_metric([metrics.job, metrics.status], metrics.elapsed_s)
    yield elapsed
    if metrics.latency is not None:
        family = HistogramMetricFamily(
            "sage_job_latency_seconds",
            "Time of sampled records from source to sink.",
            labels=["job"],
        )
        _add_histogram(family, [metrics.job], metrics.latency)
        yield family


def _of_operators(metrics: JobMetrics) -> Iterator[Metric]:
    rows = [
        ([metrics.job, name, str(subtask.subtask)], subtask)
        for subtask, name in _named(metrics.subtasks)
    ]

    def counters(
        name: str, text: str, label: str, values: Callable[[OperatorMetrics], dict[str, float]]
    ) -> Metric:
        labels = ["job", "operator", "subtask", *([label] if label else [])]
        family = CounterMetricFamily(f"sage_operator_{name}", text, labels=labels)
        for at, operator in rows:
            for value_of_label, value in values(operator).items():
                family.add_metric([*at, *([value_of_label] if label else [])], value)
        return family

    yield counters("records", "What became of the records.", "fate", _fates)
    yield counters("received", "Records that came in.", "", lambda o: {"": o.received})
    yield counters("sent", "Records that went out.", "", lambda o: {"": o.sent})
    yield counters("errors", "Records that its function gave up.", "", lambda o: {"": o.errors})
    yield counters("retries", "Repeated calls.", "", lambda o: {"": o.retries})
    yield counters("custom", "Counters of the functions.", "name", lambda o: dict(o.custom))
    yield counters(
        "task_seconds",
        "Where the time of its task goes.",
        "state",
        lambda o: {state: getattr(o, field) for state, field in _STATES.items()},
    )
    watermark = GaugeMetricFamily(
        "sage_operator_watermark_seconds",
        "How far event time has come behind it, in seconds since the epoch.",
        labels=["job", "operator", "subtask"],
    )
    for at, operator in rows:
        if operator.watermark_s is not None:
            watermark.add_metric(at, operator.watermark_s)
    if watermark.samples:
        yield watermark
    yield from _guarantees(metrics)
    yield from _of_checkpoints(metrics)
    latency = HistogramMetricFamily(
        "sage_operator_latency_seconds",
        "Time of sampled records in the operator.",
        labels=["job", "operator", "subtask"],
    )
    for at, operator in rows:
        if operator.latency is not None:
            _add_histogram(latency, at, operator.latency)
    if latency.samples:
        yield latency


def _of_checkpoints(metrics: JobMetrics) -> Iterator[Metric]:
    seen = metrics.checkpoints
    if seen is None:
        return
    for name, told, value in (
        ("completed", "Checkpoints that were completed.", float(seen.completed)),
        ("failed", "Checkpoints that were given up or could not be written.", float(seen.failed)),
    ):
        counter = CounterMetricFamily(f"sage_checkpoints_{name}", told, labels=["job"])
        counter.add_metric([metrics.job], value)
        yield counter
    for name, told, value in (
        (
            "duration_seconds",
            "From request to manifest of the newest checkpoint.",
            seen.last_duration_s,
        ),
        ("size_bytes", "Own files of the newest checkpoint.", seen.last_size_bytes),
        ("completed_at_seconds", "When the newest was complete.", seen.last_completed_at or 0.0),
        ("restarts", "How often the job was started again in this process.", seen.restarts),
    ):
        gauge = GaugeMetricFamily(f"sage_checkpoint_{name}", told, labels=["job"])
        gauge.add_metric([metrics.job], value)
        yield gauge


def _guarantees(metrics: JobMetrics) -> Iterator[Metric]:
    """What each sink promises: text, and so a label of a number that is always 1."""
    family = GaugeMetricFamily(
        "sage_sink_guarantee_info",
        "How often a record reaches the target of a sink when the job fails and goes on.",
        labels=["job", "operator", "guarantee"],
    )
    for operator, name in _named(metrics.operators):
        if operator.guarantee is not None:
            family.add_metric([metrics.job, name, operator.guarantee], 1)
    if family.samples:
        yield family


def _of_edges(metrics: JobMetrics) -> Iterator[Metric]:
    """Edges between the same operators are added up: which subtask it was is no label."""
    groups: dict[tuple[str, str], list[EdgeMetrics]] = defaultdict(list)
    for edge in metrics.edges:
        groups[edge.upstream, edge.downstream].append(edge)
    labels = ["job", "upstream", "downstream"]
    sent = CounterMetricFamily("sage_edge_sent", "Records that were sent.", labels=labels)
    received = CounterMetricFamily("sage_edge_received", "Records worked off.", labels=labels)
    fill = GaugeMetricFamily(
        "sage_edge_fill_ratio", "How full the fullest channel is, 0 to 1.", labels=labels
    )
    for ends, edges in groups.items():
        at = [metrics.job, *ends]
        sent.add_metric(at, sum(edge.sent for edge in edges))
        received.add_metric(at, sum(edge.received for edge in edges))
        fill.add_metric(at, max(edge.fill for edge in edges))
    if groups:
        yield from (sent, received, fill)


def _named(subtasks: Iterable[OperatorMetrics]) -> list[tuple[OperatorMetrics, str]]:
    known = list(subtasks)
    uids = Counter(name for name, _ in {(o.name, o.uid) for o in known})
    return [(o, o.name if uids[o.name] == 1 else f"{o.name} ({o.uid})") for o in known]


def _fates(operator: OperatorMetrics) -> dict[str, float]:
    return {fate: getattr(operator, fate) for fate in _FATES}


def _add_histogram(family: HistogramMetricFamily, labels: list[str], times: Histogram) -> None:
    buckets = [
        ("+Inf" if math.isinf(bound) else f"{bound:.3g}", count)
        for bound, count in times.cumulative()
    ]
    family.add_metric(labels, buckets, times.total_s)
