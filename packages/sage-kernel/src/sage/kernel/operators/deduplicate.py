"""``deduplicate``: passes the first record of each key and filters what repeats it.

Without a time every later record of a key is a duplicate, and the keys are kept for ever. With
``within_s`` a record is a duplicate if its time is less than that away from a record of its key
that was passed on, before or after it; records of a key that are passed on are at least
``within_s`` apart. Which of two duplicates is the first is decided by their order, not by their
time, so that nothing has to wait.

Such a record is refused as late when it is behind the watermark: what it might repeat may be
forgotten. Times are kept in buckets of ``within_s``. A bucket has one time at most for each key, a
duplicate is in a record's own bucket or a neighbour, and a bucket is forgotten as a whole.

A snapshot has the keys as the keyed ``seen``, or with their ``times``.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> alarms = LocalEnvironment().from_collection([("disk", 0), ("disk", 9), ("disk", 10)])
    >>> timed = alarms.assign_timestamps(lambda alarm: alarm[1]).key_by(lambda alarm: alarm[0])
    >>> timed.deduplicate(within_s=10).collect()
    [('disk', 0), ('disk', 10)]
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from sage.kernel.operators.event_time import LiveEventTimeOperator, refuse_behind_watermark
from sage.kernel.operators.operator import LiveOperator, Operator
from sage.kernel.operators.windowing.arguments import check_seconds
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, check_key
from sage.kernel.time.watermark import END_OF_TIME

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState
    from sage.kernel.operators.loop import Loop

__all__ = ["DeduplicateOperator", "DeduplicateWithinOperator", "LiveDeduplicateWithin"]

Bucket = dict[Any, float]  # the time of a key


class _LiveDeduplicate(LiveOperator):
    """The keys that one subtask has passed on."""

    def __init__(self, operator: DeduplicateOperator) -> None:
        super().__init__(operator, [])
        self.seen: set[Any] = set()

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in the keys."""
        super().snapshot(state, full=full)
        state.put_keyed("seen", self.seen, [None] * len(self.seen))

    def restore(self, state: RestoredState) -> None:
        """Take the keys back."""
        super().restore(state)
        self.seen.update(key for key, _ in state.keyed("seen"))


@dataclass(frozen=True)
class DeduplicateOperator(Operator):
    """Passes the first record of each key, ever; every key is kept."""

    kind = "deduplicate"

    def live(self, *, may_share: bool = True) -> _LiveDeduplicate:
        """Make the operator of one subtask, which has seen nothing."""
        return _LiveDeduplicate(self)

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``if k in seen: continue``, then ``seen.add(k)``."""
        assert isinstance(live, _LiveDeduplicate)
        seen, plain, check = loop.bind(live.seen, "m"), _plain(loop), loop.bind(check_key, "c")
        loop.drop_if(f"{loop.key} in {seen}", "filtered")
        loop.line(f"if type({loop.key}) not in {plain}: {check}({loop.key})")
        loop.line(f"{loop.bind(live.seen.add)}({loop.key})")


class LiveDeduplicateWithin(LiveEventTimeOperator):
    """The times at which one subtask has passed on records, by bucket and key.

    Attributes:
        around: For the number of a bucket: that bucket, the one before and the one behind it.
    """

    def __init__(self, operator: DeduplicateWithinOperator) -> None:
        super().__init__(operator, [])
        self._within_s = operator.within_s
        self._buckets: dict[float, Bucket] = {}
        self._numbers: list[float] = []  # a heap
        self.around: dict[float, tuple[Bucket, Bucket, Bucket]] = {}

    def add_around(self, number: float) -> tuple[Bucket, Bucket, Bucket]:
        """Add what a record of a bucket looks into; all three are there from now on."""
        near = (self._bucket(number), self._bucket(number - 1), self._bucket(number + 1))
        self.around[number] = near
        self._look_ahead()
        return near

    def _bucket(self, number: float) -> Bucket:
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = {}
            heappush(self._numbers, number)
        return bucket

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in the times; the bucket of a time follows from it."""
        super().snapshot(state, full=full)
        buckets = self._buckets.values()
        times = list(chain.from_iterable(bucket.values() for bucket in buckets))
        state.put_keyed("times", list(chain.from_iterable(buckets)), times)

    def restore(self, state: RestoredState) -> None:
        """Take the times back."""
        super().restore(state)
        for key, time in state.keyed("times"):
            self._bucket(time // self._within_s)[key] = time
        self._look_ahead()

    def fire(self, watermark: float) -> None:
        """Forget the times that no record can be near any more."""
        while self._numbers and self._end_of(self._numbers[0]) <= watermark:
            number = heappop(self._numbers)
            del self._buckets[number]
            self.around.pop(number, None)
        self._look_ahead()

    def _end_of(self, number: float) -> float:
        return (number + 2) * self._within_s

    def _look_ahead(self) -> None:
        self.due = self._end_of(self._numbers[0]) if self._numbers else END_OF_TIME


@dataclass(frozen=True)
class DeduplicateWithinOperator(Operator):
    """Passes a record unless one of its key was passed on whose time is near.

    It is one to one and has no results of its own, so unlike other operators that follow event
    time it stays in the loop with what comes before and after it.

    Args:
        within_s: Records less than this apart are duplicates, in seconds.

    Raises:
        GraphError: if that is no finite number above 0.
    """

    kind = "deduplicate"
    uses_time: ClassVar[bool] = True
    within_s: float

    def __post_init__(self) -> None:
        check_seconds("deduplicate", "within_s", self.within_s, above=0)

    @property
    def note(self) -> str:
        """What counts as a duplicate."""
        return f"less than {self.within_s:g} s apart"

    def live(self, *, may_share: bool = True) -> LiveDeduplicateWithin:
        """Make the operator of one subtask, which has seen nothing."""
        return LiveDeduplicateWithin(self)

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """Look for the key in the record's bucket and its neighbours, which change seldom."""
        assert isinstance(live, LiveDeduplicateWithin)
        time, now, key = loop.riders["time"], loop.riders["watermark"], loop.key
        me, within = loop.bind(live, "e"), loop.bind(self.within_s, "b")
        number, of = loop.fresh("n"), loop.fresh("n")
        here, before, behind, seen = (loop.fresh(hint) for hint in ("m", "m", "m", "t"))
        loop.at_start(f"{of} = None")
        loop.block(f"if {now} >= {me}.due:", [f"{me}.advance({now})"])
        refuse_behind_watermark(loop, live)
        loop.line(f"{number} = {time} // {within}")
        near = loop.fresh("m")
        loop.block(
            f"if {number} != {of}:",
            [
                f"{near} = {loop.bind(live.around.get, 'g')}({number})",
                f"if {near} is None: {near} = {me}.add_around({number})",
                f"{here}, {before}, {behind} = {near}",
                f"{of} = {number}",
            ],
        )
        loop.drop_if(f"{key} in {here}", "filtered")
        loop.line(f"{seen} = {before}.get({key})")
        loop.block(
            f"if {seen} is None:",
            [f"if type({key}) not in {_plain(loop)}: {loop.bind(check_key, 'c')}({key})"],
        )
        loop.block(
            f"elif {time} - {seen} < {within}:", [f"{loop.count('filtered')} += 1", "continue"]
        )
        is_near = f"{behind}[{key}] - {time} < {within}"
        loop.drop_if(f"{behind} and {key} in {behind} and {is_near}", "filtered")
        loop.line(f"{here}[{key}] = {time}")


def _plain(loop: Loop) -> str:
    return loop.bind(PLAIN_KEY_TYPES, "p")
