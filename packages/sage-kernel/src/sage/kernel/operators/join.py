"""``join``: the regular keyed join of two streams, with bounded state.

Every record is kept under its key and meets every record of the other side with the same key,
whichever comes first. An outer join gives the row without a partner only when no partner can come
any more: when the record's time to live is over, or at the end of the input; never earlier, and it
is never taken back.

A snapshot has, for each side, the keyed ``left`` or ``right``: of each row the record, when it
arrived, its time, its riders, whether it has met a partner, and which of all it is by age. And
``times at``: for each side, where time and watermark are among its riders.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> env = LocalEnvironment()
    >>> users = env.from_collection([(1, "ann"), (2, "bob")]).key_by(lambda u: u[0])
    >>> orders = env.from_collection([(1, "tea")]).key_by(lambda o: o[0])
    >>> sorted(users.join(orders, how="left").collect(), key=lambda pair: pair[0])
    [((1, 'ann'), (1, 'tea')), ((2, 'bob'), None)]
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Literal

from sage.kernel.errors import GraphError
from sage.kernel.operators.function_spec import FunctionSpec, LiveFunction
from sage.kernel.operators.operator import LiveOperator, Operator, Row
from sage.kernel.state.key_group import check_key
from sage.kernel.time.watermark import START_OF_TIME

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState
    from sage.kernel.operators.loop import Loop

__all__ = ["JoinHow", "JoinOperator", "LiveJoin", "check_how", "given_alone"]

JoinHow = Literal["inner", "left", "right", "full"]


class _Row:
    """A record that waits for partners; its riders are kept while it may be given alone."""

    __slots__ = ("arrived_s", "key", "matched", "record", "riders", "side", "time_s")

    def __init__(
        self,
        side: int,
        key: Any,
        record: Any,
        *,
        arrived_s: float,
        time_s: float,
        riders: tuple[Any, ...],
    ) -> None:
        self.side = side
        self.key = key
        self.record = record
        self.arrived_s = arrived_s
        self.time_s = time_s
        self.riders = riders
        self.matched = False


_TOLD = attrgetter("record", "arrived_s", "time_s", "riders", "matched")


class LiveJoin(LiveOperator):
    """The two sides of one subtask, by key.

    Args:
        operator: The description.
        functions: The join function, or none.
    """

    def __init__(self, operator: JoinOperator, functions: list[LiveFunction]) -> None:
        super().__init__(operator, functions)
        self._given_alone = given_alone(operator.how)
        self._ttl_s = operator.state_ttl_s
        self._max_rows = operator.max_rows
        self._join = functions[0].call if functions else _pair
        self._rows: tuple[dict[Any, list[_Row]], dict[Any, list[_Row]]] = ({}, {})
        self._by_age: deque[_Row] = deque()
        self._kept = 0
        # For each side, where time and watermark are among the riders, if they are.
        self._times_at: list[tuple[int, int] | None] = [None, None]

    def add(self, side: int, key: Any, record: Any, *riders: Any) -> Iterator[Any]:
        """Keep a record and yield what it makes with the other side; rows, if it has riders."""
        now = 0.0
        if self._ttl_s is not None:
            now = self.clock()
            yield from self._expired(now)
        at = self._times_at[side]
        time_s = riders[at[0]] if at is not None else 0.0
        alone = riders if self._given_alone[side] else ()
        row = _Row(side, key, record, arrived_s=now, time_s=time_s, riders=alone)
        self._keep(row)
        for partner in self._rows[1 - side].get(key, ()):
            row.matched = partner.matched = True
            row.riders = partner.riders = ()
            left, right = (row, partner) if side == 0 else (partner, row)
            joined = self._join(left.record, right.record)
            if joined is not None:
                beside = riders if at is None else self._of_pair(riders, at, partner.time_s)
                yield Row((joined, *beside)) if riders else joined

    def layout(self, side: int, names: Sequence[str]) -> None:
        """Learn which riders come with a record of one side."""
        if "time" in names:
            self._times_at[side] = (names.index("time"), names.index("watermark"))

    def forwarded(self, watermark: float) -> float:
        """Return how far time has come behind it: rows of any time may come alone at the end."""
        return START_OF_TIME if any(self._given_alone) else watermark

    def _of_pair(
        self, riders: tuple[Any, ...], at: tuple[int, int], partner_s: float
    ) -> tuple[Any, ...]:
        """Return a record's riders with the later of two times, and the watermark that goes on."""
        beside = list(riders)
        beside[at[0]] = max(riders[at[0]], partner_s)
        beside[at[1]] = self.forwarded(riders[at[1]])
        return tuple(beside)

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in the rows of both sides."""
        super().snapshot(state, full=full)
        state.put_whole("times at", tuple(self._times_at))
        ages = {id(row): age for age, row in enumerate(self._by_age)}
        for name, side in zip(("left", "right"), self._rows, strict=True):
            rows = list(chain.from_iterable(side.values()))
            told = [(*_TOLD(row), ages.get(id(row), 0)) for row in rows]
            held = [row.record for row in rows]
            held += chain.from_iterable(row.riders for row in rows)
            state.put_records(name, [row.key for row in rows], told, held)

    def restore(self, state: RestoredState) -> None:
        """Take the rows back; of several subtasks, those that came first are the oldest."""
        super().restore(state)
        for times_at in state.whole("times at"):  # no loop that would say it may be written yet
            both = zip(self._times_at, times_at, strict=True)
            self._times_at = [one or other for one, other in both]
        by_age = []
        for side, name in enumerate(("left", "right")):
            for key, (record, arrived_s, time_s, riders, matched, age) in state.keyed(name):
                times = {"arrived_s": arrived_s, "time_s": time_s}
                row = _Row(side, key, record, **times, riders=riders)
                row.matched = matched
                self._rows[side].setdefault(key, []).append(row)
                self._kept += 1
                by_age.append((arrived_s, age, row))
        if self._ttl_s is not None:
            self._by_age.extend(row for *_, row in sorted(by_age, key=itemgetter(0, 1)))

    @property
    def due_s(self) -> float | None:
        """When the oldest record's time is over; only an outer join has something to say then."""
        if self._ttl_s is None or not self._by_age:
            return None
        return self._by_age[0].arrived_s + self._ttl_s

    def on_due(self) -> Iterable[Any]:
        """Yield the rows without a partner whose time is over."""
        yield from self._expired(self.clock())

    def finish(self) -> Iterable[Any]:
        """Yield the rows that found no partner, the left side first."""
        for side in (0, 1):
            for rows in self._rows[side].values():
                for row in rows:
                    yield from self._alone(row)
        yield from super().finish()

    def _keep(self, row: _Row) -> None:
        rows = self._rows[row.side].get(row.key)
        if rows is None:
            check_key(row.key)
            rows = self._rows[row.side][row.key] = []
        if self._kept >= self._max_rows:
            raise MemoryError(
                f"the join holds {self._kept} records (max_rows); "
                f"bound it with state_ttl_s, or raise it"
            )
        rows.append(row)
        self._kept += 1
        if self._ttl_s is not None:
            self._by_age.append(row)

    def _expired(self, now: float) -> Iterator[Any]:
        assert self._ttl_s is not None
        while self._by_age and self._by_age[0].arrived_s + self._ttl_s <= now:
            row = self._by_age.popleft()
            rows = self._rows[row.side][row.key]
            rows.remove(row)
            if not rows:
                del self._rows[row.side][row.key]
            self._kept -= 1
            yield from self._alone(row)

    def _alone(self, row: _Row) -> Iterator[Any]:
        if row.matched or not self._given_alone[row.side]:
            return
        left, right = (row.record, None) if row.side == 0 else (None, row.record)
        joined = self._join(left, right)
        if joined is not None:
            at = self._times_at[row.side] if row.riders else None
            beside = row.riders if at is None else self._of_pair(row.riders, at, row.time_s)
            yield Row((joined, *beside)) if beside else joined


@dataclass(frozen=True)
class JoinOperator(Operator):
    """Joins two keyed streams.

    Args:
        function: Makes one record of a pair, or None for the pair itself.
        how: Which side's records without a partner are given too.
        state_ttl_s: How long a record waits for partners, in seconds of processing time, which
            makes the result depend on when records arrive; None waits until the end. (With
            timestamps on both sides the verb makes an `IntervalJoinOperator` instead.)
        max_rows: Most records kept in a subtask; one more is an error, none is dropped.
    """

    kind = "join"
    one_to_one = False
    function: FunctionSpec | None = None
    how: JoinHow = "inner"
    state_ttl_s: float | None = None
    max_rows: int = 10_000_000

    def __post_init__(self) -> None:
        check_how(self.how)
        ttl_s = self.state_ttl_s
        if ttl_s is not None and not (isinstance(ttl_s, int | float) and 0 < ttl_s < math.inf):
            raise GraphError(f"join: state_ttl_s must be above 0 seconds and finite, got {ttl_s!r}")

    @property
    def note(self) -> str:
        """That its result depends on when records arrive, if it does."""
        if self.state_ttl_s is None:
            return ""
        return (
            f"waits {self.state_ttl_s:g} s of processing time for partners, so its result depends "
            f"on when records arrive; timestamps on both sides would change that"
        )

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The join function, if there is one."""
        return (self.function,) if self.function is not None else ()

    def live(self, *, may_share: bool = True) -> LiveJoin:
        """Make the operator of one subtask, with empty state."""
        return LiveJoin(self, [spec.live(may_share=may_share) for spec in self.specs])

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """An inner loop over what the record makes with the other side."""
        assert isinstance(live, LiveJoin)
        rows = len(loop.riders) > 1  # there is more than the key, and it is to come out again
        beside = loop.riders.values() if rows else ()
        live.layout(loop.input_index, list(loop.riders))
        arguments = ", ".join([str(loop.input_index), loop.key, loop.value, *beside])
        loop.each_of(f"{loop.bind(live.add)}({arguments})", rows=rows)


def check_how(how: str) -> None:
    """Raise if ``how`` is no way to join.

    Raises:
        GraphError: if it is none of ``inner``, ``left``, ``right`` and ``full``.
    """
    if how not in ("inner", "left", "right", "full"):
        raise GraphError(f"how must be inner, left, right or full, got {how!r}")


def given_alone(how: str) -> tuple[bool, bool]:
    """Return, for each side, whether its records without a partner are given too."""
    return how in ("left", "full"), how in ("right", "full")


def _pair(left: Any, right: Any) -> tuple[Any, Any]:
    return (left, right)
