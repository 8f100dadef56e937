"""bytewax: a Rust dataflow engine (timely) with Python operators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sage.benchmark.workloads.events import (
    BOUND_S,
    Event,
    Outcome,
    add,
    key_of,
    merge,
    time_of,
)
from sage.benchmark.workloads.w1_stateless import STEPS as W1_STEPS
from sage.benchmark.workloads.w1_stateless import by_hand as w1_by_hand
from sage.benchmark.workloads.w2_word_count import word_of
from sage.benchmark.workloads.w3_event_time_sum import SIZE_S
from sage.benchmark.workloads.w4_llm_bound import IN_FLIGHT, HttpClient, Run
from sage.benchmark.workloads.w5_latency import STEPS as W5_STEPS
from sage.benchmark.workloads.w5_latency import Ticker

__all__ = ["w1", "w1_batched", "w2", "w2_batched", "w3", "w4", "w5"]

BATCH = 1_024


def _source(next_batch: Callable[[], list[Any]], next_awake: Callable[[], Any]) -> Any:
    """A source with one partition; ``next_batch`` raises StopIteration at the end."""
    from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

    class Partition(StatefulSourcePartition):  # type: ignore[misc]
        def next_batch(self) -> list[Any]:
            return next_batch()

        def next_awake(self) -> Any:
            return next_awake()

        def snapshot(self) -> None:
            return None

    class Source(FixedPartitionedSource):  # type: ignore[misc]
        def list_parts(self) -> list[str]:
            return ["only"]

        def build_part(self, step_id: str, for_part: str, resume_state: Any) -> Any:
            return Partition()

    return Source()


def _slices(records: Sequence[Any], size: int = BATCH) -> Any:
    starts = iter(range(0, len(records), size))

    def next_batch() -> list[Any]:
        start = next(starts)
        return list(records[start : start + size])

    return _source(next_batch, lambda: None)


def _sink(write: Callable[[list[Any]], Any]) -> Any:
    from bytewax.outputs import DynamicSink, StatelessSinkPartition

    class Partition(StatelessSinkPartition):  # type: ignore[misc]
        def write_batch(self, items: list[Any]) -> None:
            write(items)

    class Sink(DynamicSink):  # type: ignore[misc]
        def build(self, step_id: str, worker_index: int, worker_count: int) -> Any:
            return Partition()

    return Sink()


def _run(source: Any, body: Callable[[Any, Any], Any], write: Callable[[list[Any]], Any]) -> None:
    import bytewax.operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.testing import run_main

    flow = Dataflow("benchmark")
    stream = op.input("source", flow, source)
    op.output("sink", body(op, stream), _sink(write))
    run_main(flow)


def w1(records: Sequence[int]) -> list[int]:
    """One operator a step."""

    def body(op: Any, stream: Any) -> Any:
        for index, (verb, function) in enumerate(W1_STEPS):
            stream = getattr(op, verb)(f"{verb}-{index}", stream, function)
        return stream

    output: list[int] = []
    _run(_slices(records), body, output.extend)
    return output


def w1_batched(records: Sequence[int]) -> list[int]:
    """One step, whose function is the hand-written loop over a batch."""
    output: list[int] = []
    _run(
        _slices(records),
        lambda op, stream: op.flat_map_batch("all", stream, w1_by_hand),
        output.extend,
    )
    return output


def w2(records: Sequence[str]) -> list[tuple[str, int]]:
    """``key_on`` and ``stateful_map``."""

    def count(state: int | None, _: str) -> tuple[int, int]:
        number = (state or 0) + 1
        return number, number

    def body(op: Any, stream: Any) -> Any:
        return op.stateful_map("count", op.key_on("key", stream, word_of), count)

    output: list[tuple[str, int]] = []
    _run(_slices(records), body, output.extend)
    return output


def w2_batched(records: Sequence[str]) -> list[tuple[str, int]]:
    """``stateful_batch``, whose logic gets the values of a key as a list."""
    from bytewax.operators import StatefulBatchLogic

    class Count(StatefulBatchLogic):  # type: ignore[misc]
        def __init__(self, state: int | None) -> None:
            self.count = state or 0

        def on_batch(self, values: list[str]) -> tuple[Iterable[int], bool]:
            start = self.count + 1
            self.count += len(values)
            return range(start, self.count + 1), False

        def snapshot(self) -> int:
            return self.count

    def keyed(tokens: list[str]) -> list[tuple[str, str]]:
        return [(word_of(token), token) for token in tokens]

    def body(op: Any, stream: Any) -> Any:
        return op.stateful_batch("count", op.flat_map_batch("key", stream, keyed), Count)

    output: list[tuple[str, int]] = []
    _run(_slices(records, 8 * BATCH), body, output.extend)
    return output


def w3(records: Sequence[Event]) -> Outcome:
    """``fold_window`` with tumbling windows, in the order of arrival, which is the cheaper one.

    The clock of processing time stands still, so that its watermark depends on the events alone.
    """
    from bytewax.operators.windowing import EventClock, TumblingWindower, fold_window

    epoch = datetime.fromtimestamp(0, UTC)
    clock = EventClock(
        lambda event: datetime.fromtimestamp(time_of(event), UTC),
        timedelta(seconds=BOUND_S),
        now_getter=lambda: epoch,
        to_system_utc=lambda _: None,
    )
    windower = TumblingWindower(timedelta(seconds=SIZE_S), epoch)
    late: list[Event] = []

    def refuse(items: list[Any]) -> None:
        late.extend(event for _, (_, event) in items)

    def body(op: Any, stream: Any) -> Any:
        keyed = op.key_on("key", stream, lambda event: str(key_of(event)))
        windows = fold_window("sum", keyed, clock, windower, int, add, merge, ordered=False)
        op.output("late", windows.late, _sink(refuse))
        return windows.down

    totals: list[Any] = []
    _run(_slices(records), body, totals.extend)
    results = [(int(key), number * SIZE_S, total) for key, (number, total) in totals]
    return Outcome(results, late, "key")


def w4(client: HttpClient, calls: int) -> Run:
    """Batches of 64, each given to ``asyncio.gather``: bytewax has no async operator."""
    import bytewax.operators
    import bytewax.testing  # noqa: F401

    client.prepare()
    loop = asyncio.new_event_loop()

    async def together(numbers: list[int]) -> list[str]:
        return await asyncio.gather(*(client.call(number) for number in numbers))

    def call_all(numbers: list[int]) -> list[str]:
        return loop.run_until_complete(together(numbers))

    def run() -> list[str]:
        output: list[str] = []
        _run(
            _slices(range(calls), IN_FLIGHT),
            lambda op, stream: op.flat_map_batch("call", stream, call_all),
            output.extend,
        )
        loop.run_until_complete(client.close())
        loop.close()
        return output

    return run


def w5(ticker: Ticker, sink: Callable[[int], None]) -> None:
    """A source that says when it wants to be asked again."""

    def next_batch() -> list[int]:
        records = ticker.poll()
        if records is None:
            raise StopIteration
        return records

    def next_awake() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=ticker.wait_s)

    def body(op: Any, stream: Any) -> Any:
        for index, function in enumerate(W5_STEPS):
            stream = op.map(f"map-{index}", stream, function)
        return stream

    def write(stamps: list[int]) -> None:
        for stamp in stamps:
            sink(stamp)

    _run(_source(next_batch, next_awake), body, write)
