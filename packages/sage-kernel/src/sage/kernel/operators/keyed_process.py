"""``process`` with timers: a function that remembers things for each key and can wake up later.

A `ProcessFunction` that defines ``on_timer`` runs here; one that does not is part of its chain's
loop (`side_output`). Timers belong to a key and fire once, in the order of time: those of event
time when the watermark reaches them, before the record that brings it there; those of processing
time when the job's clock does. At the end of the input every timer that is set fires; what
``on_timer`` sets then is dropped and counted: a timer that renews itself would never end.

Example:
    >>> from sage.kernel import LocalEnvironment, ProcessFunction, ValueState
    >>> class Silence(ProcessFunction):
    ...     "Says when a key has been silent for ten seconds."
    ...
    ...     def open(self, context):
    ...         self.last = context.state(ValueState("last"))
    ...
    ...     def process(self, record, ctx):
    ...         self.last.set(ctx.timestamp)
    ...         ctx.timers.set_event_timer(ctx.timestamp + 10)
    ...
    ...     def on_timer(self, timestamp_s, ctx):
    ...         if timestamp_s == self.last.get() + 10:
    ...             yield (ctx.current_key, timestamp_s)
    >>> beats = LocalEnvironment().from_collection([("a", 1), ("b", 2), ("a", 8), ("a", 30)])
    >>> timed = beats.assign_timestamps(lambda beat: beat[1])
    >>> timed.key_by(lambda beat: beat[0]).process(Silence).collect()
    [('b', 12), ('a', 18), ('a', 40)]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState, chunks_of
from sage.kernel.errors import FunctionError
from sage.kernel.operators.event_time import EventTimeOperator, LiveEventTimeOperator
from sage.kernel.operators.flat_map import items_of
from sage.kernel.operators.function_spec import FunctionSpec, LiveFunction
from sage.kernel.operators.operator import LiveOperator, Operator
from sage.kernel.operators.side_output import ProcessContext
from sage.kernel.time.timer import TimerQueue
from sage.kernel.time.watermark import END_OF_TIME, START_OF_TIME, happening_at

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop

__all__ = ["KeyedProcessOperator", "LiveKeyedProcess", "TimedContext", "Timers"]


class Timers:
    """The timers of the current key.

    Args:
        live: The operator whose they are.
    """

    def __init__(self, live: LiveKeyedProcess) -> None:
        self._live = live

    @property
    def now_s(self) -> float:
        """Processing time, in seconds since the epoch."""
        return self._live.clock()

    def set_event_timer(self, timestamp_s: float) -> None:
        """Call ``on_timer`` when the watermark reaches a time; setting it again changes nothing.

        Raises:
            FunctionError: if the stream has no timestamps.
            TimestampError: if the time is no finite number of seconds.
        """
        if not self._live.is_timed:
            raise FunctionError(
                f"set_event_timer({timestamp_s!r:.40}) on a stream without timestamps would never "
                f"fire",
                hint="call .assign_timestamps(...) before key_by, or use set_processing_timer",
            )
        self._live.set_timer(self._live.event_timers, timestamp_s)

    def set_processing_timer(self, timestamp_s: float) -> None:
        """Call ``on_timer`` when the clock reaches a time.

        Raises:
            TimestampError: if the time is no finite number of seconds.
        """
        self._live.set_timer(self._live.processing_timers, timestamp_s)

    def delete_event_timer(self, timestamp_s: float) -> None:
        """Delete a timer of event time, if it is set."""
        self._live.event_timers.delete(self._live.context.current_key, timestamp_s)

    def delete_processing_timer(self, timestamp_s: float) -> None:
        """Delete a timer of processing time, if it is set."""
        self._live.processing_timers.delete(self._live.context.current_key, timestamp_s)


class TimedContext(ProcessContext):
    """What ``process(record, ctx)`` and ``on_timer(timestamp_s, ctx)`` get.

    Attributes:
        time_domain: Which time a timer that fires is of.
    """

    def __init__(self, live: LiveKeyedProcess) -> None:
        super().__init__(live)
        self._timers = Timers(live)
        self.time_domain: Literal["event", "processing"] = "event"

    @property
    def timers(self) -> Timers:
        """The timers of the current key."""
        return self._timers


class LiveKeyedProcess(LiveEventTimeOperator):
    """The function of one subtask, and its timers.

    Attributes:
        is_timed: Whether its records have timestamps.
    """

    def __init__(self, operator: Operator, function: LiveFunction) -> None:
        super().__init__(operator, [function])
        self.event_timers = TimerQueue()
        self.processing_timers = TimerQueue()
        self._timers_of = {"event": self.event_timers, "processing": self.processing_timers}
        self.context = TimedContext(self)
        self.is_timed = False
        self._process = function.call
        self._on_timer = getattr(function.owner, "on_timer")  # noqa: B009
        self._items = items_of("process")
        self._timer_items = items_of("on_timer")
        self._is_ending = False

    def add(self, input_index: int, key: Any, record: Any, time: float, watermark: float) -> None:
        """Give a record to the function and emit what comes of it."""
        self._turn_to(key, time, watermark)
        if self.keyed is not None:
            self.keyed.timestamp_s, self.keyed.watermark_s = time, watermark
        if watermark > self.watermark:  # what timers give later does not go back behind it
            self.watermark = watermark
        statistics = self.statistics
        before = statistics.produced
        statistics.empty += 1  # until it gives something
        try:
            for item in self._items(self._process(record, self.context)):
                self.emit(item, time, watermark)
        except BaseException:
            if self.context.silent:
                statistics.empty -= 1  # it has another fate
            raise
        finally:  # what it had set before it raised stays set
            self.due = self._next_event()
        if statistics.produced > before and self.context.silent:
            statistics.empty -= 1

    def set_timer(self, timers: TimerQueue, timestamp_s: float) -> None:
        """Set a timer of the current key; at the end of the input there is no later."""
        if self._is_ending:
            counts = self.statistics.custom
            counts["timers dropped at the end"] = counts.get("timers dropped at the end", 0) + 1
            return
        timers.set(self.context.current_key, timestamp_s)

    def fire(self, watermark: float) -> None:
        """Call ``on_timer`` for what the watermark has reached; at the end, for everything."""
        self._is_ending = watermark == END_OF_TIME
        self._fire(self.event_timers, watermark, "event", watermark)
        if self._is_ending:
            self._fire(self.processing_timers, END_OF_TIME, "processing", watermark)
        self.due = self._next_event()

    @property
    def due_s(self) -> float | None:
        """When the clock reaches the first timer."""
        return self.processing_timers.due_s

    def on_due(self) -> Iterable[Any]:
        """Call ``on_timer`` for what the clock has reached."""
        self._fire(self.processing_timers, self.clock(), "processing", self.watermark)
        self.due = self._next_event()
        return ()

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put the timers, and the time that values with a time to live are told."""
        super().snapshot(state, full=full)
        for domain, timers in self._timers_of.items():
            state.put_lazily(f"{domain} timers", chunks_of(timers.snapshot()))
        if self.keyed is not None:
            state.put_whole("time", (self.keyed.timestamp_s, self.keyed.watermark_s))

    def restore(self, state: RestoredState) -> None:
        """Set the timers again, each time's in the order in which they were set."""
        super().restore(state)
        for domain, timers in self._timers_of.items():
            timers.restore(state.keyed(f"{domain} timers"))
        self.due = self._next_event()
        times = state.whole("time")
        if self.keyed is not None and times:
            # Of several subtasks the latest: what a timer touches stays too long, not too short.
            timestamps, watermarks = zip(*times, strict=True)
            if known := [time for time in timestamps if time is not None]:
                self.keyed.timestamp_s = max(known)
            self.keyed.watermark_s = max(watermarks)

    def _fire(
        self,
        timers: TimerQueue,
        now_s: float,
        domain: Literal["event", "processing"],
        watermark: float,
    ) -> None:
        for key, timestamp_s in timers.pop_due(now_s):
            self._turn_to(key, timestamp_s, watermark)
            self.context.silent = False  # a timer is no record that could have given nothing
            self.context.time_domain = domain
            if self.keyed is not None:
                # What has a time to live is as old as the timer says: a watermark that jumps past
                # both, as at the end of the input, does not take a value away before its timer.
                self.keyed.watermark_s = self.watermark
                if domain == "event":
                    self.keyed.timestamp_s = timestamp_s
                    self.keyed.watermark_s = max(self.watermark, min(timestamp_s, watermark))
            # In processing time a result has no time of its own.
            time_s = timestamp_s if domain == "event" else happening_at(self.watermark)
            self.context.beside = {"time": time_s, "watermark": self.watermark}
            for item in self.results_of(partial(self._told, timestamp_s), (key, timestamp_s)):
                self.emit(item, time_s)

    def _told(self, timestamp_s: float) -> Iterator[Any]:
        return self._timer_items(self._on_timer(timestamp_s, self.context))

    def _turn_to(self, key: Any, time: float, watermark: float) -> None:
        context = self.context
        context.current_key, context.timestamp, context.watermark = key, time, watermark
        context.silent = True
        context.beside = {"time": time, "watermark": watermark}
        if self.keyed is not None:
            self.keyed.set_current_key(key)

    def _next_event(self) -> float:
        due = self.event_timers.due_s
        return math.inf if due is None else due


@dataclass(frozen=True)
class KeyedProcessOperator(EventTimeOperator):
    """Calls ``process(record, ctx)`` for each record and ``on_timer`` for each timer."""

    kind = "process"
    has_state = True
    uses_time = False
    reads_time = True
    function: FunctionSpec

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The function."""
        return (self.function,)

    def live(self, *, may_share: bool = True) -> LiveKeyedProcess:
        """Make the operator of one subtask, without timers."""
        return LiveKeyedProcess(self, self.function.live(may_share=may_share))

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """As every operator that follows event time, or without times where there are none."""
        assert isinstance(live, LiveKeyedProcess)
        if "time" in loop.riders:
            live.is_timed = True
            super().write(loop, live)
            return
        add = loop.bind(live.add, "f")
        never = loop.bind(START_OF_TIME, "w")
        loop.line(f"{add}({loop.input_index}, {loop.key}, {loop.value}, None, {never})")
