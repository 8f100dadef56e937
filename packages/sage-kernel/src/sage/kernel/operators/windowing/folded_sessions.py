"""Session windows that are folded as records come: the fast path.

Nearly every record falls into the newest session of its key and at most makes it longer: that is a
dict access and two comparisons in the loop. Everything else (a new session, a record that reaches
over a session's start, sessions that meet) is in `join`. A session stands in a heap under the end
that it had when it was put there, and is put back when that time comes and it has grown.

Invariant: the sessions of a key do not overlap, and ``newest`` has the one that starts last.

A snapshot has two keyed lists, in the order in which sessions were opened: ``sessions``, which are
start, end and size, and their ``accumulators``.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sage.kernel.operators.function_spec import LiveFunction
from sage.kernel.operators.operator import Operator
from sage.kernel.operators.windowing.assigners import SessionWindow, Window
from sage.kernel.operators.windowing.folds import Fold, LiveFoldedWindows
from sage.kernel.operators.windowing.sessions import joined, overlapping
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, check_key

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState
    from sage.kernel.operators.loop import Loop

__all__ = ["LiveFoldedSessions"]


_SPAN = attrgetter("start_s", "end_s", "size")


class _Session:
    """An open session; one that became part of another ends before all time."""

    __slots__ = ("accumulator", "end_s", "key", "serial", "size", "start_s")

    def __init__(
        self, key: Any, serial: int, start_s: float, end_s: float, accumulator: Any
    ) -> None:
        self.key = key
        self.serial = serial
        self.start_s = start_s
        self.end_s = end_s
        self.accumulator = accumulator
        self.size = 1


class LiveFoldedSessions(LiveFoldedWindows):
    """The open sessions of one subtask.

    Args:
        operator: The description.
        functions: Its live functions.
        assigner: Says the gap.
        fold: What is made of records.
        emit: Makes a record of key, window and value; None for the value itself.
        with_key: Whether the value itself is given as ``(key, value)``.
    """

    def __init__(
        self,
        operator: Operator,
        functions: list[LiveFunction],
        assigner: SessionWindow,
        fold: Fold,
        *,
        emit: Callable[[Any, Window, Any], Any] | None = None,
        with_key: bool = False,
    ) -> None:
        super().__init__(operator, functions, fold, emit=emit, with_key=with_key)
        self._assigner = assigner
        self._newest: dict[Any, _Session] = {}
        self._older: dict[Any, list[_Session]] = {}
        self._ends: list[tuple[float, int, _Session]] = []
        self._opened = 0

    @property
    def held(self) -> int:
        """How many records are in open sessions."""
        older = [session for sessions in list(self._older.values()) for session in list(sessions)]
        return sum(session.size for session in [*list(self._newest.values()), *older])

    def join(self, key: Any, record: Any, time: float, watermark: float) -> None:
        """Put a record together with the sessions that it overlaps, or open one."""
        end_s = self._assigner.end_after(time)
        newest, older = self._newest.get(key), self._older.get(key, [])
        at, behind = len(older), len(older)
        met: list[_Session] = []
        if newest is not None and time < newest.end_s:
            at, behind = overlapping(older, time, end_s)
            met = older[at:behind]
            if newest.start_s < end_s:
                met.append(newest)
        if met:
            session = self._joined(met, record, time, end_s)
            del older[at:behind]
        elif end_s <= watermark:
            self.refuse_late(record, time, watermark)
            return
        else:
            session = self._opened_by(key, record, time, end_s, is_known=newest is not None)
        if newest is None or met[-1:] == [newest]:
            self._newest[key] = session
        elif session.start_s >= newest.end_s:
            self._newest[key] = session
            self._older.setdefault(key, older).append(newest)
        else:
            self._older.setdefault(key, older).insert(at, session)
        if not older:
            self._older.pop(key, None)

    def _opened_by(
        self, key: Any, record: Any, start_s: float, end_s: float, *, is_known: bool
    ) -> _Session:
        accumulator = self._fold.first(record)
        if not is_known and type(key) not in PLAIN_KEY_TYPES:
            check_key(key)
        session = _Session(key, self._opened, start_s, end_s, accumulator)
        self._opened += 1
        heappush(self._ends, (end_s, session.serial, session))
        self.due = self._ends[0][0]
        return session

    def _joined(self, met: list[_Session], record: Any, time: float, end_s: float) -> _Session:
        """Make one session of a record and those that it overlaps; none of them has ended."""
        accumulator = joined(self._fold, [s.accumulator for s in met], record)
        session = min(met, key=lambda s: s.serial)
        start_s, end_s = min(time, met[0].start_s), max(end_s, met[-1].end_s)
        size = 1 + sum(s.size for s in met)
        for other in met:
            other.end_s = -math.inf
        session.start_s, session.end_s = start_s, end_s
        session.accumulator, session.size = accumulator, size
        return session

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in the sessions, without a call for each of them."""
        super().snapshot(state, full=full)
        sessions = [*self._newest.values(), *chain.from_iterable(self._older.values())]
        sessions.sort(key=attrgetter("serial"))
        keys = list(map(attrgetter("key"), sessions))
        state.put_keyed("sessions", keys, list(map(_SPAN, sessions)))
        state.put_keyed("accumulators", keys, list(map(attrgetter("accumulator"), sessions)))

    def restore(self, state: RestoredState) -> None:
        """Open the sessions, in the order in which they were."""
        super().restore(state)
        pairs = zip(state.keyed("sessions"), state.keyed("accumulators"), strict=True)
        for serial, ((key, (start_s, end_s, size)), (_, accumulator)) in enumerate(pairs):
            session = _Session(key, serial, start_s, end_s, accumulator)
            session.size = size
            self._ends.append((end_s, serial, session))
            self._opened = serial + 1
            newest = self._newest.setdefault(key, session)
            if newest is not session:
                if start_s > newest.start_s:
                    self._newest[key], session = session, newest
                insort(self._older.setdefault(key, []), session, key=attrgetter("start_s"))
        heapify(self._ends)
        self.due = self._ends[0][0] if self._ends else math.inf

    def fire(self, watermark: float) -> None:
        """Emit the sessions that have ended, in the order of their ends."""
        ends = self._ends
        while ends and ends[0][0] <= watermark:
            end_then, serial, session = ends[0]
            if session.end_s > end_then:
                heapreplace(ends, (session.end_s, serial, session))
                continue
            heappop(ends)
            if session.end_s > -math.inf:
                self._forget(session)
                window = Window(session.start_s, session.end_s)
                self.say(window, {session.key: session.accumulator})
        self.due = ends[0][0] if ends else math.inf

    def _forget(self, session: _Session) -> None:
        key = session.key
        older = self._older.get(key)
        if not older:
            del self._newest[key]
            return
        if self._newest[key] is session:
            self._newest[key] = older.pop()
        else:
            older.remove(session)
        if not older:
            del self._older[key]

    def write(self, loop: Loop) -> None:
        """Write the fold into the newest session, and ``join`` for what is not in it."""
        me, now, time = loop.bind(self, "e"), loop.riders["watermark"], loop.riders["time"]
        session, end = loop.fresh("s"), loop.fresh("z")
        loop.block(f"if {now} >= {me}.due:", [f"{me}.advance({now})"])
        loop.line(f"{session} = {loop.bind(self._newest.get, 'g')}({loop.key})")
        grown = self._fold.with_one_more(loop, f"{session}.accumulator")
        loop.block(
            f"if {session} is not None and {session}.start_s <= {time} < {session}.end_s:",
            [
                f"{session}.accumulator = {grown}",
                f"{session}.size += 1",
                f"{end} = {time} + {loop.bind(self._assigner.gap_s, 'b')}",
                f"if {end} > {session}.end_s: {session}.end_s = {end}",
            ],
        )
        join = f"{loop.bind(self.join, 'f')}({loop.key}, {loop.value}, {time}, {now})"
        loop.block("else:", [join])
