"""The first operator of a chain when it runs elsewhere: what its host is fed, what comes back.

Invariant: a record that was fed is pending until its outcome is taken; then it has met its fate or
its results have gone on down the chain, in the order in which the host gives them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from sage.kernel.operators.map_async import LiveMapAsync
from sage.kernel.runtime.chain import Chain
from sage.kernel.runtime.channel import Batch, LoopTracker
from sage.kernel.runtime.hosts import Host, Outcome, Slice
from sage.kernel.runtime.policies import Naming
from sage.kernel.runtime.task_clock import TaskClock
from sage.kernel.runtime.tracing import TracedChain
from sage.kernel.time.watermark import happening_at

__all__ = ["HostedHead"]


class HostedHead:
    """Feeds a host and passes on what it gives.

    Args:
        host: Runs the operator.
        chain: Whose first operator it is.
        clock: The task's.
        tracker: Counts what is inside the loop that the task belongs to, or None.
        send: Sends everything that waits in the task's output buffers.
    """

    def __init__(
        self,
        host: Host,
        chain: Chain,
        clock: TaskClock,
        tracker: LoopTracker | None,
        send: Callable[[], None],
    ) -> None:
        self.host = host
        self.tracing: TracedChain | None = None
        self._chain = chain
        self._node = chain.root.nodes[0]
        self._clock = clock
        self._tracker = tracker
        self._send = send
        layout = chain.root.layouts[0]
        self._pending = PendingWatermarks(layout) if "watermark" in layout else None

    @property
    def may_end(self) -> bool:
        """Whether everything that was fed has come back; asks for no company any more."""
        self.host.no_more()
        return not self.host.busy

    @property
    def has_records(self) -> bool:
        """Whether records are under way that event time must not overtake."""
        return self._pending is not None and self._pending.any

    def feed(self, batch: Batch) -> Batch | None:
        """Hand records over; return those that there was no room for."""
        room = self.host.room()
        part = batch if room >= len(batch.values) else batch.sliced(0, room)
        if part.values:
            self._node.statistics.pending += len(part.values)
            if self._pending is not None:
                self._pending.fed(part)
            if self._tracker is not None:
                self._tracker.add(len(part.values))
            self.host.feed(part if part.trace is None else self._traced(part))
        if len(part.values) == len(batch.values):
            if batch.trace is not None and self.tracing is not None:
                self.tracing.tracer.branched(batch.trace.trace, -1)
            return None
        return batch.sliced(len(part.values), len(batch.values))

    def in_flight(self) -> Batch:
        """Return what was fed and has not come back, for a checkpoint."""
        return self.host.in_flight()

    def forwarded(self, watermark: float, left_over: Batch | None) -> float:
        """Return the watermark behind the operator: records under way are not overtaken.

        Args:
            watermark: That before the operator.
            left_over: What there was no room for yet.
        """
        return watermark if self._pending is None else self._pending.low(watermark, left_over)

    def pass_results(self) -> int:
        """Pass on what is decided; return how many records that was about."""
        with Naming(self._node, "taking results"):
            outcomes = self.host.take()
        if not outcomes:
            return 0
        started = self._clock.working_since = time.monotonic()
        self._pass(outcomes)
        self._clock.working_since = None
        self._clock.busy_s += time.monotonic() - started
        return sum(outcome.decided for outcome in outcomes)

    def _pass(self, outcomes: Sequence[Outcome | Slice]) -> None:
        results = _Results(len(self._chain.root.layouts[0]))
        statistics = self._node.statistics
        for outcome in outcomes:
            statistics.pending -= outcome.decided
            statistics.entered += outcome.decided
            if isinstance(outcome, Slice):
                self._pass_slice(outcome)
                continue
            statistics.retries += outcome.attempts - 1
            if self._pending is not None:
                outcome.riders = self._pending.decided(outcome.riders)
            if outcome.error is not None:
                self._emit(results)  # what came before is not lost with it
                self._set_aside(outcome, outcome.error)
            elif not outcome.results:
                statistics.empty += 1
            if outcome.mark is not None and self.tracing is not None:
                self._emit(results)
                self._send()
                self._clock.working_since = None  # what it gives is not for the linger thread
                self.tracing.outcome(outcome.mark, outcome)
            else:
                results.add(outcome)
        self._emit(results)

    def _emit(self, results: _Results) -> None:
        batch = results.take()
        if batch.values:
            self._node.statistics.produced += len(batch.values)
            self._chain.emit(batch)

    def _pass_slice(self, part: Slice) -> None:
        if self._pending is not None:
            self._pending.decided_in_order(part.released)
        self._node.statistics.add(part.counts, part.custom)
        # While the worker worked, the task waited for it, not for input.
        self._clock.busy_s += part.work_s
        self._clock.idle_s = max(0.0, self._clock.idle_s - part.work_s)
        if part.results.values:
            self._chain.emit(self._timed(part.results))
        for letter in part.letters:
            if letter.error is not None:
                self._set_aside(letter, letter.error)
        if part.failure is not None:
            raise part.failure

    def _timed(self, results: Batch) -> Batch:
        """Return results of which those that belong to no record happen now."""
        layout, riders = self._chain.root.layouts[0], list(results.riders)
        if self._pending is None:
            return results
        now = self._node.watermark_s
        for name, instead in (("time", happening_at(now)), ("watermark", now)):
            at = layout.index(name)
            riders[at] = [instead if beside is None else beside for beside in riders[at]]
        return results._replace(riders=tuple(riders))

    def _set_aside(self, outcome: Outcome, error: Exception) -> None:
        riders = dict(zip(self._chain.root.layouts[0], outcome.riders, strict=False))
        self._chain.set_aside(self._node, outcome.record, error, outcome.attempts, riders)

    def _traced(self, batch: Batch) -> Batch:
        """Return a traced batch as it goes to the host; worker processes are not followed into."""
        assert self.tracing is not None
        return self.tracing.fed(batch, followed=isinstance(self._node.live, LiveMapAsync))


class PendingWatermarks:
    """The watermarks beside records that are under way, the lowest of which holds time back.

    Args:
        layout: Names of the riders.
    """

    def __init__(self, layout: tuple[str, ...]) -> None:
        self._at = layout.index("watermark")
        self._runs: deque[list[Any]] = deque()  # watermark and count, the watermarks rising

    @property
    def any(self) -> bool:
        """Whether there are such records."""
        return bool(self._runs)

    def fed(self, batch: Batch) -> None:
        """Take records; their watermarks do not regress."""
        for watermark in batch.riders[self._at]:
            if self._runs and self._runs[-1][0] >= watermark:
                self._runs[-1][1] += 1
            else:
                self._runs.append([watermark, 1])

    def low(self, watermark: float, left_over: Batch | None) -> float:
        """Return how far time may go on."""
        low: float = watermark
        if self._runs:
            low = min(watermark, self._runs[0][0])
        elif left_over is not None:
            low = left_over.riders[self._at][0]
        return low

    def decided(self, riders: tuple[Any, ...]) -> tuple[Any, ...]:
        """Take a record out; return its riders with the watermark that goes on beside it."""
        watermark, low = riders[self._at], self._runs[0][0]
        run = next(run for run in self._runs if run[0] >= watermark)
        self._take(run, 1)
        return riders if low == watermark else (*riders[: self._at], low, *riders[self._at + 1 :])

    def decided_in_order(self, count: int) -> None:
        """Take the oldest records out."""
        while count and self._runs:
            run = self._runs[0]
            taken = min(count, run[1])
            self._take(run, taken)
            count -= taken

    def _take(self, run: list[Any], count: int) -> None:
        run[1] -= count
        while self._runs and not self._runs[0][1]:
            self._runs.popleft()


class _Results:
    """Columns of results on their way to the rest of the chain."""

    def __init__(self, riders: int) -> None:
        self._width = riders
        self._columns: list[list[object]] = [[] for _ in range(riders + 1)]

    def add(self, outcome: Outcome) -> None:
        for result in outcome.results:
            for column, item in zip(self._columns, (result, *outcome.riders), strict=True):
                column.append(item)

    def take(self) -> Batch:
        values, *riders = self._columns
        self._columns = [[] for _ in range(self._width + 1)]
        return Batch(values, tuple(riders))
