"""Alerts: rules on the metrics of a job, and who is told when one holds.

A rule reads ``METRIC [of OPERATOR] COMPARISON NUMBER [for TIME]``, such as
``p95_latency_s > 2 for 60s`` or ``errors of clean >= 10``. It fires once when it has held for that
time without a break, and again only after it has ceased to hold in between.
"""

from __future__ import annotations

import json
import logging
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields

from sage.common.errors import ConfigError, Problem
from sage.common.suggestions import did_you_mean
from sage.kernel.metrics.fates import OperatorMetrics
from sage.kernel.metrics.snapshot import JobMetrics

__all__ = ["Alert", "AlertRule", "AlertState", "Receiver", "receiver_of"]

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_UNITS_S = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_RULE = re.compile(
    r"\s*(?P<metric>\w+)(?:\s+of\s+(?P<operator>.+?))?\s*(?P<comparison>>=|<=|==|!=|>|<)"
    r"\s*(?P<limit>[-+]?[\d.]+(?:e[-+]?\d+)?)(?:\s+for\s+(?P<time>[\d.]+)\s*(?P<unit>ms|s|min|h))?\s*"
)
_PERCENTILES = {"p50_latency_s": 50, "p95_latency_s": 95, "p99_latency_s": 99}
_SHARES = ("busy_share", "idle_share", "backpressured_share", "mean_cost_s", "errors")
_COUNTS = tuple(f.name for f in fields(OperatorMetrics) if f.type in ("int", "float"))
_KNOWN = (*_COUNTS, *_SHARES, *_PERCENTILES, "fill", "elapsed_s")


@dataclass(frozen=True)
class Alert:
    """A rule that has held for its time.

    Attributes:
        job: Name of the job.
        rule: The rule, as it was written.
        operator: The operator (or edge) at which it holds, or "" for the job as a whole.
        value: The value of the metric now.
    """

    job: str
    rule: str
    operator: str
    value: float

    def __str__(self) -> str:
        at = f" at {self.operator!r}" if self.operator else ""
        return f"job {self.job!r}: {self.rule}{at}: it is {self.value:g}"


@dataclass(frozen=True)
class AlertRule:
    """A condition on a metric.

    Attributes:
        text: As it was written.
        metric: A count, time, rate or share of `OperatorMetrics`; ``p50_latency_s``,
            ``p95_latency_s``, ``p99_latency_s``; ``fill`` of the channels; ``elapsed_s``.
        operator: Name of the operator, or None: latency of the job, else any operator.
        comparison: How the value compares with the limit.
        limit: The limit.
        for_s: How long it must hold without a break, in seconds.
    """

    text: str
    metric: str
    operator: str | None
    comparison: str
    limit: float
    for_s: float = 0.0

    @classmethod
    def parse(cls, text: str) -> AlertRule:
        """Return the rule that a text says.

        Raises:
            ConfigError: if it is no rule, or there is no such metric.

        Example:
            >>> rule = AlertRule.parse("errors of clean >= 10 for 2min")
            >>> rule.metric, rule.operator, rule.limit, rule.for_s
            ('errors', 'clean', 10.0, 120.0)
        """
        match = _RULE.fullmatch(text)
        if match is None:
            wanted = "expected METRIC [of OPERATOR] COMPARISON NUMBER [for TIME]"
            raise ConfigError("alert", [Problem("$.rule", f"{wanted}, got {text!r}")])
        metric = match["metric"]
        if metric not in _KNOWN:
            told = f"unknown metric {metric!r}{did_you_mean(metric, _KNOWN)}"
            raise ConfigError("alert", [Problem("$.rule", told)])
        try:
            limit = float(match["limit"])
            for_s = float(match["time"] or 0) * _UNITS_S[match["unit"] or "s"]
        except ValueError as error:
            raise ConfigError("alert", [Problem("$.rule", f"{error} in {text!r}")]) from error
        return cls(text.strip(), metric, match["operator"], match["comparison"], limit, for_s)

    def check_fits(self, metrics: JobMetrics) -> None:
        """Refuse a rule that could never hold for a job.

        Raises:
            ConfigError: if the job has no such operator, or does not measure latencies.
        """
        names = [o.name for o in metrics.operators]
        if self.operator is not None and self.operator not in names:
            told = f"no operator is called {self.operator!r}{did_you_mean(self.operator, names)}"
            raise ConfigError("alert", [Problem("$.rule", told)])
        if self.metric in _PERCENTILES and metrics.latency is None:
            told = f"{self.metric} is measured only with the option sample_trace"
            raise ConfigError("alert", [Problem("$.rule", told)])

    def holds_at(self, metrics: JobMetrics) -> tuple[str, float] | None:
        """Return the first operator at which it holds now, and the value there, or None."""
        compare = _COMPARISONS[self.comparison]
        for name, value in self._values(metrics):
            if compare(value, self.limit):
                return name, value
        return None

    def _values(self, metrics: JobMetrics) -> Iterator[tuple[str, float]]:
        if self.metric == "elapsed_s":
            yield "", metrics.elapsed_s
        elif self.metric == "fill":
            for edge in metrics.edges:
                if self.operator in (None, edge.downstream):
                    yield f"{edge.upstream} → {edge.downstream}", edge.fill
        elif self.metric in _PERCENTILES and self.operator is None:
            if metrics.latency is not None and metrics.latency.count:
                yield "", metrics.latency.percentile(_PERCENTILES[self.metric])
        else:
            for each in metrics.operators:
                if self.operator in (None, each.name):
                    yield from self._value(each)

    def _value(self, of: OperatorMetrics) -> Iterator[tuple[str, float]]:
        if self.metric not in _PERCENTILES:
            yield of.name, getattr(of, self.metric)
        elif of.latency is not None:
            yield of.name, of.latency.percentile(_PERCENTILES[self.metric])


class AlertState:
    """Since when a rule holds, and whether it has fired.

    Args:
        rule: The rule.
    """

    def __init__(self, rule: AlertRule) -> None:
        self.rule = rule
        self._since_s: float | None = None
        self._has_fired = False

    def check(self, metrics: JobMetrics, now_s: float) -> Alert | None:
        """Return an alert if the rule has just held for its time.

        Args:
            metrics: The metrics as they stand.
            now_s: The time, on a clock that never goes back.
        """
        found = self.rule.holds_at(metrics)
        if found is None:
            self._since_s, self._has_fired = None, False
            return None
        if self._since_s is None:
            self._since_s = now_s
        if self._has_fired or now_s - self._since_s < self.rule.for_s:
            return None
        self._has_fired = True
        return Alert(metrics.job, self.rule.text, *found)


Receiver = Callable[[Alert], object]


def receiver_of(to: str | Receiver) -> Receiver:
    """Return who is told: a callback, the log for "log", or a webhook for its URL.

    Raises:
        ConfigError: if it is none of these.
    """
    if callable(to):
        return to
    if to == "log":
        return _log
    if to.startswith(("http://", "https://")):
        return lambda alert: _post(to, alert)
    expected = "expected 'log', an http(s) URL or a callable"
    raise ConfigError("alert", [Problem("$.to", f"{expected}, got {to!r}")])


def _log(alert: Alert) -> None:
    logging.getLogger("sage.job").warning("alert: %s", alert)


def _post(url: str, alert: Alert) -> None:
    import urllib.request

    body = json.dumps({**asdict(alert), "text": str(alert)}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10):
        pass
