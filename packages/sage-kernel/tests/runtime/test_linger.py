"""No record waits longer than ``linger_ms`` at an edge, however little follows it."""

from __future__ import annotations

import threading

from sage.kernel import LocalEnvironment, SourceFunction


class UntilSeen(SourceFunction[int]):
    """Gives one record that passes the filter, and others until that one has arrived."""

    MOST = 50_000_000

    def __init__(self, seen: threading.Event) -> None:
        self.seen = seen
        self.given = 0

    def __deepcopy__(self, memo: object) -> UntilSeen:
        return self

    def read(self, max_records: int) -> list[int] | None:
        if self.seen.is_set() or self.given > self.MOST:
            return None
        self.given += max_records
        return [self.given == max_records, *[0] * (max_records - 1)]


def test_a_rare_record_is_not_kept_waiting_by_a_busy_task() -> None:
    """A record in a buffer that never fills is sent while its task goes on working."""
    seen = threading.Event()
    source = UntilSeen(seen)
    env = LocalEnvironment(config={"batch_size": 1024, "linger_ms": 5})
    kept = env.from_source(source).rebalance().filter(bool, parallelism=2)
    kept.sink(lambda _: seen.set())
    env.execute()
    assert source.given < UntilSeen.MOST


def test_many_inner_loops_are_split_into_segments() -> None:
    """A chain of more loops than one function may nest gives the same as a short one."""
    stream = LocalEnvironment().from_collection(range(10))
    for _ in range(45):
        stream = stream.flat_map(lambda x: [x + 1])
    assert stream.collect() == list(range(45, 55))
