"""What ``job.metrics()`` says: counts, rates, shares, queue fill, and its forms."""

from __future__ import annotations

import builtins
import json
import logging
import sys
import urllib.request
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sage.common.errors import MissingExtraError
from sage.kernel import LocalEnvironment, MapFunction, SourceFunction
from sage.kernel.metrics.fates import OperatorMetrics
from sage.kernel.metrics.snapshot import EdgeMetrics, JobMetrics, rated, summed
from sage.kernel.testing import CollectingSink, Gate


class _Counting(MapFunction[int, int]):
    def open(self, context: Any) -> None:
        self.seen = context.metrics.counter("seen")

    def map(self, record: int) -> int | None:
        self.seen.inc()
        if record == 3:
            raise ValueError(record)
        return record or None


def counted() -> JobMetrics:
    env = LocalEnvironment("counted")
    stream = env.from_collection(range(6), name="source")
    mapped = stream.rebalance().map(_Counting, parallelism=2, on_error="skip", name="map")
    mapped.filter(lambda n: n % 2, name="odd").sink(CollectingSink(), name="sink")
    return env.execute().metrics


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_text_has_every_fate_by_operator_and_subtask() -> None:
    """The exposition can be parsed, and its counters add up to those of the metrics."""
    metrics = counted()
    found = samples(metrics.to_prometheus())

    def total(family: str, **labels: str) -> float:
        wanted = {("job", "counted"), *labels.items()}
        return sum(v for (name, at), v in found.items() if name == family and wanted <= at)

    for operator in metrics.operators:
        for fate in ("emitted", "no_output", "filtered", "skipped", "held"):
            got = total("sage_operator_records_total", operator=operator.name, fate=fate)
            assert got == getattr(operator, fate)
        assert total("sage_operator_sent_total", operator=operator.name) == operator.sent
    assert total("sage_operator_custom_total", operator="map", name="seen") == 6
    assert total("sage_operator_errors_total", operator="map") == 1
    assert total("sage_edge_sent_total", upstream="source", downstream="map") == 6
    assert len({at for n, at in found if n == "sage_operator_received_total"}) == len(
        metrics.subtasks
    )


def test_labels_are_escaped() -> None:
    """Names with quotes, backslashes and line ends come out of the exposition as they were."""
    name = 'a "b"\\c\nd'
    operator = OperatorMetrics(uid="0", name=name, kind="map", subtask=0, received=1, emitted=1)
    edges = [EdgeMetrics(name, name, 1, 1)]
    text = JobMetrics(name, "running", 1.0, [operator], [operator], edges).to_prometheus()
    labels = [dict(at) for (n, at), _ in samples(text).items() if n.startswith("sage_operator")]
    assert labels
    assert all(at["operator"] == at["job"] == name for at in labels)


def test_operators_of_the_same_name_are_told_apart() -> None:
    """Two operators of one name never make one sample twice."""
    twins = [OperatorMetrics(uid=u, name="map", kind="map", subtask=0, received=1) for u in "ab"]
    text = JobMetrics("job", "running", 1.0, twins, twins).to_prometheus()
    names = {dict(at)["operator"] for (n, at) in samples(text) if n == "sage_operator_sent_total"}
    assert names == {"map (a)", "map (b)"}


def test_latencies_become_histograms() -> None:
    """With sampling on, Prometheus gets the latency of the job and of each operator."""
    env = LocalEnvironment("timed", config={"sample_trace": 1})
    env.from_collection(range(5)).map(abs, name="abs").sink(CollectingSink(), name="sink")
    found = samples(env.execute().metrics.to_prometheus())
    job = {("job", "timed")}
    assert found["sage_job_latency_seconds_count", frozenset(job)] == 5
    of_abs = job | {("operator", "abs"), ("subtask", "0")}
    assert found["sage_operator_latency_seconds_count", frozenset(of_abs)] == 5
    infinite = frozenset(of_abs | {("le", "+Inf")})
    assert found["sage_operator_latency_seconds_bucket", infinite] == 5


def test_a_missing_client_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error says what to install."""
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("prometheus_client"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "sage.kernel.metrics.prometheus", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"isage-kernel\[prometheus\]"):
        JobMetrics("job", "running", 1.0).to_prometheus()


def test_metrics_are_served_to_a_scraper() -> None:
    """``serve_metrics`` answers on this machine with the counts of the moment, until closed."""
    gate = Gate()

    def wait(record: int) -> int:
        gate.wait()
        return record

    env = LocalEnvironment("served")
    env.from_collection([1]).map(wait, name="wait").sink(CollectingSink())
    job = env.submit()
    gate.wait_for_arrival()
    with job.serve_metrics() as server:
        with urllib.request.urlopen(server.url, timeout=10) as answer:
            before = samples(answer.read().decode())
        gate.open()
        job.wait(30)
        with urllib.request.urlopen(server.url, timeout=10) as answer:
            after = samples(answer.read().decode())
    at = frozenset({"job": "served", "operator": "wait", "subtask": "0"}.items())
    assert before["sage_operator_sent_total", at] == 0
    assert after["sage_operator_sent_total", at] == 1


def test_json_and_plain_data_say_the_same() -> None:
    """``to_json`` is ``to_dict``, with every count of every operator and subtask."""
    metrics = counted()
    data = json.loads(metrics.to_json())
    assert data == metrics.to_dict()
    [operator] = [o for o in data["operators"] if o["name"] == "map"]
    assert (operator["received"], operator["skipped"], operator["errors"]) == (6, 1, 1)
    assert operator["custom"] == {"seen": 6}
    assert [s["subtask"] for s in data["subtasks"] if s["name"] == "map"] == [0, 1]


def test_rates_count_from_the_start_and_from_the_snapshot_before() -> None:
    """Records per second: over the whole job, and since the metrics were asked for last."""

    def at(elapsed_s: float, received: int, before: JobMetrics | None) -> JobMetrics:
        counts = [
            OperatorMetrics(uid="m", name="m", kind="map", subtask=i, received=received)
            for i in range(2)
        ]
        subtasks = rated(counts, elapsed_s, before)
        return JobMetrics("job", "running", elapsed_s, summed(subtasks), subtasks)

    first = at(2.0, 100, None)
    assert (first["m"].rate_per_s, first["m"].recent_rate_per_s) == (100, 100)
    second = at(4.0, 400, first)
    assert (second["m"].rate_per_s, second["m"].recent_rate_per_s) == (200, 300)
    assert at(4.0, 400, second)["m"].recent_rate_per_s == 0


def test_shares_say_where_the_time_of_a_task_went() -> None:
    """Busy, idle and backpressured shares are shares of the job's time, over all subtasks."""
    tasks = [
        OperatorMetrics(
            uid="m", name="m", kind="map", subtask=i, received=4, busy_s=b, idle_s=1.0, blocked_s=1
        )
        for i, b in enumerate([2.0, 0.0])
    ]
    first, second = rated(tasks, 4.0, None)
    assert (first.busy_share, first.idle_share, first.backpressured_share) == (0.5, 0.25, 0.25)
    assert second.busy_share == 0  # the rest of its time it had ended
    [both] = summed([first, second])
    assert (both.busy_share, both.idle_share) == (0.25, 0.25)
    assert (first.mean_cost_s, both.mean_cost_s) == (0.5, 0.25)
    unused = OperatorMetrics(uid="m", name="m", kind="map", subtask=0)
    assert (unused.busy_share, unused.mean_cost_s) == (0, 0)


def test_a_call_that_is_under_way_counts_as_busy() -> None:
    """A task that is stuck in a function shows as working before the function returns."""
    gate = Gate()
    env = LocalEnvironment()
    env.from_collection([1]).for_each(lambda n: gate.wait(), name="stuck")
    job = env.submit()
    gate.wait_for_arrival()
    first = job.metrics()["stuck"].busy_s
    assert job.metrics()["stuck"].busy_s > first
    gate.open()
    job.wait(30)


def test_a_slow_receiver_fills_its_channel_and_blocks_its_sender() -> None:
    """With a stuck sink the channel is full, and the sender's wait counts as backpressure."""
    gate = Gate()

    def stuck(record: int) -> None:
        gate.wait()

    reads = Gate()
    reads.open()

    class Eager(SourceFunction[int]):
        def read(self, max_records: int) -> list[int] | None:
            reads.wait()
            return [1] if reads.arrivals < 10 else None

    env = LocalEnvironment(config={"batch_size": 1, "channel_batches": 2})
    source = env.from_source(Eager(), name="source")
    source.union(env.from_collection([]), name="union").for_each(stuck, name="sink")
    job = env.submit()
    gate.wait_for_arrival()
    reads.wait_for_arrival(3)  # so two batches have been sent, and the third has no credit
    full = next(e for e in job.metrics().edges if e.upstream == "source")
    assert (full.batches, full.capacity, full.fill) == (2, 2, 1)
    gate.open()
    metrics = job.wait(30).metrics
    assert metrics["source"].blocked_s > 0
    assert [edge.fill for edge in metrics.edges] == [0, 0]


def test_a_task_that_waits_for_input_is_idle() -> None:
    """While a source has nothing, the task behind it is idle and not busy."""
    gate = Gate()

    def late() -> Any:
        gate.wait()
        yield 1

    env = LocalEnvironment()
    behind = env.from_source(late, name="source").union(env.from_collection([]))
    behind.map(abs, name="abs").sink(CollectingSink())
    job = env.submit()
    gate.wait_for_arrival()
    gate.open()
    metrics = job.wait(30).metrics
    assert metrics["abs"].idle_s > 0
    assert metrics["source"].idle_s > metrics["source"].busy_s


def test_a_forgotten_return_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    """A function whose every result is None is logged at the end of the job, a single time."""

    def forgets(record: int) -> None:
        str(record)

    env = LocalEnvironment("forgetful")
    env.from_collection([1, 2]).map(forgets, name="forgets").sink(CollectingSink())
    with caplog.at_level(logging.WARNING, "sage.job"):
        job = env.submit()
        job.wait(30)
        job.result()
    [record] = [r for r in caplog.records if r.name == "sage.job"]
    assert "'forgetful'" in record.message
    assert "2 records of 'forgets' ended in None" in record.message


def test_a_filter_that_drops_all_is_no_mistake(caplog: pytest.LogCaptureFixture) -> None:
    """Only functions that return their output are suspected."""
    env = LocalEnvironment()
    env.from_collection([1, 2]).filter(lambda n: n > 5).sink(CollectingSink())
    env.execute()
    assert not caplog.records
