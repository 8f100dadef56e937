"""streamz: pipelines as nested Python calls, one ``emit`` a record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from sage.benchmark.workloads.w1_stateless import STEPS as W1_STEPS
from sage.benchmark.workloads.w2_word_count import word_of
from sage.benchmark.workloads.w4_llm_bound import IN_FLIGHT, HttpClient, Run
from sage.benchmark.workloads.w5_latency import STEPS as W5_STEPS
from sage.benchmark.workloads.w5_latency import Ticker

__all__ = ["w1", "w2", "w4", "w5"]


def w1(records: Sequence[int]) -> list[int]:
    """One node a step."""
    from streamz import Stream

    output: list[int] = []
    source = stream = Stream()
    for verb, function in W1_STEPS:
        stream = getattr(stream, verb)(function)
    stream.sink(output.append)
    emit = source.emit
    for record in records:
        emit(record)
    return output


def w2(records: Sequence[str]) -> list[tuple[str, int]]:
    """``accumulate`` with the counts as its state."""
    from streamz import Stream

    def count(counts: dict[str, int], word: str) -> tuple[dict[str, int], tuple[str, int]]:
        number = counts[word] + 1 if word in counts else 1
        counts[word] = number
        return counts, (word, number)

    output: list[tuple[str, int]] = []
    source = Stream()
    source.map(word_of).accumulate(count, start={}, returns_state=True).sink(output.append)
    emit = source.emit
    for record in records:
        emit(record)
    return output


def w4(client: HttpClient, calls: int) -> Run:
    """Calls are started upstream of a buffer and awaited behind it, in order."""
    from streamz import Stream

    client.prepare()

    class Awaited(Stream):  # type: ignore[misc]
        async def update(self, x: Any, who: Any = None, metadata: Any = None) -> Any:
            return await asyncio.gather(*self._emit(await x))

    output: list[str] = []

    async def run() -> None:
        source = Stream(asynchronous=True)
        # One call waits behind the buffer and one before it, hence 64 in all.
        started = source.map(lambda number: asyncio.ensure_future(client.call(number)))
        Awaited(started.buffer(IN_FLIGHT - 2)).sink(output.append)
        for number in range(calls):
            await source.emit(number)
        while len(output) < calls:
            await asyncio.sleep(0.001)
        await client.close()

    def run_loop() -> list[str]:
        asyncio.run(run())
        return output

    return run_loop


def w5(ticker: Ticker, sink: Callable[[int], None]) -> None:
    """A polling loop that emits."""
    from streamz import Stream

    source = stream = Stream()
    for function in W5_STEPS:
        stream = stream.map(function)
    stream.sink(sink)
    while (records := ticker.poll()) is not None:
        for record in records:
            source.emit(record)
        if not records:
            time.sleep(50e-6)
