"""The loop of an interval join, for the records of one of its sides.

For a left record it is, in effect::

    place = t + shift
    own = place // width
    mates = mine[own].get(k)
    for rows in theirs[own].get(k), theirs[own + 1].get(k):  # the second only from near it
        for at in range(0, len(rows), 3):
            if lower <= rows[at] - t <= upper:
                out((v, rows[at + 1]))
    mates += (t, v, fate)

and for a right record the mirror image of that. With a join function, all of its results are there
before anything is emitted or kept: a function that raises has changed nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sage.kernel.operators.event_time import refuse_behind_watermark
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, check_key

if TYPE_CHECKING:
    from sage.kernel.operators.interval_join import IntervalJoinOperator, LiveIntervalJoin
    from sage.kernel.operators.loop import Loop

__all__ = ["ALONE", "EMITTED", "MATCHED", "Bucket", "Cell", "IntervalJoinLoop", "Rows"]

# What became of a record so far. Of a side that is given alone, a cell holds time, record and fate,
# which is where the row that waits to be given alone looks.
ALONE, MATCHED, EMITTED = 0, 1, 2
Cell = list[Any]

# The records of a key in a bucket, flat, because a container for each record would keep the garbage
# collector busy: time, record, fate (or cell), time, record, fate, ...
Rows = list[Any]
Bucket = dict[Any, Rows]

_LONG = 16 * 3  # so long rows are bisected


class IntervalJoinLoop:
    """Writes the loop of one side.

    Args:
        loop: Where it is written.
        live: The state that it works on.
        operator: What it means.
    """

    def __init__(self, loop: Loop, live: LiveIntervalJoin, operator: IntervalJoinOperator) -> None:
        self._loop, self._live, self._operator = loop, live, operator
        self._side = loop.input_index
        self._has_function = operator.function is not None
        self._record = loop.value
        self._time, self._now = loop.riders["time"], loop.riders["watermark"]
        self._me = loop.bind(live, "e")
        self._lower = loop.bind(operator.lower_s, "b")
        self._upper = loop.bind(operator.upper_s, "b")
        self._mine = loop.bind(live.buckets[self._side].get, "g")
        self._theirs = loop.bind(live.buckets[1 - self._side].get, "g")

    def write(self) -> None:
        """Find the partners, keep the record, emit."""
        me, loop = self._me, self._loop
        loop.block(f"if {self._now} >= {me}.due:", [f"{me}.advance({self._now})"])
        refuse_behind_watermark(loop, self._live)
        self._write_place()
        self._write_partners()
        self._write_keep()
        if self._has_function:
            loop.block("for rows, at, pair in made:", self._emit_lines())

    def _write_place(self) -> None:
        """``own``: its bucket; ``into``: how far into it; ``mates``: what that has of its key."""
        loop, width = self._loop, self._loop.bind(self._live.width_s, "w")
        shift = f" + {loop.bind(self._live.shift_s, 'b')}" if self._side == 0 else ""
        loop.line(f"place = {self._time}{shift}")
        loop.line(f"own = place // {width}; into = place - own * {width}")
        if self._operator.max_rows is not None:
            most = loop.bind(self._operator.max_rows, "b")
            loop.block(f"if {self._me}.kept >= {most}:", [f"{self._me}.overflow()"])
        plain, check = loop.bind(PLAIN_KEY_TYPES, "p"), loop.bind(check_key, "c")
        loop.line(f"bucket = {self._mine}(own)")
        loop.line(f"mates = bucket.get({loop.key}) if bucket is not None else None")
        unchecked = f"if mates is None and type({loop.key}) not in {plain}:"
        loop.block(unchecked, [f"{check}({loop.key})"])

    def _write_partners(self) -> None:
        """Look into its own bucket, and into a neighbour where that is near enough."""
        loop, live = self._loop, self._live
        loop.line(f"fate = {ALONE}")
        if self._has_function:
            loop.line("made = []")
        if self._side == 0:
            near = loop.bind(live.width_s - live.reach_s, "b")
            loop.lines(self._bucket_lines("own"))
            loop.block(f"if into >= {near}:", self._bucket_lines("own + 1"))
        else:
            near = loop.bind(live.reach_s, "b")
            loop.block(f"if into <= {near}:", self._bucket_lines("own - 1"))
            loop.lines(self._bucket_lines("own"))

    def _bucket_lines(self, number: str) -> list[str]:
        """Return the lines for the partners in one bucket."""
        loop = self._loop
        narrowed = loop.bind(self._live.narrowed[self._side], "f")
        apart = f"rows[at] - {self._time}" if self._side == 0 else f"{self._time} - rows[at]"
        found = self._made_lines() if self._has_function else self._emit_lines()
        return [
            f"rows = {self._theirs}({number})",
            f"if rows is not None: rows = rows.get({loop.key})",
            "if rows is not None:",
            "    size = len(rows)",
            f"    if size < {_LONG}: places = range(0, size, 3)",
            f"    else: places = {narrowed}(rows, {self._time})",
            "    for at in places:",
            f"        if {self._lower} <= {apart} <= {self._upper}:",
            *(f"            {line}" for line in found),
        ]

    def _made_lines(self) -> list[str]:
        """Return the lines that call the function with a pair."""
        return [
            f"pair = {self._loop.bind(self._live.functions[0].call)}{self._pair()}",
            "made.append((rows, at, pair))",
            f"if pair is not None: fate = {EMITTED}",
            f"elif fate == {ALONE}: fate = {MATCHED}",
        ]

    def _emit_lines(self) -> list[str]:
        """Return the lines that emit one pair."""
        loop, out = self._loop, self._live.out
        partner = "rows[at + 2]" + ("[2]" if self._operator.given_alone[1 - self._side] else "")
        if self._has_function:
            lines = ["if pair is None:", f"    {partner} = {partner} or {MATCHED}", "    continue"]
        else:
            lines = [f"pair = {self._pair()}", f"fate = {EMITTED}"]
        loop.value = "pair"
        waits = any(self._operator.given_alone)
        waiting = loop.bind(out.values, "o")
        return [
            *lines,
            f"{partner} = {EMITTED}",
            f"{loop.count('produced')} += 1",
            *loop.collecting(
                out,
                time=f"({self._time} if {self._time} >= rows[at] else rows[at])",
                watermark=f"{self._me}.watermark" if waits else self._now,
            ),
            f"if len({waiting}) >= {self._live.most_waiting}: {self._me}.relieve()",
        ]

    def _pair(self) -> str:
        """Return the two records, the left one first."""
        sides = [self._record, "rows[at + 1]"]
        return f"({', '.join(sides if self._side == 0 else reversed(sides))})"

    def _write_keep(self) -> None:
        """Put the record among those of its side, unless no partner can come any more."""
        loop, me, side = self._loop, self._me, self._side
        given_alone = self._operator.given_alone[side]
        cell = f"[{self._time}, {self._record}, fate]"
        row = f"{self._time}, {self._record}, {'cell' if given_alone else 'fate'}"
        lines = [
            "if mates is None:",
            f"    if bucket is None: bucket = {me}.bucket({side}, own)",
            f"    bucket[{loop.key}] = [{row}]",
            f"elif mates[-3] <= {self._time}: mates += ({row})",
            f"else: {me}.insert(mates, {row})",
        ]
        if given_alone:
            lines = [f"cell = {cell}", *lines]
            lines.append(f"if fate == {ALONE}: {me}.wait({side}, cell)")
        if self._operator.max_rows is not None:
            lines.append(f"{me}.kept += 1")
        if not self._has_no_future:
            loop.lines(lines)
            return
        loop.block(f"if {self._has_no_future}:", [f"{me}.part({side}, {cell})"])
        loop.block("else:", lines)

    @property
    def _has_no_future(self) -> str:
        """The test that says that no partner can come any more, or "" if one always can."""
        if self._side == 0 and self._operator.upper_s < 0:
            return f"{self._now} - {self._time} > {self._upper}"
        if self._side == 1 and self._operator.lower_s > 0:
            return f"{self._time} - {self._now} < {self._lower}"
        return ""
