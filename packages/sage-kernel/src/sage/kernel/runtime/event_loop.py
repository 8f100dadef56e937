"""Runs async functions: one event loop for each job, on a thread of its own.

The task's thread puts records into a deque and takes outcomes from another; everything between
happens on the loop, so a worker that has ended a call starts the next one without any thread being
woken. The task is woken once for all the outcomes that have gathered since it last looked.

Where results are journalled, a record whose result an earlier run has left never comes to the loop.
Any other result is written on the loop when its call ends, before anything else can happen to it;
the task makes all that it takes durable at once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sage.kernel.config import RetryPolicy
from sage.kernel.errors import JournalError, StateCodecError
from sage.kernel.operators.journalled import HITS
from sage.kernel.operators.map_async import LiveMapAsync
from sage.kernel.runtime.channel import Batch, Mailbox, Wake
from sage.kernel.runtime.hosts import Outcome

if TYPE_CHECKING:
    from sage.kernel.checkpoint.journal import Journal

__all__ = ["AsyncHost", "EventLoop"]

_logger = logging.getLogger(__name__)
_PATIENCE_S = 3.0


class EventLoop:
    """An event loop on a thread; uvloop's where it is installed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, started when first needed."""
        with self._lock:
            if self._loop is None:
                self._loop = _new_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="sage-event-loop", daemon=True
                )
                self._thread.start()
            return self._loop

    def call(self, function: Callable[[], None]) -> None:
        """Call a function on the loop, from another thread."""
        self.loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """Cancel what still runs and stop the loop."""
        if self._loop is None or self._thread is None:
            return
        ended = asyncio.run_coroutine_threadsafe(_cancel_all(_PATIENCE_S), self._loop)
        try:
            left = ended.result(_PATIENCE_S + 1)
        except TimeoutError:
            left = 1  # a call that never awaits has the loop to itself
        if left:
            _logger.warning("%d async calls do not end when cancelled; they are abandoned", left)
        else:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            self._loop.close()
        self._loop = None


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


async def _cancel_all(patience_s: float) -> int:
    """Cancel every task, again if need be, and return how many do not end."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    others = asyncio.all_tasks() - {asyncio.current_task()}
    while others and loop.time() < deadline:
        for task in others:
            task.cancel()
        _, others = await asyncio.wait(others, timeout=0.05)
    if not others:
        await loop.shutdown_asyncgens()
    return len(others)


class AsyncHost:
    """Runs one subtask of a ``map_async``.

    Args:
        live: The operator.
        retry: When to call again after an error.
        mailbox: The task's, to wake it.
        loop: The job's event loop.
    """

    def __init__(
        self, live: LiveMapAsync, retry: RetryPolicy | None, mailbox: Mailbox, loop: EventLoop
    ) -> None:
        operator = live.operator
        self._call = live.functions[0].call
        self._concurrency = operator.concurrency
        self._ordered = operator.ordered
        self._timeout_s = operator.timeout_s
        self._interval_s = 1 / operator.rate_per_s if operator.rate_per_s else 0.0
        self._retry = retry
        self._mailbox = mailbox
        self._loop = loop
        # A slow call at the head of the order must not idle the others at once.
        self._window = 4 * operator.concurrency if operator.ordered else 2 * operator.concurrency
        self._live = live
        self._journal: Journal | None = None
        self._under_way: dict[int, Outcome] = {}  # the task's own; in the order of the records
        self._pending: deque[tuple[int, Outcome]] = deque()
        self._decided: deque[int] = deque()
        self._out_of_order: set[int] = set()
        self._fed = 0
        self._taken = 0
        self._workers = 0
        self._next_start = 0.0
        self._woken = False
        self._closed = False

    def start(self) -> None:
        """Look for the journal; workers start with the first records."""
        self._journal = self._live.journal
        if self._journal is not None:
            self._live.statistics.custom.setdefault(HITS, 0)

    def room(self) -> int:
        """Return how many records may be fed now."""
        return max(0, self._window - (self._fed - self._taken))

    def feed(self, batch: Batch) -> None:
        """Take over records."""
        rows = zip(*batch.riders, strict=True) if batch.riders else [()] * len(batch.values)
        for value, riders in zip(batch.values, rows, strict=True):
            outcome = Outcome(value, riders, mark=batch.trace)
            self._under_way[self._fed] = outcome
            if self._journal is None or not self._recall(outcome, self._journal):
                self._pending.append((self._fed, outcome))
            else:
                self._decided.append(self._fed)
                if not self._woken:
                    self._woken = True
                    self._mailbox.put(None, Wake())
            self._fed += 1
        if (
            self._pending and self._workers < self._concurrency
        ):  # a full crew needs nobody to tell it
            self._loop.call(self._staff)

    def take(self) -> list[Outcome]:
        """Return what is decided; with ``ordered`` only what nothing undecided precedes.

        Raises:
            JournalError: if results cannot be journalled.
        """
        self._woken = False
        ready = [self._decided.popleft() for _ in range(len(self._decided))]
        if self._ordered:
            self._out_of_order.update(ready)
            ready = []
            while self._taken + len(ready) in self._out_of_order:
                ready.append(self._taken + len(ready))
            self._out_of_order.difference_update(ready)
        self._taken += len(ready)
        outcomes = [self._under_way.pop(number) for number in ready]
        if self._journal is not None:
            self._journal.sync()
            self._journal.passed_on(outcome.entry for outcome in outcomes)
        return outcomes

    def in_flight(self) -> Batch:
        """Return the records whose outcome was not taken, in their order."""
        values = [outcome.record for outcome in self._under_way.values()]
        rows = [outcome.riders for outcome in self._under_way.values()]
        return Batch(values, tuple(map(list, zip(*rows, strict=True))))

    @property
    def busy(self) -> bool:
        """Whether records were fed whose outcome was not taken yet."""
        return self._fed != self._taken

    def cut(self) -> bool:
        """At any time: a call has been decided with all its results, or not at all."""
        return True

    def no_more(self) -> None:
        """Nothing waits for company here."""

    def close(self) -> None:
        """Let the workers end; the loop cancels the calls that are under way when it closes."""
        self._closed = True
        self._pending.clear()

    def _staff(self) -> None:
        """On the loop: have as many workers as there is work for."""
        wanted = min(self._concurrency, self._workers + len(self._pending))
        while self._workers < wanted:
            self._workers += 1
            # The loop keeps only weak references to tasks; a running worker holds its own.
            task = asyncio.get_running_loop().create_task(self._work())
            _running.add(task)
            task.add_done_callback(_running.discard)

    async def _work(self) -> None:
        pending, decided = self._pending, self._decided
        try:
            while pending and not self._closed:
                number, outcome = pending.popleft()
                if self._interval_s:
                    await self._wait_for_turn()
                await self._decide(outcome)
                decided.append(number)
                if not self._woken:
                    self._woken = True
                    # At the end of this turn of the loop: what ends together wakes the task once.
                    asyncio.get_running_loop().call_soon(self._mailbox.put, None, Wake())
        finally:
            self._workers -= 1
            if pending and not self._closed:  # fed after this worker had looked
                self._staff()

    async def _decide(self, outcome: Outcome) -> None:
        retry = self._retry
        while True:
            try:
                if self._timeout_s is None:
                    result = await self._call(outcome.record)
                else:
                    async with asyncio.timeout(self._timeout_s):
                        result = await self._call(outcome.record)
            except asyncio.CancelledError:
                if self._closed:
                    raise
                # The user's code cancelled itself; without an outcome the job would wait for ever.
                outcome.error = RuntimeError("the call was cancelled from inside")
                return
            except Exception as error:
                if (
                    retry is None
                    or outcome.attempts >= retry.max_attempts
                    or not isinstance(error, retry.retry_on)
                ):
                    outcome.error = error
                    return
                await asyncio.sleep(retry.pause_s(outcome.attempts))
                outcome.attempts += 1
            else:
                self._journalled(outcome, result)
                return

    def _recall(self, outcome: Outcome, journal: Journal) -> bool:
        """Decide a record whose result is in the journal, or which cannot be journalled."""
        try:
            outcome.digest = journal.digest(outcome.record)
            recalled = journal.recall(outcome.digest)
        except StateCodecError as error:
            outcome.error = error
            return True
        if recalled is None:
            return False
        self._live.statistics.custom[HITS] += 1
        outcome.entry, result = recalled
        outcome.results = () if result is None else (result,)
        return True

    def _journalled(self, outcome: Outcome, result: Any) -> None:
        """On the loop: keep a result, which must happen as soon as there is one."""
        if self._journal is not None:
            try:
                outcome.entry = self._journal.append(outcome.digest, result)
            except StateCodecError as error:
                outcome.error = error  # not to be tried again: the call has been paid for
                return
            except JournalError:
                self._closed = True  # `take` says why; until then no more calls are paid for
                return
        outcome.results = () if result is None else (result,)

    async def _wait_for_turn(self) -> None:
        """Start no more calls a second than allowed: each takes the next free moment."""
        now = asyncio.get_running_loop().time()
        moment = max(now, self._next_start)
        self._next_start = moment + self._interval_s
        if moment > now:
            await asyncio.sleep(moment - now)


_running: set[asyncio.Task[None]] = set()
