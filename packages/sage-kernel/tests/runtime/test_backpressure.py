"""Backpressure: a slow end stops its senders, memory stays bounded, nothing is dropped."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sage.kernel import LocalEnvironment, SinkFunction
from sage.kernel.testing import CollectingSink, Gate, check_conservation

CONFIG = {"batch_size": 8, "channel_batches": 2, "linger_ms": 0}


class Held(SinkFunction[int]):
    """Waits at its first record until the test has seen enough."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def write(self, record: int) -> None:
        if not self.gate.is_open:
            self.gate.wait()


def under_way(job: Any, given: int) -> int:
    """How many records were given by the source and have not been taken by the sink."""
    return int(given - job.metrics()["Held"].received)


def test_a_blocked_sink_stops_a_source() -> None:
    """While the sink is blocked no more is read than the channels and one batch hold."""
    gate = Gate()
    env = LocalEnvironment(config=CONFIG)
    stream = env.from_collection(range(20_000), name="source")
    stream.map(lambda n: n, parallelism=2).sink(Held(gate))
    job = env.submit()
    gate.wait_for_arrival()
    # Two edges of two channels: each holds its credits, one batch being worked on, one full buffer.
    bound = CONFIG["batch_size"] * (2 * 2) * (CONFIG["channel_batches"] + 3)
    most = 0
    for _ in range(300):
        metrics = job.metrics()
        most = max(most, metrics["source"].sent)
        assert sum(edge.in_channel for edge in metrics.edges) <= bound
    assert most <= bound
    gate.open()
    metrics = job.wait(60).metrics
    assert metrics["Held"].received == 20_000
    check_conservation(metrics, env.graph())


def test_a_blocked_sink_stops_a_generator() -> None:
    """A generator on its reader thread is not read ahead without bound."""
    gate = Gate()
    given = itertools.count()
    counted = [0]

    def numbers() -> Iterator[int]:
        for n in range(60_000):
            counted[0] = next(given)
            yield n

    env = LocalEnvironment(config=CONFIG)
    env.from_source(numbers).rebalance().map(lambda n: n, parallelism=2).sink(Held(gate))
    job = env.submit()
    gate.wait_for_arrival()
    for _ in range(300):
        job.metrics()
    assert counted[0] <= 20_000
    gate.open()
    assert job.wait(60).metrics["Held"].received == 60_000


def test_a_blocked_sink_stops_a_flat_map() -> None:
    """One record that becomes very many does not fill the memory with them."""
    gate, given = Gate(), [0]

    def many(n: int) -> Iterator[int]:
        for item in range(30_000):
            given[0] += 1
            yield item

    env = LocalEnvironment(config=CONFIG)
    stream = env.from_collection([1]).flat_map(many)
    stream.rebalance().map(lambda n: n, parallelism=2).sink(Held(gate))
    job = env.submit()
    gate.wait_for_arrival()
    for _ in range(300):
        job.metrics()
    read_ahead = given[0]
    gate.open()
    assert job.wait(60).metrics["Held"].received == 30_000
    assert read_ahead <= 1000


def test_a_blocked_call_stops_an_async_map() -> None:
    """No more calls are under way than ``concurrency``, and no more records wait than a window."""
    gate, started = Gate(), [0]

    async def call(n: int) -> int:
        import asyncio

        started[0] += 1
        while not gate.is_open:
            await asyncio.sleep(0)
        return n

    env = LocalEnvironment(config=CONFIG)
    env.from_collection(range(1000), name="source").map_async(call, concurrency=3).sink(
        sink := CollectingSink()
    )
    job = env.submit()
    while started[0] < 3:
        job.metrics()
    for _ in range(200):
        assert job.metrics()["source"].sent <= 100
        assert started[0] == 3
    gate.open()
    job.wait(60)
    assert sink.records == list(range(1000))


@pytest.mark.parametrize("parallelism", [1, 2, 4])
def test_tiny_channels_drop_nothing(parallelism: int) -> None:
    """With one record a batch and one batch a channel every record of every branch arrives."""
    env = LocalEnvironment(config={"batch_size": 1, "channel_batches": 1})
    numbers = env.from_collection(range(500))
    left = numbers.map(lambda n: n, parallelism=parallelism)
    right = numbers.rebalance().filter(lambda n: n % 2, parallelism=parallelism)
    sink = CollectingSink()
    left.union(right).key_by(lambda n: n).count(parallelism=parallelism).sink(sink)
    metrics = env.submit().wait(60).metrics
    assert len(sink.records) == 750
    check_conservation(metrics, env.graph())


MANY = """
import resource, sys
from sage.kernel import LocalEnvironment
env = LocalEnvironment()
total = 0
def slow(n):
    global total
    total += n
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
records = 10_000_000
env.from_collection(range(records)).map(lambda n: n, parallelism=2).sink(slow)
env.execute()
assert total == records * (records - 1) // 2
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_ten_million_records_take_a_bounded_memory() -> None:
    """10 M records through a sink that is slower than its two senders grow the process < 64 MB."""
    done = subprocess.run(
        [sys.executable, "-c", MANY], capture_output=True, text=True, check=True, timeout=110
    )
    assert int(done.stdout) < 64
