"""``interval_join``: pairs of two streams whose times are close, each side kept while it may match.

A pair has equal keys and ``lower_s <= right.time - left.time <= upper_s``, both ends included, as
in Flink. It is emitted when the second of the two arrives, with the later of their
times. A record is dropped as soon as the watermark says that no partner can come any more; an outer
join gives its row without a partner at that moment: never earlier, and never taken back.

A record behind the watermark is refused as late, as in Flink, though it might still meet a kept
partner: so whether it is joined does not depend on how much state happens to be left.

State is laid out on the axis of the right side's time, where a left record stands at
``time + lower_s``. The axis is cut into buckets a little wider than the interval, so that all
partners of a record are in its own bucket and one neighbour, and a bucket is dropped as a whole.
Invariant: the rows of a key in a bucket are sorted by time.

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
from typing import TYPE_CHECKING, Any

from sage.kernel.errors import GraphError
from sage.kernel.operators.event_time import (
    EventTimeOperator,
    LiveEventTimeOperator,
    refuse_behind_watermark,
)
from sage.kernel.operators.function_spec import FunctionSpec, LiveFunction
from sage.kernel.operators.join import JoinHow, check_how, given_alone
from sage.kernel.operators.operator import LiveOperator
from sage.kernel.operators.windowing.arguments import check_seconds
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, check_key
from sage.kernel.time.watermark import END_OF_TIME

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop

__all__ = ["IntervalJoinOperator", "LiveIntervalJoin"]

# What became of a record so far. Of a side that is given alone, a cell holds time, record and fate,
# which is where the row that waits to be given alone looks.
ALONE, MATCHED, EMITTED = 0, 1, 2
Cell = list[Any]

# The records of a key in a bucket, flat, because a container for each record would keep the garbage
# collector busy: time, record, fate (or cell), time, record, fate, ...
Rows = list[Any]
Bucket = dict[Any, Rows]

_LONG = 16 * 3  # so long rows are bisected
_NARROWEST_S = 2.0**-10  # of a bucket; finer than any timestamps that make sense


class LiveIntervalJoin(LiveEventTimeOperator):
    """The two sides of one subtask.

    Attributes:
        buckets: For each side, the buckets by number.
        width_s: Of a bucket.
        reach_s: How far apart, on the axis, two records that match may be.
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
        self.reach_s = self.width_s * 0.55  # more than the interval, whatever floats round to
        self.buckets: tuple[dict[float, Bucket], dict[float, Bucket]] = ({}, {})
        self.narrowed = (self._among_rights, self._among_lefts)
        self._oldest: tuple[list[float], list[float]] = ([], [])
        self._waiting: tuple[list[tuple[float, int, Cell]], ...] = ([], [])
        self._serial = 0
        self.kept = 0
        # A row without partner is emitted when its time is over, behind the watermark by so much.
        left, right = self._given_alone
        self._delay_s = max(operator.upper_s if left else 0, -operator.lower_s if right else 0, 0)

    @property
    def held(self) -> int:
        """How many records may still find partners."""
        buckets = [bucket for side in self.buckets for bucket in list(side.values())]
        return sum(len(rows) // 3 for bucket in buckets for rows in list(bucket.values()))

    def advance(self, watermark: float) -> None:
        """Let event time go on; behind an outer join it stays back, for those without partner."""
        if watermark >= self.due or watermark == END_OF_TIME:
            self.fire(watermark)
        if watermark - self._delay_s > self.watermark:
            self.watermark = watermark - self._delay_s

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
            self.set_aside(pair, error)
            return
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
        return end + self.reach_s if side == 0 else end - self._lower_s

    def _look_ahead(self) -> None:
        lefts, rights = self._waiting
        ends = [self._end_of(side, self._oldest[side][0]) for side in (0, 1) if self._oldest[side]]
        if lefts:
            ends.append(lefts[0][0] + self._upper_s)
        if rights:
            ends.append(rights[0][0] - self._lower_s)
        self.due = math.nextafter(min(ends, default=END_OF_TIME), END_OF_TIME)

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
        now, me = loop.riders["watermark"], loop.bind(live, "e")
        loop.block(f"if {now} >= {me}.due:", [f"{me}.advance({now})"])
        refuse_behind_watermark(loop, live)
        writer = _Writer(self, loop, live, me)
        writer.write_place()
        writer.write_probe()
        writer.write_keep()
        writer.write_emit()


class _Writer:
    """Writes the loop for the records of one side."""

    def __init__(
        self, operator: IntervalJoinOperator, loop: Loop, live: LiveIntervalJoin, me: str
    ) -> None:
        self.operator, self.loop, self.live, self.me = operator, loop, live, me
        self.side = loop.input_index
        self.record, self.time, self.now = loop.value, loop.riders["time"], loop.riders["watermark"]
        self.lower, self.upper = loop.bind(operator.lower_s, "b"), loop.bind(operator.upper_s, "b")
        self.fate, self.made = loop.fresh("fate"), loop.fresh("made")

    def write_place(self) -> None:
        """Where on the axis the record is, and what its own bucket has for its key."""
        loop, width = self.loop, self.loop.bind(self.live.width_s, "w")
        place = self.time
        if self.side == 0:
            place = "low"
            loop.line(f"low = {self.time} + {self.lower}; high = {self.time} + {self.upper}")
        loop.line(f"own = {place} // {width}; into = {place} - own * {width}")
        if self.operator.max_rows is not None:
            most = loop.bind(self.operator.max_rows, "b")
            loop.block(f"if {self.me}.kept >= {most}:", [f"{self.me}.overflow()"])
        mine = loop.bind(self.live.buckets[self.side].get, "g")
        plain, check = loop.bind(PLAIN_KEY_TYPES, "p"), loop.bind(check_key, "c")
        loop.line(f"bucket = {mine}(own)")
        loop.line(f"mates = bucket.get({loop.key}) if bucket is not None else None")
        unchecked = f"if mates is None and type({loop.key}) not in {plain}:"
        loop.block(unchecked, [f"{check}({loop.key})"])

    def write_probe(self) -> None:
        """Look into its own bucket, and into a neighbour if it is near enough to that."""
        loop, live = self.loop, self.live
        loop.line(f"{self.fate} = {ALONE}")
        if self.operator.function is not None:
            loop.line(f"{self.made} = []")
        if self.side == 0:
            after = loop.bind(live.width_s - live.reach_s, "b")
            self.write_bucket("own")
            self.write_bucket("own + 1", only_if=f"into >= {after}")
        else:
            before = loop.bind(live.reach_s, "b")
            self.write_bucket("own - 1", only_if=f"into <= {before}")
            self.write_bucket("own")

    def write_bucket(self, number: str, only_if: str = "") -> None:
        """Emit each pair with what a bucket has, or make of it what the function makes."""
        loop = self.loop
        theirs = loop.bind(self.live.buckets[1 - self.side].get, "g")
        narrowed = loop.bind(self.live.narrowed[self.side], "f")
        apart = f"{self.time} - rows[at]" if self.side else f"rows[at] - {self.time}"
        found = self.made_lines() if self.operator.function is not None else self.emit_lines()
        lines = [
            f"rows = {theirs}({number})",
            f"if rows is not None: rows = rows.get({loop.key})",
            "if rows is not None:",
            "    size = len(rows)",
            f"    if size < {_LONG}: places = range(0, size, 3)",
            f"    else: places = {narrowed}(rows, {self.time})",
            "    for at in places:",
            f"        if {self.lower} <= {apart} <= {self.upper}:",
            *(f"            {line}" for line in found),
        ]
        loop.block(f"if {only_if}:", lines) if only_if else loop.lines(lines)

    def made_lines(self) -> list[str]:
        """Return the lines that call the function with a pair."""
        function = self.loop.bind(self.live.functions[0].call)
        return [
            f"pair = {function}{self.pair()}",
            f"{self.made}.append((rows, at, pair))",
            f"if pair is not None: {self.fate} = {EMITTED}",
            f"elif {self.fate} == {ALONE}: {self.fate} = {MATCHED}",
        ]

    def pair(self) -> str:
        """Return the two records, the left one first."""
        sides = [self.record, "rows[at + 1]"]
        return f"({', '.join(sides if self.side == 0 else reversed(sides))})"

    def write_keep(self) -> None:
        """Put the record among those of its side, unless no partner can come any more."""
        loop, fate = self.loop, self.fate
        given_alone = self.operator.given_alone[self.side]
        if given_alone:
            fate = f"[{self.time}, {self.record}, {self.fate}]"
        row = f"{self.time}, {self.record}, {'cell' if given_alone else fate}"
        lines = [
            *([f"cell = {fate}"] if given_alone else []),
            "if mates is None:",
            f"    if bucket is None: bucket = {self.me}.bucket({self.side}, own)",
            f"    bucket[{loop.key}] = [{row}]",
            f"elif mates[-3] <= {self.time}: mates += ({row})",
            f"else: {self.me}.insert(mates, {row})",
        ]
        if self.operator.max_rows is not None:
            lines.append(f"{self.me}.kept += 1")
        if given_alone:
            wait = f"{self.me}.wait({self.side}, cell)"
            lines.append(f"if {self.fate} == {ALONE}: {wait}")
        may_match = self.may_match()
        if may_match is None:
            loop.lines(lines)
            return
        loop.block(f"if {may_match}:", lines)
        parted = f"{self.me}.part({self.side}, [{self.time}, {self.record}, {self.fate}])"
        loop.block("else:", [parted])

    def may_match(self) -> str | None:
        """Return the test whether a partner can still come, or None if one always can."""
        if self.side == 0:
            past = f"{self.now} - {self.time} <= {self.upper}"
            return past if self.operator.upper_s < 0 else None
        ahead = f"{self.time} - {self.now} >= {self.lower}"
        return ahead if self.operator.lower_s > 0 else None

    def write_emit(self) -> None:
        """Emit what the function made."""
        if self.operator.function is None:
            return
        self.loop.block(f"for rows, at, pair in {self.made}:", self.emit_lines())

    def emit_lines(self) -> list[str]:
        """Return the lines that emit one pair."""
        loop, out = self.loop, self.live.out
        partner = "rows[at + 2]" + ("[2]" if self.operator.given_alone[1 - self.side] else "")
        lines = []
        if self.operator.function is None:
            lines += [f"pair = {self.pair()}", f"{self.fate} = {EMITTED}"]
        else:
            lines += ["if pair is None:", f"    {partner} = {partner} or {MATCHED}", "    continue"]
        loop.value = "pair"
        waits = self.operator.how != "inner"
        lines += [f"{partner} = {EMITTED}", f"{loop.count('produced')} += 1"]
        lines += loop.collecting(
            out,
            time=f"({self.time} if {self.time} >= rows[at] else rows[at])",
            watermark=f"{self.me}.watermark" if waits else self.now,
        )
        waiting = loop.bind(out.values, "o")
        lines.append(f"if len({waiting}) >= {self.live.most_waiting}: {self.me}.relieve()")
        return lines


def _places(rows: Rows, time: float, least: float, most: float) -> range:
    """Return where in sorted rows the times are so far from one, least and most included."""
    places = range(0, len(rows), 3)
    first = bisect_left(places, least, key=lambda at: rows[at] - time)
    return places[first : bisect_right(places, most, first, key=lambda at: rows[at] - time)]


def _pair(left: Any, right: Any) -> tuple[Any, Any]:
    return (left, right)
