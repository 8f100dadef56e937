"""Sliding windows put slices together: what fails for one key is that key's alone."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from sage.kernel import AggregateFunction, LocalEnvironment, SlidingWindow
from sage.kernel.operators.windowing.folds import CountFold
from sage.kernel.operators.windowing.slice_merging import SliceMerger
from sage.kernel.testing import CollectingSink


class _Apart(AggregateFunction[tuple[str, int], frozenset[int], list[int]]):
    """Keeps the times of records, and cannot put 7 together with anything."""

    def create(self) -> frozenset[int]:
        return frozenset()

    def add(self, acc: frozenset[int], record: tuple[str, int]) -> frozenset[int]:
        return acc | {record[1]}

    def result(self, acc: frozenset[int]) -> list[int]:
        return sorted(acc)

    def merge(self, a: frozenset[int], b: frozenset[int]) -> frozenset[int]:
        if 7 in a | b:
            raise ValueError("7 stands alone")
        return a | b


def test_slices_that_cannot_be_merged_cost_their_key_the_windows_they_are_in_and_no_more() -> None:
    """The policy gets each such window of the key; other windows and other keys have results."""
    records = [("b" if n % 4 == 2 else "a", n) for n in range(20)]
    env = LocalEnvironment(config={"on_error": "dead_letter"})
    by_name = env.from_collection(records).assign_timestamps(lambda r: r[1]).key_by(lambda r: r[0])
    windowed = by_name.window(SlidingWindow(6, 2)).aggregate(
        _Apart, emit=lambda key, window, times: (key, window.start_s, times), name="windows"
    )
    sink = CollectingSink()
    windowed.sink(sink)
    job = env.submit()
    metrics = job.wait().metrics
    expected = []
    for start_s in range(-4, 20, 2):
        for key in ("a", "b"):
            times = [t for name, t in records if name == key and start_s <= t < start_s + 6]
            if times and 7 not in times:
                expected.append((key, start_s, times))
    assert sorted(sink.records) == sorted(expected)
    assert [(r[0], r[1].start_s) for r in (d.record for d in job.dead_letters())] == [
        ("a", 2),
        ("a", 4),
        ("a", 6),
    ]
    assert metrics["windows"].emitted == len(records)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(2, 12),
    keys=st.integers(1, 40),
    filled=st.integers(0, 30),
    late=st.integers(0, 5),
    seed=st.integers(0, 1 << 16),
)
def test_a_window_is_its_slices_put_together(
    steps: int, keys: int, filled: int, late: int, seed: int
) -> None:
    """However dense the keys, and whichever slice grows in between, nothing is lost or doubled."""
    chance = random.Random(seed)
    slices = {n: {chance.randrange(keys): 1 for _ in range(filled)} for n in range(40)}
    merger = SliceMerger(slices, steps, CountFold())
    for number in range(40 - steps):
        if chance.randrange(6) < late:
            cells = slices[number + chance.randrange(steps)]
            key = chance.randrange(keys)
            cells[key] = cells.get(key, 0) + 1
            merger.stale = True
        expected: dict[int, int] = {}
        for at in range(number, number + steps):
            for key, count in slices[at].items():
                expected[key] = expected.get(key, 0) + count
        assert merger.cells_of(number) == expected


def test_keys_that_are_in_few_slices_are_not_copied_into_many() -> None:
    """What is kept beside the slices is a few times as much as they hold, and no more."""
    steps, entries = 50, 0
    slices = {n: {(n, i): 1 for i in range(20)} for n in range(3 * steps)}
    merger = SliceMerger(slices, steps, CountFold())
    for number in range(2 * steps):
        assert len(merger.cells_of(number)) == 20 * steps
        entries = max(entries, sum(map(len, merger._front.values())))
    assert entries <= 8 * 20 * steps
