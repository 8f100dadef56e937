"""W5: latency; one record each millisecond through five maps, source to sink.

A record is the time at which the source had it, in nanoseconds; the sink subtracts that from its
own. What the scheduler adds before the source is asked is not in it: nobody here controls that.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target
from sage.benchmark.statistics import percentile

__all__ = ["ROW", "STEPS", "Ticker", "direct_calls", "measure", "sage_generator", "sage_polling"]

INTERVAL_S = 0.001
WARM_UP = 200
now_ns = time.perf_counter_ns

STEPS: tuple[Callable[[int], int], ...] = (
    lambda stamp: stamp + 1,
    lambda stamp: stamp - 1,
    lambda stamp: stamp + 2,
    lambda stamp: stamp - 2,
    lambda stamp: stamp + 0,
)
"""The user's functions: cheap, and together they leave the time as it was."""


class Ticker:
    """Has one record each millisecond.

    Args:
        count: How many in all.
    """

    def __init__(self, count: int) -> None:
        self._left = count
        self._due = time.perf_counter() + INTERVAL_S

    @property
    def wait_s(self) -> float:
        """Seconds until the next record is due, at least 0."""
        return max(self._due - time.perf_counter(), 0.0)

    def poll(self) -> list[int] | None:
        """Return the record that is due, an empty list if none is, None at the end."""
        if time.perf_counter() < self._due:
            return []
        if not self._left:
            return None
        self._left -= 1
        self._due += INTERVAL_S
        return [now_ns()]

    def each(self) -> Iterator[int]:
        """Yield the records, sleeping between them."""
        while True:
            time.sleep(self.wait_s)
            records = self.poll()
            if records is None:
                return
            yield from records


def direct_calls(ticker: Ticker, sink: Callable[[int], None]) -> None:
    """The limit: a polling loop that calls the five functions and the sink."""
    first, second, third, fourth, fifth = STEPS
    while (records := ticker.poll()) is not None:
        for record in records:
            sink(fifth(fourth(third(second(first(record))))))
        if not records:
            time.sleep(50e-6)


def sage_polling(ticker: Ticker, sink: Callable[[int], None]) -> None:
    """SAGE with a ``SourceFunction`` that is polled."""
    from sage.kernel import LocalEnvironment, SourceFunction

    class Ticking(SourceFunction[int]):
        def read(self, max_records: int) -> list[int] | None:
            return ticker.poll()

    _sage(LocalEnvironment(), Ticking(), sink)


def sage_generator(ticker: Ticker, sink: Callable[[int], None]) -> None:
    """SAGE with a generator, which runs on a reader thread."""
    from sage.kernel import LocalEnvironment

    _sage(LocalEnvironment(), ticker.each, sink)


def _sage(env: Any, source: Any, sink: Callable[[int], None]) -> None:
    stream = env.from_source(source)
    for function in STEPS:
        stream = stream.map(function)
    stream.sink(sink)
    env.execute()


def measure(
    contestant: Callable[[Ticker, Callable[[int], None]], None], request: Request
) -> Sample:
    """Run one contestant; the first records are the warm-up and are not counted."""
    latencies: list[int] = []
    append = latencies.append

    def sink(stamp: int) -> None:
        append(now_ns() - stamp)

    gc.collect()
    cpu, started = time.process_time(), time.perf_counter()
    contestant(Ticker(WARM_UP + request["size"]), sink)
    cpu_share = (time.process_time() - cpu) / (time.perf_counter() - started)
    if len(latencies) != WARM_UP + request["size"]:
        raise ValueError(f"{len(latencies)} records arrived of {WARM_UP + request['size']}")
    micros = [latency / 1000 for latency in latencies[WARM_UP:]]
    return {
        "p50_us": percentile(micros, 0.5),
        "p99_us": percentile(micros, 0.99),
        "max_us": max(micros),
        "cpu_share": cpu_share,
    }


_HERE = "sage.benchmark.workloads.w5_latency"
_PEERS = "sage.benchmark.peers"

ROW = Row(
    key="W5",
    title="latency: one record each ms through five maps, source to sink",
    limit="direct calls from a polling loop",
    measure=f"{_HERE}:measure",
    size=2_000,
    quick_size=50,
    contestants=(
        Contestant(name="direct calls", target=f"{_HERE}:direct_calls", role=Role.LIMIT),
        Contestant(
            name="SAGE",
            target=f"{_HERE}:sage_polling",
            role=Role.SAGE,
            judged=True,
            note="polled SourceFunction",
        ),
        Contestant(
            name="SAGE, generator",
            target=f"{_HERE}:sage_generator",
            role=Role.SAGE,
            note="generator on its reader thread; its p50 should stay under 40 µs",
        ),
        Contestant(
            name="bytewax",
            target=f"{_PEERS}.bytewax_peer:w5",
            role=Role.PEER,
            needs="bytewax",
        ),
        Contestant(
            name="streamz",
            target=f"{_PEERS}.streamz_peer:w5",
            role=Role.PEER,
            needs="streamz",
            note="emit() from a polling loop: plain nested calls",
        ),
        Contestant(
            name="pathway",
            target=f"{_PEERS}.pathway_peer:w5",
            role=Role.PEER,
            needs="pathway",
            note="Python connector, autocommit every ms",
        ),
    ),
    figures=(
        Figure(key="p50_us", label="p50 µs", digits=1),
        Figure(key="p99_us", label="p99 µs", digits=1),
        Figure(key="max_us", label="max µs", digits=0),
        Figure(key="cpu_share", label="CPU share"),
    ),
    targets=(
        Target(figure="p50_us", must=20, aim=8, at_most=True),
        Target(figure="p99_us", must=60, aim=30, at_most=True),
    ),
    compares_output=False,
    charted="p50_us",
)
