"""The conformance suite of stateful operators: what every snapshot promises, as checks.

A check is given an operator, a script of batches and moves of the clock, and where to cut it. It
runs the script once without interruption and compares that with a run that is stopped at the cut,
whose snapshot goes into an operator that is new::

    @given(st.data())
    def test_my_operator_goes_on_as_if_nothing_had_happened(data):
        script = data.draw(scripts)
        check_restored(MyOperator(...), script, data.draw(st.integers(0, len(script))))

Every run gets records of its own. The old operator goes on behind the cut and all of its records
are changed before the snapshot is encoded: what it has put in must not be what it, or a user's
function, can still change.

Example:
    >>> from sage.kernel.operators.gather import GatherOperator
    >>> script = [[Arrival({"n": 1}, "a", 0.0)], [Arrival({"n": 2}, "a", 1.0)]]
    >>> check_restored(GatherOperator(expected=2), script, cut=1)
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState, Section
from sage.kernel.operators.operator import Operator
from sage.kernel.state.codec import StateCodec
from sage.kernel.state.key_group import key_group, subtask_of_group
from sage.kernel.testing.clock import ManualClock
from sage.kernel.testing.operator_harness import Arrival, OperatorHarness
from sage.kernel.testing.windows_reference import ClockMoves

__all__ = ["Owner", "Script", "Step", "check_rescaled", "check_restored", "subtask_of_key"]

Step = Sequence[Arrival] | ClockMoves
Script = Sequence[Step]
_FAR_S = 15.0  # so far event time goes on where no record comes any more
Owner = Callable[[Arrival, int], int]


def subtask_of_key(arrival: Arrival, parallelism: int) -> int:
    """Return the subtask that a record goes to on a keyed stream."""
    return subtask_of_group(key_group(arrival.key), parallelism)


def check_restored(operator: Operator, script: Script, cut: int) -> None:
    """Check that an operator goes on from its snapshot as if nothing had happened.

    Results with their times, watermarks and order, late records, counts, and between the two
    halves what is held: everything is the same. So is what comes if only time goes on.

    Args:
        operator: The description.
        script: What comes; a batch is not empty.
        cut: So many steps come before the snapshot.

    Raises:
        AssertionError: if it does not.
    """
    whole = _Subtasks(operator, 1)
    whole.drive(script[:cut])
    old = _Subtasks(operator, 1)
    old.drive(script[:cut])
    before = old.told()
    assert before == whole.told()
    states = old.snapshots()
    old.drive(script[cut:])
    old.change_records()
    new = _Subtasks(operator, 1, going_on_from=whole)
    new.restore(_encoded(states))
    assert new.standing() == whole.standing()
    again, silent = (_Subtasks(operator, 1, going_on_from=whole) for _ in range(2))
    parts = _encoded(new.snapshots())  # a snapshot of what was restored is as good
    again.restore(parts)
    silent.restore(parts)
    quiet = _Subtasks(operator, 1)
    quiet.drive(script[:cut])
    for run in (silent, quiet):
        run.advance(_FAR_S)
    assert before.rows + silent.told().rows == quiet.told().rows
    for run in (whole, new, again):
        run.drive(script[cut:])
    for finishing in (False, True):
        for run in (whole, new, again) if finishing else ():
            run.finish()
        expected = whole.told()
        for told in (new.told(), again.told()):
            assert before.rows + told.rows == expected.rows
            assert before.late + told.late == expected.late
            assert _together(before.counts, told.counts) == expected.counts


def check_rescaled(
    operator: Operator,
    script: Script,
    cut: int,
    *,
    before: int,
    after: int,
    owner: Owner = subtask_of_key,
) -> None:
    """Check that other subtasks than before can go on from an operator's snapshots.

    The results of all of them, with their times, are those of an operator that was never divided,
    in any order; so are late records and counts; and at the cut they hold as much together.

    Args:
        operator: The description.
        script: What comes; a batch is not empty.
        cut: So many steps come before the snapshot.
        before: How many subtasks there are before it.
        after: How many there are behind it.
        owner: Says to which of so many subtasks a record goes.

    Raises:
        AssertionError: if they cannot.
    """
    whole = _Subtasks(operator, 1)
    whole.drive(script[:cut])
    old = _Subtasks(operator, before, owner=owner)
    old.drive(script[:cut])
    told = old.told()
    new = _Subtasks(operator, after, going_on_from=whole, owner=owner)
    new.restore(_encoded(old.snapshots()))
    assert new.held == old.held
    for run in (whole, new):
        run.drive(script[cut:])
        run.finish()
    expected, behind = whole.told(), new.told()
    rows = [(record, time_s) for record, time_s, _ in told.rows + behind.rows]
    assert _bag(rows) == _bag((record, time_s) for record, time_s, _ in expected.rows)
    assert _bag(told.late + behind.late) == _bag(expected.late)
    assert _outcome(_together(told.counts, behind.counts)) == _outcome(expected.counts)


@dataclasses.dataclass
class _Told:
    """What came out of some subtasks, apart from their records."""

    rows: list[tuple[Any, float, float]]
    late: list[Any]
    counts: Counter[str]


class _Subtasks:
    """The subtasks of one operator, which share a clock and follow the same event time."""

    def __init__(
        self,
        operator: Operator,
        parallelism: int,
        *,
        going_on_from: _Subtasks | None = None,
        owner: Owner = subtask_of_key,
    ) -> None:
        before = going_on_from
        self.clock: ManualClock = ManualClock(before.clock() if before is not None else 0.0)
        self.harnesses = [OperatorHarness(operator, self.clock) for _ in range(parallelism)]
        self._owner = owner
        self._given: list[Any] = []
        self._watermark: float = before._watermark if before is not None else -math.inf

    @property
    def held(self) -> int:
        """How many records all of them hold."""
        return sum(harness.live.held for harness in self.harnesses)

    def drive(self, script: Script) -> None:
        """Let them work off some steps."""
        for step in script:
            if isinstance(step, ClockMoves):
                self.clock.advance(step.by_s)
            else:
                self._process(step)
            for harness in self.harnesses:
                harness.tick()

    def _process(self, batch: Sequence[Arrival]) -> None:
        parts: list[list[Arrival]] = [[] for _ in self.harnesses]
        for arrival in batch:
            record = copy.deepcopy(arrival.record)
            self._given.append(record)
            subtask = self._owner(arrival, len(parts)) if len(parts) > 1 else 0
            parts[subtask].append(dataclasses.replace(arrival, record=record))
        self._watermark = batch[-1].watermark
        for harness, part in zip(self.harnesses, parts, strict=True):
            harness.process(*part)
            harness.advance(self._watermark)

    def advance(self, by_s: float) -> None:
        """Let event time go on without a record."""
        for harness in self.harnesses:
            harness.advance(self._watermark + by_s)

    def finish(self) -> None:
        """End the input."""
        for harness in self.harnesses:
            harness.finish()

    def told(self) -> _Told:
        """Return what came out so far."""
        rows = [row for harness in self.harnesses for row in harness.rows]
        late = [record for harness in self.harnesses for record in harness.late]
        counts: Counter[str] = Counter()
        for harness in self.harnesses:
            counts = _together(counts, _counts(harness))
        return _Told(copy.deepcopy(rows), copy.deepcopy(late), counts)

    def standing(self) -> list[tuple[int, bool, float]]:
        """Return of each what it holds, whether it waits for the clock, and the time behind it.

        When it wants to be called may differ: an end that has moved may still have been looked for.
        """
        lives = [harness.live for harness in self.harnesses]
        return [
            (live.held, live.due_s is not None, live.forwarded(self._watermark)) for live in lives
        ]

    def snapshots(self) -> list[OperatorState]:
        """Return what they have to remember, not yet encoded."""
        return [harness.snapshot() for harness in self.harnesses]

    def restore(self, parts: list[list[Section]]) -> None:
        """Give them what others remembered."""
        count = len(self.harnesses)
        for subtask, harness in enumerate(self.harnesses):
            codec = StateCodec(harness.live.operator.label)
            harness.live.restore(RestoredState(codec, subtask, count, len(parts), parts))

    def change_records(self) -> None:
        """Change every record that was given to them, as a user's function might."""
        for record in self._given:
            if isinstance(record, dict):
                record.clear()
            elif isinstance(record, list):
                record.append("changed")


def _encoded(states: Iterable[OperatorState]) -> list[list[Section]]:
    return [list(state.sections()) for state in states]


def _counts(harness: OperatorHarness) -> Counter[str]:
    counts = harness.statistics.snapshot()
    custom = counts.pop("custom")
    return Counter({**counts, **custom})


def _together(one: Counter[str], other: Counter[str]) -> Counter[str]:
    return Counter({name: one[name] + other[name] for name in {*one, *other}})


def _outcome(counts: Counter[str]) -> Counter[str]:
    """Return counts without a difference between outputs that records gave and those behind."""
    return Counter({**counts, "produced": counts["produced"] + counts["flushed"], "flushed": 0})


def _bag(items: Iterable[Any]) -> Counter[str]:
    return Counter(map(repr, items))
