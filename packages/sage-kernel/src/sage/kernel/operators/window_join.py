"""``window_join``: pairs of records of two streams that are in the same window and have equal keys.

Pairs come when the watermark reaches the window's end, with the time of a window's result: just
before that end. A record that is late but allowed makes, at once, the pairs that it adds: no pair
is given twice. An outer join gives a row without partner when no partner can come any more, which
is when the allowed lateness is over too; so behind an outer join time stays back by that much.

Sessions are those of both sides together, as in Flink: a record of either side may begin one or
keep it open. A record that connects two sessions makes the pairs between them that were not given.

A snapshot has one keyed value for the open ``windows`` of a key: its records, whether each was in a
result, and for each window start, end, serial number, when it has something to do, and its lists of
records, which are places among those of the key.

Example:
    >>> from sage.kernel import LocalEnvironment, TumblingWindow
    >>> env = LocalEnvironment()
    >>> clicks = env.from_collection([("ann", 1), ("ann", 12)])
    >>> views = env.from_collection([("ann", 3), ("ann", 4)])
    >>> clicked = clicks.assign_timestamps(lambda c: c[1]).key_by(lambda c: c[0])
    >>> viewed = views.assign_timestamps(lambda v: v[1]).key_by(lambda v: v[0])
    >>> clicked.window_join(viewed, TumblingWindow(10)).collect()
    [(('ann', 1), ('ann', 3)), (('ann', 1), ('ann', 4))]
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sage.kernel.errors import GraphError
from sage.kernel.operators.event_time import (
    EventTimeOperator,
    LiveEventTimeOperator,
    just_before,
)
from sage.kernel.operators.function_spec import FunctionSpec, LiveFunction
from sage.kernel.operators.join import JoinHow, check_how, given_alone
from sage.kernel.operators.windowing.arguments import check_seconds
from sage.kernel.operators.windowing.assigners import (
    AlignedAssigner,
    SessionWindow,
    Window,
    WindowAssigner,
)
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, check_key
from sage.kernel.time.watermark import END_OF_TIME, START_OF_TIME

if TYPE_CHECKING:
    from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState

__all__ = ["LiveWindowJoin", "WindowJoinOperator"]


class _Kept:
    """A record in open windows.

    Attributes:
        record: The record.
        windows: How many open windows it is in.
        emitted: Whether it is in a result.
    """

    __slots__ = ("emitted", "record", "windows")

    def __init__(self, record: Any) -> None:
        self.record = record
        self.windows = 0
        self.emitted = False


Sides = tuple[list[_Kept], list[_Kept]]
Places = tuple[tuple[int, ...], ...]  # of the records of both sides


@dataclass(eq=False)
class _Content:
    """What one window has for one key.

    Attributes:
        key: The key.
        window: The window; that of a session grows.
        serial: Tells which content came first.
        fresh: For each side, the records whose pairs were not given yet.
        paired: Groups whose pairs among each other were given: one, or one for each of the sessions
            that became this one.
        fires_at: The watermark at which it has something to do.
    """

    key: Any
    window: Window
    serial: int
    fresh: Sides = field(default_factory=lambda: ([], []))
    paired: list[Sides] = field(default_factory=list)
    fires_at: float = END_OF_TIME

    def new_pairs(self) -> Iterator[Sides]:
        """Yield lists of which each left record makes a pair with each right one; then forget."""
        (lefts, rights), *others = self.paired or [([], [])]
        for more_lefts, more_rights in others:
            yield more_lefts, rights
            yield lefts, more_rights
            lefts += more_lefts
            rights += more_rights
        new_lefts, new_rights = self.fresh
        yield lefts, new_rights
        rights += new_rights
        yield new_lefts, rights
        lefts += new_lefts
        self.paired, self.fresh = [(lefts, rights)], ([], [])

    def absorb(self, other: _Content) -> None:
        """Take over what another session has, and its time."""
        self.paired += other.paired
        for mine, theirs in zip(self.fresh, other.fresh, strict=True):
            mine += theirs
        self.extend(other.window)
        other.fires_at = END_OF_TIME

    def extend(self, window: Window) -> None:
        """Reach from the earlier start to the later end."""
        start = min(self.window.start_s, window.start_s)
        self.window = Window(start, max(self.window.end_s, window.end_s))


class _Places:
    """The records of a key, each once, by the order in which its windows have them."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[int, _Kept]] = {}

    @property
    def records(self) -> list[Any]:
        """The records."""
        return [kept.record for _, kept in self._kept.values()]

    @property
    def emitted(self) -> list[bool]:
        """Whether each of them is in a result."""
        return [kept.emitted for _, kept in self._kept.values()]

    def told(self, content: _Content) -> tuple[Any, ...]:
        """Return what a window has, with places instead of records."""
        window, paired = content.window, tuple(map(self._of, content.paired))
        times = (window.start_s, window.end_s, content.serial, content.fires_at)
        return (*times, self._of(content.fresh), paired)

    def _of(self, sides: Sides) -> Places:
        known = self._kept
        return tuple(
            tuple([known.setdefault(id(kept), (len(known), kept))[0] for kept in side])
            for side in sides
        )


def _restored(
    key: Any,
    kept: list[_Kept],
    start_s: float,
    end_s: float,
    serial: int,
    fires_at: float,
    fresh: Places,
    paired: tuple[Places, ...],
) -> _Content:
    """Return a window of which `_Places` has told."""

    def taken(places: Places) -> Sides:
        lefts, rights = ([kept[at] for at in side] for side in places)
        for one in (*lefts, *rights):
            one.windows += 1
        return lefts, rights

    window = Window(start_s, end_s)
    return _Content(key, window, serial, taken(fresh), list(map(taken, paired)), fires_at)


_Contents = dict[float, _Content]  # what the open windows of a key have, by their start


class LiveWindowJoin(LiveEventTimeOperator):
    """The open windows of one subtask."""

    def __init__(self, operator: WindowJoinOperator, functions: list[LiveFunction]) -> None:
        super().__init__(operator, functions)
        self._assigner = operator.assigner
        self._lateness_s = operator.allowed_lateness_s
        self._given_alone = given_alone(operator.how)
        self._join = functions[0].call if functions else None
        self._contents: dict[Any, _Contents] = {}
        self._agenda: list[tuple[float, int, _Content]] = []
        self._serial = 0
        self._held = 0
        # What is given alone comes behind the watermark by so much.
        self._delay_s = operator.allowed_lateness_s if any(self._given_alone) else 0

    @property
    def held(self) -> int:
        """How many records are in open windows."""
        return self._held

    def advance(self, watermark: float) -> None:
        """Let event time go on; what is given alone comes later, and must not be late."""
        if watermark >= self.due or watermark == END_OF_TIME:
            self.fire(watermark)
        behind = watermark - self._delay_s
        while behind + self._delay_s > watermark:  # rounded up, it could pass an open window's end
            behind = math.nextafter(behind, START_OF_TIME)
        self.watermark = max(self.watermark, behind)

    def add(self, input_index: int, key: Any, record: Any, time: float, watermark: float) -> None:
        """Put a record into its windows, unless all of them are over."""
        windows = self._assigner.windows(time)
        if not windows:  # it fell between two of them
            self.statistics.empty += 1
            return
        contents = self._contents.get(key)
        if contents is None:
            if type(key) not in PLAIN_KEY_TYPES:
                check_key(key)
            contents = {}
        kept = _Kept(record)
        for window in windows:
            content = self._content(key, contents, window, watermark)
            if content is not None:
                content.fresh[input_index].append(kept)
                kept.windows += 1
                if content.window.end_s <= watermark:
                    self._schedule(content, START_OF_TIME)
        if not kept.windows:
            self.refuse_late(record, time, watermark)
            return
        self._contents[key] = contents
        self._held += 1

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put in the open windows."""
        super().snapshot(state, full=full)
        values, records = [], []
        for contents in self._contents.values():
            shared = _Places()
            told = tuple([shared.told(content) for content in contents.values()])
            records += shared.records
            values.append((tuple(shared.records), tuple(shared.emitted), told))
        state.put_records("windows", list(self._contents), values, records)

    def restore(self, state: RestoredState) -> None:
        """Open the windows, in the order in which they were."""
        super().restore(state)
        opened = []
        for key, (records, emitted, told) in state.keyed("windows"):
            kept = [_Kept(record) for record in records]
            for one, was_emitted in zip(kept, emitted, strict=True):
                one.emitted = was_emitted
            contents = self._contents[key] = {}
            for parts in told:
                content = contents[parts[0]] = _restored(key, kept, *parts)
                opened.append(content)
            self._held += len(kept)
        opened.sort(key=attrgetter("serial"))
        for self._serial, content in enumerate(opened, start=1):
            content.serial = self._serial
            self._schedule(content, content.fires_at)

    def fire(self, watermark: float) -> None:
        """Give the pairs of the windows that are complete; forget those that are over."""
        agenda = self._agenda
        while agenda and agenda[0][0] <= watermark:
            at, _, content = heappop(agenda)
            if at != content.fires_at:
                continue  # since then it was put on for another time, or is over
            end = content.window.end_s
            if end > watermark:  # the session has grown
                self._schedule(content, end)
                continue
            time = just_before(end)
            for lefts, rights in content.new_pairs():
                self._emit_pairs(lefts, rights, time)
            if self._is_over(content.window, watermark):
                self._close(content, time)
            else:
                self._schedule(content, end + self._lateness_s)
        self.due = agenda[0][0] if agenda else END_OF_TIME

    def _content(
        self, key: Any, contents: _Contents, window: Window, watermark: float
    ) -> _Content | None:
        """Return what a window has for the key, or None if the window is over."""
        if isinstance(self._assigner, SessionWindow):
            return self._session(key, contents, window, watermark)
        if self._is_over(window, watermark):
            return None
        return contents.get(window.start_s) or self._open(key, contents, window)

    def _session(
        self, key: Any, contents: _Contents, window: Window, watermark: float
    ) -> _Content | None:
        """Return the session of a record, made of all those that it connects."""
        meets = [c for c in contents.values() if _overlap(c.window, window)]
        last_end = max([window.end_s, *(c.window.end_s for c in meets)])
        if self._is_over(Window(window.start_s, last_end), watermark):
            return None
        if not meets:
            return self._open(key, contents, window)
        session, *others = meets
        for content in meets:
            del contents[content.window.start_s]
        session.extend(window)
        for other in others:
            session.absorb(other)
        contents[session.window.start_s] = session
        if session.fires_at > session.window.end_s:
            self._schedule(session, session.window.end_s)
        return session

    def _open(self, key: Any, contents: _Contents, window: Window) -> _Content:
        self._serial += 1
        content = contents[window.start_s] = _Content(key, window, self._serial)
        self._schedule(content, window.end_s)
        return content

    def _schedule(self, content: _Content, at: float) -> None:
        content.fires_at = at
        heappush(self._agenda, (at, content.serial, content))
        self.due = self._agenda[0][0]

    def _is_over(self, window: Window, watermark: float) -> bool:
        return window.end_s + self._lateness_s <= watermark

    def _emit_pairs(self, lefts: list[_Kept], rights: list[_Kept], time: float) -> None:
        if not rights:
            return
        for left in lefts:
            joined = []
            for right in rights:
                result = self._joined(left.record, right.record)
                if result is not None:
                    left.emitted = right.emitted = True
                    joined.append(result)
            self.emit_all(joined, time)

    def _joined(self, left: Any, right: Any) -> Any:
        if self._join is None:
            return (left, right)
        try:
            return self._join(left, right)
        except Exception as error:
            join = self._join
            return self.try_again(lambda: join(left, right), (left, right), error)

    def _close(self, content: _Content, time: float) -> None:
        """Give what has no partner alone, and let go of every record."""
        content.fires_at = END_OF_TIME
        [(lefts, rights)] = content.paired
        if self._given_alone[0] and not rights:
            self._emit_alone(lefts, [self._joined(left.record, None) for left in lefts], time)
        if self._given_alone[1] and not lefts:
            self._emit_alone(rights, [self._joined(None, right.record) for right in rights], time)
        for kept in (*lefts, *rights):
            kept.windows -= 1
            if not kept.windows:
                self._held -= 1
                self.statistics.empty += not kept.emitted
        contents = self._contents[content.key]
        del contents[content.window.start_s]
        if not contents:
            del self._contents[content.key]

    def _emit_alone(self, records: list[_Kept], joined: list[Any], time: float) -> None:
        for kept, result in zip(records, joined, strict=True):
            kept.emitted |= result is not None
        self.emit_all([result for result in joined if result is not None], time)


@dataclass(frozen=True)
class WindowJoinOperator(EventTimeOperator):
    """Joins records of two keyed streams in the same window; see the module's docstring.

    Args:
        function: Makes one record of a pair, or None for the pair itself.
        assigner: Tumbling, sliding or session windows.
        how: Which side's records without a partner are given too.
        allowed_lateness_s: How long after its end a window takes late records, in seconds.

    Raises:
        GraphError: if the windows have no end in time, or the lateness is negative or not finite.
    """

    kind = "window_join"
    function: FunctionSpec | None
    assigner: WindowAssigner
    how: JoinHow = "inner"
    allowed_lateness_s: float = 0.0

    def __post_init__(self) -> None:
        check_how(self.how)
        if not isinstance(self.assigner, AlignedAssigner | SessionWindow):
            raise GraphError(
                f"window_join wants a TumblingWindow, SlidingWindow or SessionWindow, "
                f"got {self.assigner!r:.80}",
                hint="a join without windows is .join(other)",
            )
        check_seconds("window_join", "allowed_lateness_s", self.allowed_lateness_s, at_least=0)

    @property
    def state_kind(self) -> str:
        """Rows of which windows are kept."""
        return f"{self.kind} of {self.assigner}"

    @property
    def note(self) -> str:
        """Which windows, and which rows have no partner."""
        late = f", late records allowed for {self.allowed_lateness_s:g} s"
        return f"{self.how}, {self.assigner}{late if self.allowed_lateness_s else ''}"

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The join function, if there is one."""
        return (self.function,) if self.function is not None else ()

    def live(self, *, may_share: bool = True) -> LiveWindowJoin:
        """Make the operator of one subtask, with no windows."""
        return LiveWindowJoin(self, [spec.live(may_share=may_share) for spec in self.specs])


def _overlap(one: Window, other: Window) -> bool:
    return one.start_s < other.end_s and other.start_s < one.end_s
