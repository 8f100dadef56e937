"""Sliding windows put slices together: what fails for one key is that key's alone."""

from __future__ import annotations

from sage.kernel import AggregateFunction, LocalEnvironment, SlidingWindow
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
