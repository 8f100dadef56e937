"""The first operator of a chain when it runs elsewhere: what its host is fed, what comes back.

Invariant: a record that was fed is pending until its outcome is taken; then it has met its fate or
its results have gone on down the chain, in the order in which the host gives them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sage.kernel.operators.map_async import LiveMapAsync
from sage.kernel.runtime.chain import Chain
from sage.kernel.runtime.channel import Batch, LoopTracker
from sage.kernel.runtime.hosts import Host, Outcome, Slice
from sage.kernel.runtime.task_clock import TaskClock
from sage.kernel.runtime.tracing import TracedChain

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

    @property
    def may_end(self) -> bool:
        """Whether everything that was fed has come back; asks for no company any more."""
        self.host.no_more()
        return not self.host.busy

    def feed(self, batch: Batch) -> Batch | None:
        """Hand records over; return those that there was no room for."""
        room = self.host.room()
        part = batch if room >= len(batch.values) else batch.sliced(0, room)
        if part.values:
            self._node.statistics.pending += len(part.values)
            if self._tracker is not None:
                self._tracker.add(len(part.values))
            self.host.feed(part if part.trace is None else self._traced(part))
        if len(part.values) == len(batch.values):
            if batch.trace is not None and self.tracing is not None:
                self.tracing.tracer.branched(batch.trace.trace, -1)
            return None
        return batch.sliced(len(part.values), len(batch.values))

    def pass_results(self) -> int:
        """Pass on what is decided; return how many records that was about."""
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
        self._node.statistics.add(part.counts, part.custom)
        # While the worker worked, the task waited for it, not for input.
        self._clock.busy_s += part.work_s
        self._clock.idle_s = max(0.0, self._clock.idle_s - part.work_s)
        if part.results.values:
            self._chain.emit(part.results)
        for letter in part.letters:
            if letter.error is not None:
                self._set_aside(letter, letter.error)
        if part.failure is not None:
            raise part.failure

    def _set_aside(self, outcome: Outcome, error: Exception) -> None:
        riders = dict(zip(self._chain.root.layouts[0], outcome.riders, strict=False))
        self._chain.set_aside(self._node, outcome.record, error, outcome.attempts, riders)

    def _traced(self, batch: Batch) -> Batch:
        """Return a traced batch as it goes to the host; worker processes are not followed into."""
        assert self.tracing is not None
        return self.tracing.fed(batch, followed=isinstance(self._node.live, LiveMapAsync))


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
