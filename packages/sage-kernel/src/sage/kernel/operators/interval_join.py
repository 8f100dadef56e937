"""``interval_join``: pairs of two streams whose times are close, each side kept while it may match.

A pair has equal keys and ``lower_s <= right.time - left.time <= upper_s``, both ends included, as
in Flink. It is emitted when the second of the two arrives, with the later of their times. A record
is dropped soon after the watermark says that no partner can come any more; an outer join gives its
row without a partner at that very moment: never earlier, and never taken back.

A record behind the watermark is refused as late, as in Flink, though it might still meet a kept
partner: so whether it is joined does not depend on how much state happens to be left.

State is laid out on the axis of the right side's time, where a left record stands a little before
``time + lower_s``. The axis is cut into buckets twice as wide as the interval, so that all partners
of a record are in its own bucket and one neighbour, and a bucket is dropped as a whole. Invariant:
the rows of a key in a bucket are sorted by time.

A snapshot has, for each side, the keyed ``left`` or ``right``: the number of a bucket, then time,
record and fate of each of the key's rows there; for a side that is given alone also which of all
those that wait it is, or 0.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> env = LocalEnvironment()
    >>> orders = env.from_collection([("tea", 10), ("milk", 20)])
    >>> payments = env.from_collection([("tea", 13), ("milk", 99)])
    >>> ordered = orders.assign_timestamps(lambda o: o[1]).key_by(lambda o: o[0])
    >>> paid = payments.assign_timestamps(lambda p: p[1]).key_by(lambda p: p[0])
    >>> ordered.interval_join(paid, lower_s=0, upper_s=5).collect()
    [(('tea', 10), ('tea', 13))]
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sage.kernel.errors import GraphError
from sage.kernel.operators.event_time import EventTimeOperator, LiveEventTimeOperator
from sage.kernel.operators.function_spec import FunctionSpec, LiveFunction
from sage.kernel.operators.interval_join_loop import (
    ALONE,
    EMITTED,
    MATCHED,
    Bucket,
    Cell,
    IntervalJoinLoop,
    Rows,
)
from sage.kernel.operators.join import JoinHow, check_how, given_alone
from sage.kernel.operators.operator import LiveOperator
from sage.kernel.operators.windowing.arguments import check_seconds
from sage.kernel.time.watermark import END_OF_TIME

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState
    from sage.kernel.operators.loop import Loop

__all__ = ["IntervalJoinOperator", "LiveIntervalJoin"]

_NARROWEST_S = 2.0**-6  # of a bucket; its margin is above what floats tell apart in this millennium


class LiveIntervalJoin(LiveEventTimeOperator):
    """The two sides of one subtask.

    Attributes:
        buckets: For each side, the buckets by number.
        width_s: Of a bucket.
        shift_s: From a left record's time to its place on the axis.
        reach_s: How far behind that place, on the axis, a partner may be.
        narrowed: For each side, says where in many rows of the other side a record's partners are.
        kept: How many records it keeps, counted only where that is bounded.
    """

    def __init__(self, operator: IntervalJoinOperator, functions: list[LiveFunction]) -> None:
        super().__init__(operator, functions)
        self._lower_s = operator.lower_s
        self._upper_s = operator.upper_s
        self._given_alone = operator.given_alone
        self._join = functions[0].call if functions else _pair
        interval_s = operator.upper_s - operator.lower_s
        self.width_s = max(2 * interval_s, _NARROWEST_S)
        # Differences are rounded, so there is a margin on both sides of the interval.
        self._margin_s = self.width_s * 0.025
        self.shift_s = operator.lower_s - self._margin_s
        self.reach_s = self.width_s * 0.55
        self.buckets: tuple[dict[float, Bucket], dict[float, Bucket]] = ({}, {})
        self.narrowed = (self._among_rights, self._among_lefts)
        self._oldest: tuple[list[float], list[float]] = ([], [])
        self._waiting: tuple[list[tuple[float, int, Cell]], ...] = ([], [])
        self._serial = 0
        self.kept = 0

    @property
    def held(self) -> int:
        """How many records may still find partners."""
        buckets = [bucket for side in self.buckets for bucket in list(side.values())]
        return sum(len(rows) // 3 for bucket in buckets for rows in list(bucket.values()))

    def advance(self, watermark: float) -> None:
        """Let event time go on, but not past a record that may still be given alone."""
        if watermark >= self.due or watermark == END_OF_TIME:
            self.fire(watermark)
        oldest = (waiting[0][0] for waiting in self._waiting if waiting)
        self.watermark = max(self.watermark, min(watermark, *oldest, END_OF_TIME))

    def fire(self, watermark: float) -> None:
        """Give the rows that can find no partner any more, and drop what no record can match."""
        lefts, rights = self._waiting
        while lefts and watermark - lefts[0][0] > self._upper_s:
            self._give_alone(0, heappop(lefts)[2])
        while rights and rights[0][0] - watermark < self._lower_s:
            self._give_alone(1, heappop(rights)[2])
        for side in (0, 1):
            oldest = self._oldest[side]
            while oldest and self._end_of(side, oldest[0]) < watermark:
                self._drop(side, self.buckets[side].pop(heappop(oldest)))
        self._look_ahead()
        # A time may be over only just behind that; while the watermark stands still, it is not.
        self.due = max(self.due, math.nextafter(watermark, END_OF_TIME))

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in the rows: of plain records and tuples a copy of the lists, others as bytes."""
        super().snapshot(state, full=full)
        for side, name in enumerate(("left", "right")):
            keys: list[Any] = []
            values: list[Any] = []
            records: list[Any] = []
            places = {id(cell): serial for _, serial, cell in self._waiting[side]}
            for number, bucket in self.buckets[side].items():
                keys += bucket
                for rows in bucket.values():
                    records += rows[1::3]
                    told = _told(rows, places) if self._given_alone[side] else rows
                    values.append((number, *told))
            state.put_records(name, keys, values, records)

    def restore(self, state: RestoredState) -> None:
        """Take back the rows, and let those wait that waited, in their order."""
        super().restore(state)
        waiting: list[tuple[int, int, Cell]] = []
        for side, name in enumerate(("left", "right")):
            buckets = self.buckets[side]
            for key, (number, *rows) in state.keyed(name):
                if self._given_alone[side]:
                    columns = [rows[at::4] for at in range(4)]
                    rows = []
                    for time, record, fate, place in zip(*columns, strict=True):
                        cell = [time, record, fate]
                        rows += (time, record, cell)
                        if place:
                            waiting.append((place, side, cell))
                buckets.setdefault(number, {})[key] = rows
                self.kept += len(rows) // 3
            self._oldest[side].extend(sorted(buckets))
        waiting.sort(key=itemgetter(0))
        for self._serial, (_, side, cell) in enumerate(waiting, start=1):
            heappush(self._waiting[side], (cell[0], self._serial, cell))
        self._look_ahead()

    def bucket(self, side: int, number: float) -> Bucket:
        """Add a bucket to one side."""
        made = self.buckets[side][number] = {}
        heappush(self._oldest[side], number)
        self._look_ahead()
        return made

    def overflow(self) -> None:
        """Refuse one record more.

        Raises:
            MemoryError: always.
        """
        raise MemoryError(
            f"the join holds {self.kept} records (max_rows); shorten state_ttl_s, or raise it"
        )

    def insert(self, rows: Rows, time: float, record: Any, fate: Any) -> None:
        """Add a record that is not the last of its rows, behind those of the same time."""
        at = bisect_right(range(0, len(rows), 3), time, key=rows.__getitem__) * 3
        rows[at:at] = time, record, fate

    def wait(self, side: int, cell: Cell) -> None:
        """Remember a record that is given alone if nothing matches it in time."""
        self._serial += 1
        heappush(self._waiting[side], (cell[0], self._serial, cell))
        if self._waiting[side][0][2] is cell:
            self._look_ahead()

    def part(self, side: int, cell: Cell) -> None:
        """Let go of a record that was never kept because nothing can match it any more."""
        if self._given_alone[side]:
            self._give_alone(side, cell)
        self.statistics.empty += cell[2] != EMITTED

    def _give_alone(self, side: int, cell: Cell) -> None:
        time, record, fate = cell
        if fate != ALONE:
            return
        pair = (record, None) if side == 0 else (None, record)
        cell[2] = MATCHED
        try:
            joined = self._join(*pair)
        except Exception as error:
            joined = self.try_again(lambda: self._join(*pair), pair, error)
        if joined is not None:
            cell[2] = EMITTED
            self.emit(joined, time)

    def _drop(self, side: int, bucket: Bucket) -> None:
        fates = list(chain.from_iterable(bucket.values()))[2::3]
        if self._given_alone[side]:
            fates = [cell[2] for cell in fates]
        self.statistics.empty += len(fates) - fates.count(EMITTED)
        self.kept -= len(fates)

    def _end_of(self, side: int, number: float) -> float:
        """Return the watermark above which no record can match anything in a bucket."""
        end = (number + 1) * self.width_s
        return end + self.reach_s if side == 0 else end - self.shift_s

    def _look_ahead(self) -> None:
        lefts, rights = self._waiting
        ends = [self._end_of(side, self._oldest[side][0]) for side in (0, 1) if self._oldest[side]]
        if lefts:
            ends.append(lefts[0][0] + self._upper_s)
        if rights:
            ends.append(rights[0][0] - self._lower_s)
        self.due = min(ends, default=END_OF_TIME)

    def _among_rights(self, rows: Rows, time: float) -> range:
        return _places(rows, time, self._lower_s, self._upper_s)

    def _among_lefts(self, rows: Rows, time: float) -> range:
        return _places(rows, time, -self._upper_s, -self._lower_s)


@dataclass(frozen=True)
class IntervalJoinOperator(EventTimeOperator):
    """Joins records of two keyed streams whose times are close; see the module's docstring.

    Args:
        function: Makes one record of a pair, or None for the pair itself.
        lower_s: Least time from the left record to the right one, in seconds; may be negative.
        upper_s: Most time from the left record to the right one.
        how: Which side's records without a partner are given too.
        max_rows: Most records kept in a subtask; one more is an error. None bounds them by time
            alone.

    Raises:
        GraphError: if a bound is no finite number, or the interval ends before it starts.
    """

    kind = "interval_join"
    function: FunctionSpec | None
    lower_s: float
    upper_s: float
    how: JoinHow = "inner"
    max_rows: int | None = None

    def __post_init__(self) -> None:
        check_how(self.how)
        check_seconds("interval_join", "lower_s", self.lower_s)
        check_seconds("interval_join", "upper_s", self.upper_s)
        if self.lower_s > self.upper_s:
            raise GraphError(
                f"interval_join: the interval ends before it starts, got lower_s={self.lower_s!r} "
                f"and upper_s={self.upper_s!r}",
                hint="lower_s is the smaller one: from 5 s before to 1 s after is lower_s=-5, "
                "upper_s=1",
            )

    @property
    def note(self) -> str:
        """How far partners may be apart, and which rows have none."""
        return f"{self.how}, the right side {self.lower_s:g} to {self.upper_s:g} s after the left"

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The join function, if there is one."""
        return (self.function,) if self.function is not None else ()

    @property
    def given_alone(self) -> tuple[bool, bool]:
        """For each side, whether its records without a partner are given too."""
        return given_alone(self.how)

    def live(self, *, may_share: bool = True) -> LiveIntervalJoin:
        """Make the operator of one subtask, with empty state."""
        return LiveIntervalJoin(self, [spec.live(may_share=may_share) for spec in self.specs])

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """Find the partners, keep the record, emit: a function that raises has changed nothing."""
        assert isinstance(live, LiveIntervalJoin)
        IntervalJoinLoop(loop, live, self).write()


def _told(rows: Rows, places: dict[int, int]) -> list[Any]:
    """Return the rows of a side that is given alone without cells, but with their places or 0."""
    told: list[Any] = []
    for cell in rows[2::3]:
        told += (*cell, places.get(id(cell), 0))
    return told


def _places(rows: Rows, time: float, least: float, most: float) -> range:
    """Return where in sorted rows the times are so far from one, least and most included."""
    places = range(0, len(rows), 3)
    first = bisect_left(places, least, key=lambda at: rows[at] - time)
    return places[first : bisect_right(places, most, first, key=lambda at: rows[at] - time)]


def _pair(left: Any, right: Any) -> tuple[Any, Any]:
    return (left, right)
