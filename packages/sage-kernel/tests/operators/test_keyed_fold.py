"""Running folds in checkpoints: what comes back is what was there, however it went on meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.common.core.functions import AggregateFunction
from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState, Section
from sage.kernel.errors import KeyRefusedError
from sage.kernel.operators.function_spec import REDUCE, FunctionSpec
from sage.kernel.operators.keyed_fold import (
    AGGREGATE,
    AggregateOperator,
    CountOperator,
    ReduceOperator,
)
from sage.kernel.operators.operator import Operator
from sage.kernel.state.codec import StateCodec
from sage.kernel.state.key_group import key_group, subtask_of_group
from sage.kernel.testing.operator_harness import Arrival, OperatorHarness

Record = tuple[str, int]


class Gathered(AggregateFunction[Record, dict[str, list[int]], list[int]]):
    """Keeps a list in a dict and changes it where it is; five is refused half-way."""

    def create(self) -> dict[str, list[int]]:
        return {"seen": []}

    def add(self, accumulator: dict[str, list[int]], record: Record) -> dict[str, list[int]]:
        accumulator["seen"].append(record[1])
        if record[1] == 5:
            raise ValueError(record)
        return accumulator

    def result(self, accumulator: dict[str, list[int]]) -> list[int]:
        return list(accumulator["seen"])

    def merge(self, a: dict[str, list[int]], b: dict[str, list[int]]) -> dict[str, list[int]]:
        raise NotImplementedError


def extended(so_far: Any, record: Record) -> Any:
    """Reduce to a list that is changed where it is, from a tuple that cannot be."""
    if record[1] == 5:
        raise ValueError(record)
    if isinstance(so_far, tuple):
        return [so_far[0], so_far[1], record[1]]
    so_far.append(record[1])
    return so_far


OPERATORS: dict[str, Callable[[], Operator]] = {
    "count": CountOperator,
    "sum": lambda: ReduceOperator(FunctionSpec(REDUCE, lambda a, b: (b[0], a[1] + b[1]))),
    "list": lambda: ReduceOperator(FunctionSpec(REDUCE, extended)),
    "aggregate": lambda: AggregateOperator(FunctionSpec(AGGREGATE, Gathered)),
}


class Fold(OperatorHarness):
    """A fold that is checkpointed, and drops the records that its function refuses."""

    def __init__(self, make: Callable[[], Operator], *, is_checkpointed: bool = True) -> None:
        super().__init__(make())
        self.live.is_checkpointed = is_checkpointed
        self.emitted: list[str] = []  # as text: lists are emitted that change later

    def feed(self, records: Iterable[Record]) -> None:
        for record in records:
            try:
                self.process(Arrival(record, key=record[0], time_s=0.0))
            except ValueError:
                continue
            self.emitted.append(repr(self.results[-1]))

    def taken(self, *, full: bool = True) -> OperatorState:
        state = OperatorState(StateCodec())
        self.live.snapshot(state, full=full)
        return state


def restored(make: Callable[[], Operator], sections: list[Section], **where: int) -> Fold:
    fold = Fold(make)
    fold.live.restore(RestoredState(StateCodec(), parts=[sections], **where))
    return fold


def emitted_by(make: Callable[[], Operator], records: Iterable[Record]) -> list[str]:
    fold = Fold(make, is_checkpointed=False)
    fold.feed(records)
    return fold.emitted


RECORDS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 6)), max_size=20)
# Each step: full or not, how many later steps pass before it is read, and what comes then.
STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 2), RECORDS), min_size=1, max_size=6)


@pytest.mark.parametrize("name", OPERATORS)
@settings(max_examples=40, deadline=None)
@given(first=RECORDS, steps=STEPS, rest=RECORDS)
def test_every_chain_of_snapshots_is_the_state_of_its_moment(
    name: str, first: list[Record], steps: list[tuple[bool, int, list[Record]]], rest: list[Record]
) -> None:
    """From a full snapshot and the changes behind it a fold goes on as if it had not stopped.

    That is so for each snapshot, also if it is read when the fold has gone on and taken others.
    """
    make = OPERATORS[name]
    fold, seen = Fold(make), list(first)
    fold.feed(first)
    taken: list[tuple[bool, OperatorState, int]] = []
    sections: dict[int, list[Section]] = {}
    for n, (full, _, records) in enumerate(steps):
        taken.append((full or not n, fold.taken(full=full or not n), len(seen)))
        fold.feed(records)
        seen += records
        for k, (_, delay, _) in enumerate(steps[: n + 1]):
            if k + delay <= n and k not in sections:
                sections[k] = list(taken[k][1].sections())
    for k in range(len(steps)):
        if k not in sections:
            sections[k] = list(taken[k][1].sections())
    assert fold.emitted == emitted_by(make, seen)
    chain: list[Section] = []
    for k, (full, _, size) in enumerate(taken):
        # Of the files that a snapshot of changes rests on, only what it has changes of is read.
        base = [] if full else [s for s in chain if s.name in taken[k][1].changes]
        chain = base + sections[k]
        again = restored(make, chain)
        again.feed(rest)
        before = emitted_by(make, seen[:size])
        assert before + again.emitted == emitted_by(make, seen[:size] + rest)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_fold_goes_on_with_another_parallelism(name: str) -> None:
    """From one subtask to three and then to two, each key has its value, and in one place only."""
    make, records = OPERATORS[name], [(f"k{n % 23}", n % 4) for n in range(200)]
    expected = emitted_by(make, records)
    folds = _spread([Fold(make)], records[:80])
    for parallelism, start, end in ((3, 80, 140), (2, 140, 200)):
        sections = [list(fold.taken().sections()) for fold in folds]
        scaled = [Fold(make) for _ in range(parallelism)]
        for subtask, fold in enumerate(scaled):
            state = RestoredState(StateCodec(), subtask, parallelism, len(folds), sections)
            fold.live.restore(state)
        folds = _spread(scaled, records[start:end])
        emitted = [result for fold in folds for result in fold.emitted]
        assert sorted(emitted) == sorted(expected[start:end])


def _spread(folds: Sequence[Fold], records: Iterable[Record]) -> Sequence[Fold]:
    for record in records:
        folds[subtask_of_group(key_group(record[0]), len(folds))].feed([record])
    return folds


def test_a_snapshot_of_changes_holds_nothing_else() -> None:
    """What goes into an incremental snapshot are the keys that came since the one before."""
    for name, make in OPERATORS.items():
        fold = Fold(make)
        fold.feed([(f"k{n}", 1) for n in range(5000)])
        list(fold.taken().sections())
        for changed in (["k3"], ["new"], [f"k{n}" for n in range(0, 5000, 4)], []):
            fold.feed([(key, 2) for key in changed])
            state = fold.taken(full=False)
            (changes,) = state.changes
            keys = [key for key, _ in RestoredState.of(state).keyed(changes)]
            if name == "count":  # all counts, and beside them only the keys that are new
                assert keys == [key for key in changed if key == "new"]
            else:
                assert sorted(keys) == sorted(changed), name


def test_what_a_function_changed_before_it_failed_is_in_the_snapshot() -> None:
    """A value that was changed in place by a call that then raised counts as changed."""
    fold = Fold(OPERATORS["aggregate"])
    fold.feed([("a", 1), ("b", 1)])
    fold.taken()
    fold.feed([("a", 5)])
    changes = fold.taken(full=False)
    assert list(RestoredState.of(changes).keyed("values")) == [("a", {"seen": [1, 5]})]


def test_a_key_that_is_refused_is_not_in_the_state() -> None:
    """A key that cannot be one is an error where snapshots are taken as well."""
    for make in OPERATORS.values():
        fold = Fold(make)
        for _ in range(2):
            with pytest.raises(KeyRefusedError):
                fold.process(Arrival(("a", 1), key=None, time_s=0.0))
        assert not fold.live.state  # type: ignore[attr-defined]
