"""Alert rules on the metrics of a job."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from sage.common.errors import ConfigError
from sage.kernel import LocalEnvironment
from sage.kernel.api.job import Job
from sage.kernel.metrics.alert import Alert, AlertRule, AlertState
from sage.kernel.metrics.fates import OperatorMetrics
from sage.kernel.metrics.snapshot import EdgeMetrics, JobMetrics
from sage.kernel.testing import Gate, ManualClock


def with_errors(**skipped: int) -> JobMetrics:
    operators = [
        OperatorMetrics(uid=name, name=name, kind="map", subtask=None, skipped=count)
        for name, count in skipped.items()
    ]
    return JobMetrics("job", "running", 5.0, operators, edges=[EdgeMetrics("a", "b", 9, 1, 8, 8)])


@pytest.mark.parametrize(
    ("text", "operator", "limit", "for_s"),
    [
        ("errors > 2", None, 2, 0),
        (" errors>=2.5 for 60s ", None, 2.5, 60),
        ("errors of my map == 1e3 for 2 min", "my map", 1000, 120),
        ("errors of a-b < -1 for 500ms", "a-b", -1, 0.5),
    ],
)
def test_a_rule_is_read(text: str, operator: str | None, limit: float, for_s: float) -> None:
    """Metric, operator, comparison, limit and time are found, whatever the blanks."""
    rule = AlertRule.parse(text)
    assert (rule.operator, rule.limit, rule.for_s) == (operator, limit, for_s)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("errors", "expected METRIC"),
        ("errors > many", "expected METRIC"),
        ("errors > 1.2.3", "could not convert"),
        ("errors > 1 for 5 fortnights", "expected METRIC"),
        ("eror > 1", "unknown metric 'eror'.*errors"),
        ("uid > 1", "unknown metric"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, told: str) -> None:
    """A mistake is told when the rule is given, not when it never fires."""
    with pytest.raises(ConfigError, match=told):
        AlertRule.parse(text)


def test_a_rule_fires_once_when_it_has_held_long_enough() -> None:
    """A break starts the time anew, and an alert comes again only after one."""
    clock, state = ManualClock(), AlertState(AlertRule.parse("errors of a > 2 for 60s"))

    def check(errors: int, after_s: float) -> Alert | None:
        clock.advance(after_s)
        return state.check(with_errors(a=errors), clock())

    assert check(3, 0) is None
    assert check(1, 59) is None  # a break
    assert check(3, 1) is None
    assert check(3, 59) is None
    assert check(4, 1) == Alert("job", "errors of a > 2 for 60s", "a", 4)
    assert check(5, 100) is None
    assert check(0, 1) is None
    assert check(3, 1) is None
    assert check(3, 60) is not None


def test_without_an_operator_any_of_them_counts() -> None:
    """The alert names the first operator at which the rule holds."""
    found = AlertRule.parse("errors > 2").holds_at(with_errors(a=1, b=3, c=9))
    assert found == ("b", 3)
    assert AlertRule.parse("errors of c > 2").holds_at(with_errors(a=9, c=2)) is None
    assert AlertRule.parse("fill >= 1").holds_at(with_errors()) == ("a → b", 1)
    assert AlertRule.parse("elapsed_s > 4").holds_at(with_errors()) == ("", 5)


@pytest.fixture
def stuck() -> Iterator[tuple[Job, Gate]]:
    """A job that has taken in one record, and waits."""
    gate = Gate()
    env = LocalEnvironment("stuck", config={"sample_trace": 1})
    env.from_collection([1]).for_each(lambda n: gate.wait(), name="sink")
    job = env.submit()
    gate.wait_for_arrival()
    yield job, gate
    gate.open()
    job.wait(30)


def test_a_running_job_tells_a_callback(stuck: tuple[Job, Gate]) -> None:
    """A rule that holds while the job runs is told while it runs."""
    told, heard = threading.Event(), []

    def hear(alert: Alert) -> None:
        heard.append(alert)
        told.set()

    stuck[0].alert("busy_s of sink > 0", hear, every_s=0.001)
    assert told.wait(30)
    assert (heard[0].job, heard[0].operator) == ("stuck", "sink")
    assert heard[0].value > 0


def test_the_end_of_a_job_is_looked_at_too(caplog: pytest.LogCaptureFixture) -> None:
    """What holds only at the end is told, also if nobody looked in between; by default logged."""
    gate = Gate()
    env = LocalEnvironment("short", config={"sample_trace": 1})
    env.from_collection([1, 2]).map(lambda n: gate.wait(), name="map").for_each(str)
    job = env.submit()
    gate.wait_for_arrival()
    with caplog.at_level(logging.WARNING, "sage.job"):
        job.alert("no_output of map == 2", every_s=3600)
        job.alert("p99_latency_s of map > 0", every_s=3600)
        gate.open()
        job.wait(30)
    alerts = sorted(r.message for r in caplog.records if r.message.startswith("alert"))
    assert alerts[0] == "alert: job 'short': no_output of map == 2 at 'map': it is 2"
    assert alerts[1].startswith("alert: job 'short': p99_latency_s of map > 0 at 'map': it is")


def test_a_webhook_gets_the_alert_as_json(stuck: tuple[Job, Gate]) -> None:
    """The URL is posted a JSON document with the rule, the operator and the value."""
    posted: list[Any] = []
    arrived = threading.Event()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            arrived.set()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        stuck[0].alert("busy_s > 0", f"http://127.0.0.1:{server.server_port}/x", every_s=0.001)
        assert arrived.wait(30)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert posted[0]["rule"] == "busy_s > 0"
    assert posted[0]["job"] == "stuck"
    assert "it is" in posted[0]["text"]


def test_a_receiver_that_fails_ends_no_watch(
    stuck: tuple[Job, Gate], caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be delivered is logged, and the job goes on."""
    tried = threading.Event()

    def fail(alert: Alert) -> None:
        tried.set()
        raise OSError("down")

    with caplog.at_level(logging.ERROR, "sage.job"):
        stuck[0].alert("busy_s > 0", fail, every_s=0.001)
        assert tried.wait(30)
        stuck[1].open()
        stuck[0].wait(30)
    assert any("could not be delivered" in r.message for r in caplog.records)


@pytest.mark.parametrize(
    ("rule", "to", "told"),
    [
        ("errors of sinc > 1", "log", "no operator is called 'sinc'.*sink"),
        ("errors > 1", "mail", "expected 'log'"),
    ],
)
def test_what_could_never_be_told_is_refused(
    stuck: tuple[Job, Gate], rule: str, to: str, told: str
) -> None:
    """A rule on an operator that is not there, or a receiver that is none, is an error at once."""
    with pytest.raises(ConfigError, match=told):
        stuck[0].alert(rule, to)


def test_a_latency_needs_sampling() -> None:
    """A rule on a latency that nobody measures is refused, and says what turns it on."""
    env = LocalEnvironment()
    env.from_collection([1]).for_each(str)
    job = env.submit(autostop=True)
    with pytest.raises(ConfigError, match="sample_trace"):
        job.alert("p95_latency_s > 2 for 60s")
