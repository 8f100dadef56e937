"""``temporal_join``: joins each record with the version of its key that was valid at its time.

The right side is a history: each of its records is a new version of its key, valid from its time
until the next one's. A left record meets the latest version whose time is not after its own (of
several with the same time, the one that came last), as in Flink's event-time temporal join.

A left record waits until the watermark has passed its time, for only then is it certain which
version that is; so it does not matter which side arrives first. Left records come out in the order
of their time. Records of either side behind the watermark are refused as late.

Invariant: of each key are kept the versions after the watermark and the one valid at it. Old ones
go when a new version comes, so a key without changes costs nothing.

A snapshot has the keyed ``versions`` (time, record, whether it was in a result, time, ...) and
``waiting``: time and record of the left records, in the order in which they will come out.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> env = LocalEnvironment()
    >>> orders = env.from_collection([("EUR", 5, 100), ("EUR", 25, 100)])
    >>> rates = env.from_collection([("EUR", 0, 1.1), ("EUR", 20, 1.2)])
    >>> ordered = orders.assign_timestamps(lambda o: o[1]).key_by(lambda o: o[0])
    >>> rated = rates.assign_timestamps(lambda r: r[1]).key_by(lambda r: r[0])
    >>> ordered.temporal_join(rated, lambda order, rate: round(order[2] * rate[2])).collect()
    [110, 120]
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from sage.kernel.errors import GraphError
from sage.kernel.operators.event_time import EventTimeOperator, LiveEventTimeOperator
from sage.kernel.operators.function_spec import FunctionSpec, LiveFunction
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, check_key
from sage.kernel.time.watermark import END_OF_TIME

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState

__all__ = ["LiveTemporalJoin", "TemporalJoinHow", "TemporalJoinOperator"]

TemporalJoinHow = Literal["inner", "left"]

# A version is a list, because its last item changes: time, record, whether it was in a result.
Version = list[Any]
_time_of: Callable[[Version], float] = itemgetter(0)


class LiveTemporalJoin(LiveEventTimeOperator):
    """The versions and the waiting left records of one subtask."""

    def __init__(self, operator: TemporalJoinOperator, functions: list[LiveFunction]) -> None:
        super().__init__(operator, functions)
        self._is_outer = operator.how == "left"
        self._join = functions[0].call if functions else None
        self._versions: dict[Any, list[Version]] = {}
        self._waiting: list[tuple[float, int, Any, Any]] = []  # a heap: time, serial, key, record
        self._serial = 0

    @property
    def held(self) -> int:
        """How many left records wait, and how many versions may still be asked for."""
        return len(self._waiting) + sum(map(len, list(self._versions.values())))

    def add(self, input_index: int, key: Any, record: Any, time: float, watermark: float) -> None:
        """Let a left record wait, or take a version into the history of its key."""
        if time < watermark:
            self.refuse_late(record, time, watermark)
            return
        versions = self._versions.get(key)
        if versions is None and type(key) not in PLAIN_KEY_TYPES:
            check_key(key)
        if input_index == 0:
            self._serial += 1
            heappush(self._waiting, (time, self._serial, key, record))
            if self._waiting[0][1] == self._serial:
                self._look_ahead()
        elif versions is None:
            self._versions[key] = [[time, record, False]]
        else:
            insort(versions, [time, record, False], key=_time_of)
            self._forget(versions, bisect_right(versions, watermark, key=_time_of) - 1)

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in the versions, and the left records that wait."""
        super().snapshot(state, full=full)
        histories = [tuple(chain.from_iterable(of_key)) for of_key in self._versions.values()]
        records = [record for history in histories for record in history[1::3]]
        state.put_records("versions", list(self._versions), histories, records)
        waiting = sorted(self._waiting, key=itemgetter(0, 1))
        keys, records = [key for _, _, key, _ in waiting], [record for *_, record in waiting]
        state.put_records("waiting", keys, [(time, r) for time, _, _, r in waiting], records)

    def restore(self, state: RestoredState) -> None:
        """Take them back."""
        super().restore(state)
        for key, history in state.keyed("versions"):
            self._versions[key] = [list(history[at : at + 3]) for at in range(0, len(history), 3)]
        for key, (time, record) in state.keyed("waiting"):
            self._serial += 1
            heappush(self._waiting, (time, self._serial, key, record))
        self._look_ahead()

    def fire(self, watermark: float) -> None:
        """Join the left records whose time is over."""
        waiting = self._waiting
        while waiting and waiting[0][0] < watermark:
            time, _, key, record = heappop(waiting)
            self._join_one(record, self._valid_at(key, time), time)
        if watermark == END_OF_TIME:
            for versions in self._versions.values():
                self._forget(versions, len(versions))
            self._versions.clear()
        self._look_ahead()

    def _valid_at(self, key: Any, time: float) -> Version | None:
        versions = self._versions.get(key, [])
        at = bisect_right(versions, time, key=_time_of)
        return versions[at - 1] if at else None

    def _join_one(self, record: Any, version: Version | None, time: float) -> None:
        joined = None
        if version is not None or self._is_outer:
            pair = (record, version[1] if version is not None else None)
            joined = pair if self._join is None else self._joined(self._join, pair)
        if joined is None:
            self.statistics.empty += 1
            return
        self.emit(joined, time)
        if version is not None:
            version[2] = True

    def _joined(self, join: Callable[[Any, Any], Any], pair: tuple[Any, Any]) -> Any:
        try:
            return join(*pair)
        except Exception as error:
            return self.try_again(lambda: join(*pair), pair, error)

    def _forget(self, versions: list[Version], count: int) -> None:
        if count <= 0:
            return
        for version in versions[:count]:
            if not version[2]:
                self.statistics.empty += 1
        del versions[:count]

    def _look_ahead(self) -> None:
        first = self._waiting[0][0] if self._waiting else END_OF_TIME
        self.due = math.nextafter(first, END_OF_TIME)


@dataclass(frozen=True)
class TemporalJoinOperator(EventTimeOperator):
    """Joins a keyed stream with the history of another; see the module's docstring.

    Args:
        function: Makes one record of a record and its version, or None for the pair itself.
        how: ``left`` gives records for whose time there is no version, too.

    Raises:
        GraphError: if ``how`` is neither ``inner`` nor ``left``.
    """

    kind = "temporal_join"
    function: FunctionSpec | None = None
    how: TemporalJoinHow = "inner"

    def __post_init__(self) -> None:
        if self.how not in ("inner", "left"):
            raise GraphError(
                f"temporal_join: how must be inner or left, got {self.how!r}",
                hint="a version does not wait for a record, so it is never given alone",
            )

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The join function, if there is one."""
        return (self.function,) if self.function is not None else ()

    def live(self, *, may_share: bool = True) -> LiveTemporalJoin:
        """Make the operator of one subtask, with empty state."""
        return LiveTemporalJoin(self, [spec.live(may_share=may_share) for spec in self.specs])
