"""S1: a function with keyed state; a running count by key, its state on the heap and on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from sage.benchmark.measuring import digest, timed
from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample
from sage.benchmark.workloads.state_backends import KEYS, keys_in_turn

__all__ = ["ROW", "by_hand", "measure", "on_disk", "on_heap"]

Counted = list[tuple[int, int]]


def key_of(record: int) -> int:
    """The user's key function, the same for everybody."""
    return record


def by_hand(records: Sequence[int]) -> Counted:
    """The limit: a dict."""
    counts: dict[int, int] = {}
    output: Counted = []
    emit = output.append
    for record in records:
        key = key_of(record)
        count = counts.get(key, 0) + 1
        counts[key] = count
        emit((key, count))
    return output


def on_heap(records: Sequence[int]) -> Counted:
    """A ``ProcessFunction`` with a ``ValueState``."""
    return _counted(records, "heap")


def on_disk(records: Sequence[int]) -> Counted:
    """The same with its state on disk."""
    return _counted(records, "disk")


def _counted(records: Sequence[int], backend: Literal["heap", "disk"]) -> Counted:
    from sage.kernel import LocalEnvironment, ProcessFunction, ValueState

    class Count(ProcessFunction[int, tuple[int, int]]):
        def open(self, context: Any) -> None:
            self.count = context.state(ValueState("count", default=0))

        def process(self, record: int, ctx: Any) -> list[tuple[int, int]]:
            count = self.count.get() + 1
            self.count.set(count)
            return [(record, count)]

    output: Counted = []
    env = LocalEnvironment(config={"state_backend": backend})
    env.from_collection(records).key_by(key_of).process(Count).sink(output.append)
    env.execute()
    return output


def measure(contestant: Callable[[Sequence[int]], Counted], request: Request) -> Sample:
    """Time counts over few keys, and over more than the cache of the state on disk holds."""
    size = request["size"]
    sample: Sample = {}
    for name, keys in KEYS.items():
        run, output = timed(contestant, keys_in_turn(size, keys), size // 20)
        sample[f"ns_{name}"] = run["ns_per_record"]
        if request["verify"]:
            sample[f"{name}_digest"] = digest(output)
    return sample


_HERE = "sage.benchmark.workloads.stateful_functions"

ROW = Row(
    key="S1",
    title="a function with keyed state: a running count of 1 M records by key, ns a record",
    limit="a dict and a loop",
    measure=f"{_HERE}:measure",
    size=1_000_000,
    quick_size=4_000,
    contestants=(
        Contestant(name="by hand", target=f"{_HERE}:by_hand", role=Role.LIMIT),
        Contestant(name="SAGE, heap", target=f"{_HERE}:on_heap", role=Role.SAGE, judged=True),
        Contestant(name="SAGE, disk", target=f"{_HERE}:on_disk", role=Role.SAGE, judged=True),
    ),
    figures=tuple(Figure(key=f"ns_{name}", label=f"{name} keys", digits=0) for name in KEYS),
    charted="",
    most_rounds=3,
)
