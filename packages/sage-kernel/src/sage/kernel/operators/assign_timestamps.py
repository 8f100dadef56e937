"""``assign_timestamps``: says when each record happened, and how far event time has come.

The watermark follows the order of the records exactly: with each one it is the highest timestamp so
far minus the bound on disorder. It rides beside the record that brought it, so what it completes is
said before that record is worked off, and whether a record is late depends on the records that its
split gave until then and on nothing else. (No record is late by the watermark that it brings.)

A snapshot has ``time``: the highest timestamp, the watermark, and whether the input is idle; and
what a generator remembers, as ``generator``. How long nothing has come is counted anew after a
restore: while the job was down, nothing could come.

Example:
    >>> from sage.kernel import LocalEnvironment, TumblingWindow
    >>> readings = LocalEnvironment().from_collection([(1, "a"), (12, "b"), (3, "c")])
    >>> timed = readings.assign_timestamps(lambda r: r[0], max_out_of_orderness_s=10)
    >>> timed.window(TumblingWindow(10)).count(emit=lambda key, window, n: n).collect()
    [2, 1]
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sage.common.core.functions import MapFunction
from sage.kernel.errors import GraphError, StateCodecError, TimestampError
from sage.kernel.operators.function_spec import FunctionShape, FunctionSpec, LiveFunction
from sage.kernel.operators.inline_expression import InlinedFunction, applied
from sage.kernel.operators.operator import LiveOperator, Operator, with_rider
from sage.kernel.time.clock import system_clock
from sage.kernel.time.watermark import END_OF_TIME, START_OF_TIME, WatermarkGenerator

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState
    from sage.kernel.operators.loop import Loop
    from sage.kernel.operators.operator import Prove

__all__ = ["TIMESTAMP", "AssignTimestampsOperator", "LiveTimestamps", "ProcessingTimeOperator"]

_LATEST = sys.float_info.max

TIMESTAMP = FunctionShape("assign_timestamps", MapFunction, "map")


class LiveTimestamps(LiveOperator):
    """How far event time has come in one subtask.

    Attributes:
        highest: The highest timestamp so far.
        watermark: How far event time has come.
        idle: Whether nothing has come for so long that others need not wait for it.
    """

    def __init__(
        self,
        operator: AssignTimestampsOperator,
        functions: list[LiveFunction],
        generator: WatermarkGenerator | None,
    ) -> None:
        super().__init__(operator, functions)
        self.generator = generator
        self.highest: float = -_LATEST
        self.watermark = START_OF_TIME
        self.idle = False
        self._idle_timeout_s = operator.idle_timeout_s
        self._active_s: float | None = None

    def open(self, context: Any) -> None:
        """Begin to wait for the first record."""
        super().open(context)
        self._active_s = self.clock()

    def worked(self) -> None:
        """Records have come."""
        self._active_s = self.clock()
        self.idle = False

    def is_idle(self, idle: bool) -> bool:
        """Return whether it is, whatever those before it are."""
        return self.idle

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in how far time has come, and what the generator remembers.

        Raises:
            StateCodecError: if the generator has attributes that cannot be stored, and no
                ``snapshot_state``.
        """
        super().snapshot(state, full=full)
        state.put_whole("time", (self.highest, self.watermark, self.idle))
        if self.generator is None:
            return
        try:
            state.put_whole("generator", _remembered(self.generator))
        except StateCodecError as error:
            raise StateCodecError(
                f"the generator {type(self.generator).__name__} has a value of type "
                f"{error.type_name}, which cannot be stored",
                operator=self.operator.label,
                state="generator",
                type_name=error.type_name,
                hint="give it snapshot_state() and restore_state(state)",
            ) from error

    def restore(self, state: RestoredState) -> None:
        """Take it back; among more or fewer subtasks all begin where the last one was.

        A generator knows its splits, and those are others then: it begins anew. The watermark does
        not regress by that.
        """
        super().restore(state)
        times = state.whole("time")
        if times:
            self.highest, self.watermark, idle = min(times, key=itemgetter(1))
            self.idle = idle and not state.is_rescaled
        remembered = state.whole("generator")
        if self.generator is not None and remembered and not state.is_rescaled:
            _remind(self.generator, remembered[0])

    def forwarded(self, watermark: float) -> float:
        """Return its own watermark, whatever came in; the end of the input is the end of time."""
        return watermark if watermark == END_OF_TIME else self.watermark

    @property
    def due_s(self) -> float | None:
        """When it becomes idle unless something comes."""
        if self._idle_timeout_s is None or self._active_s is None or self.idle:
            return None
        return self._active_s + self._idle_timeout_s

    def on_due(self) -> Iterable[Any]:
        """Step aside."""
        self.idle = True
        return ()


@dataclass(frozen=True)
class AssignTimestampsOperator(Operator):
    """Computes each record's timestamp and the watermark.

    Args:
        function: Gives a record's timestamp, in seconds since the epoch.
        max_out_of_orderness_s: How far a record may lag behind the highest timestamp before it.
        idle_timeout_s: After this long without a record the input is idle and nobody waits for it;
            None waits for ever.
        generator: Makes watermarks of its own; a class, or an instance that is copied.
        inline: What the function returns, where the optimizer proved it.
    """

    kind = "assign_timestamps"
    function: FunctionSpec
    max_out_of_orderness_s: float = 0.0
    idle_timeout_s: float | None = None
    generator: Any = None
    inline: InlinedFunction | None = None

    def __post_init__(self) -> None:
        bound = self.max_out_of_orderness_s
        if not isinstance(bound, (int, float)) or not 0 <= bound < math.inf:
            raise GraphError(
                f"max_out_of_orderness_s must be finite seconds, 0 or more, got {bound!r}"
            )
        idle = self.idle_timeout_s
        if idle is not None and (not isinstance(idle, (int, float)) or not 0 < idle < math.inf):
            raise GraphError(f"idle_timeout_s must be finite seconds above 0 or None, got {idle!r}")
        if self.generator is not None and not hasattr(self.generator, "on_event"):
            raise GraphError(
                f"watermarks wants a WatermarkGenerator, got {self.generator!r:.80}",
                hint="give a class or an object with on_event(record, timestamp_s)",
            )

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The timestamp function."""
        return (self.function,)

    @property
    def label(self) -> str:
        """Its verb: a selector's name would mislead."""
        return self.kind

    @property
    def note(self) -> str:
        """Where event time comes from, and how far behind the records it stays."""
        bound, idle = self.max_out_of_orderness_s, ""
        told = f", up to {bound:g} s out of order" if bound else " in order"
        if self.generator is not None:
            kind = self.generator if isinstance(self.generator, type) else type(self.generator)
            told = f", watermarks by {kind.__name__}"
        if self.idle_timeout_s is not None:
            idle = f", idle after {self.idle_timeout_s:g} s"
        return f"timestamps{told}{idle}"

    def layout_after(self, layout: tuple[str, ...]) -> tuple[str, ...]:
        """Behind it every record has a time and a watermark."""
        return with_rider(with_rider(layout, "time"), "watermark")

    def live(self, *, may_share: bool = True) -> LiveTimestamps:
        """Make the operator of one subtask."""
        generator = self.generator
        if isinstance(generator, type):
            generator = generator()
        elif generator is not None:
            generator = copy.deepcopy(generator)
        return LiveTimestamps(self, [self.function.live(may_share=may_share)], generator)

    def inlined(self, prove: Prove) -> AssignTimestampsOperator:
        """With the function as an expression, where that can be proved."""
        return replace(self, inline=prove(self.function))

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``t = f(v); if t > highest: highest = t; watermark = t - bound``."""
        assert isinstance(live, LiveTimestamps)
        me, refuse = loop.bind(live, "e"), loop.bind(_refuse, "x")
        highest, watermark = loop.fresh("h"), loop.fresh("w")
        loop.at_start(f"{highest} = {me}.highest; {watermark} = {me}.watermark")
        loop.at_end(f"{me}.highest = {highest}; {me}.watermark = {watermark}")
        time = applied(loop, live.functions[0], self.inline, "t")
        rises = [f"if {time} > {loop.bind(_LATEST, 'i')}: {refuse}({time})"]
        if live.generator is None:
            bound = self.max_out_of_orderness_s
            lower = f"{time} - {loop.bind(bound, 'b')}"
            if not bound:  # ints of any size stay exact, and no record is late by itself
                lower = f"{time} if type({time}) is int else {time} - 0.0"
            rises.append(f"{watermark} = {lower}")
        rises.append(f"{highest} = {time}")
        # Comparing is the check: what is no number cannot be compared, NaN is neither, and the
        # infinities and ints that no float can hold are behind the last float.
        loop.block(
            "try:",
            [
                f"if {time} > {highest}:",
                *(f"    {line}" for line in rises),
                f"elif not {time} >= {loop.bind(-_LATEST, 'i')}: {refuse}({time})",
            ],
        )
        loop.block("except (TypeError, OverflowError):", [f"{refuse}({time})"])
        beside = watermark
        if live.generator is not None:  # it says what holds behind the record
            beside, told = loop.fresh("w"), loop.bind(live.generator.on_event)
            loop.line(f"{beside} = {watermark}")
            risen = f"{loop.bind(_risen)}({told}({loop.value}, {time}), {watermark})"
            loop.line(f"{watermark} = {risen}")
        if self.idle_timeout_s is not None:
            came = loop.fresh("c")
            loop.at_start(f"{came} = False")
            loop.line(f"{came} = True")
            loop.at_end(f"if {came}: {me}.worked()")
        loop.riders["time"], loop.riders["watermark"] = time, beside


@dataclass(frozen=True)
class ProcessingTimeOperator(Operator):
    """Gives every record the time at which its batch arrived; it is never late.

    What follows fires by the clock (see `LiveEventTimeOperator.due_s`), so the watermark is that
    time too.
    """

    kind = "processing_time"

    def layout_after(self, layout: tuple[str, ...]) -> tuple[str, ...]:
        """Behind it every record has a time and a watermark."""
        return with_rider(with_rider(layout, "time"), "watermark")

    def live(self, *, may_share: bool = True) -> LiveProcessingTime:
        """Make the operator of one subtask."""
        return LiveProcessingTime(self, [])

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``t = w = clock()``, once a batch unless the clock is driven by hand."""
        assert isinstance(live, LiveProcessingTime)
        now, tick = loop.fresh("t"), loop.bind(live.tick, "f")
        if live.reads_each:
            loop.line(f"{now} = {tick}()")
        else:
            loop.at_start(f"{now} = {tick}()")
        loop.riders["time"] = loop.riders["watermark"] = now


class LiveProcessingTime(LiveOperator):
    """Reads the clock; a clock that somebody drives may move between two records of a batch.

    A snapshot has ``watermark``: the latest time that was given.
    """

    watermark = START_OF_TIME

    @property
    def reads_each(self) -> bool:
        """Whether every record asks the clock."""
        return self.clock is not system_clock

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in the time."""
        super().snapshot(state, full=full)
        state.put_whole("watermark", self.watermark)

    def restore(self, state: RestoredState) -> None:
        """Take the time back, the latest of several: it never goes back, whoever it was told to."""
        super().restore(state)
        self.watermark = max(state.whole("watermark"), default=START_OF_TIME)

    def tick(self) -> float:
        """Return the time now, which never goes back."""
        self.watermark = max(self.watermark, self.clock())
        return self.watermark

    def forwarded(self, watermark: float) -> float:
        """Return the time now."""
        return watermark if watermark == END_OF_TIME else self.tick()


def _remembered(generator: Any) -> Any:
    """Return what a generator remembers, as it says it, or else its attributes."""
    snapshot = getattr(generator, "snapshot_state", None)
    if snapshot is not None:
        return snapshot()
    state = object.__getstate__(generator)
    in_dict, in_slots = state if isinstance(state, tuple) else (state, None)
    return {**(in_dict or {}), **(in_slots or {})}


def _remind(generator: Any, remembered: Any) -> None:
    """Give a generator back what `_remembered` returned; it is the one that the loop calls."""
    restore = getattr(generator, "restore_state", None)
    if restore is not None:
        restore(remembered)
        return
    for name, value in remembered.items():
        object.__setattr__(generator, name, value)


def _refuse(time: Any) -> None:
    raise TimestampError(time) from None


def _risen(told: Any, watermark: float) -> float:
    """Return the watermark after a generator has said ``told``; it does not regress."""
    if told is None or told == START_OF_TIME:
        return watermark
    try:
        finite = math.isfinite(told)
    except (TypeError, OverflowError):
        finite = False
    if not finite:
        raise TimestampError(told, what="a watermark")
    return told if told > watermark else watermark
