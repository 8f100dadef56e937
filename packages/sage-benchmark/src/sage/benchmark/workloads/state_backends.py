"""S2: tables of keyed state alone; a count by key, read and written for each record.

The tables are used as an operator uses them. With few keys everything is in the cache of the state
on disk; with many, most records find their key on disk only, which is what it is for.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sage.benchmark.measuring import timed
from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample

if TYPE_CHECKING:
    from sage.kernel.state.backend import StateBackend

__all__ = [
    "ROW",
    "ByHand",
    "Counter",
    "SqliteByHand",
    "keys_in_turn",
    "measure",
    "on_disk",
    "on_heap",
]

KEYS = {"10k": 10_000, "500k": 500_000}
SPREAD = 7_919  # a prime: keys come in an order without pattern, and each equally often
CHECKED = 100


class Counter(Protocol):
    """A contestant."""

    def count(self, records: Sequence[int]) -> None:
        """Count each record, which is its key."""

    def of(self, key: int) -> int:
        """Return the count of a key."""

    def close(self) -> None:
        """Remove what is on disk."""


class ByHand:
    """The limit: a dict."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.of = self.counts.__getitem__

    def count(self, records: Sequence[int]) -> None:
        """Read and write."""
        counts, get = self.counts, self.counts.get
        for key in records:
            counts[key] = get(key, 0) + 1

    def close(self) -> None:
        """Nothing is on disk."""


class _InTable:
    """State of SAGE's, used as an operator uses it."""

    def __init__(self, backend: StateBackend) -> None:
        self.backend = backend
        self.table = backend.value_table("counts")
        self.of = self.table.get
        self.close = backend.close

    def count(self, records: Sequence[int]) -> None:
        """Read and write."""
        table, get = self.table, self.table.get
        for key in records:
            table[key] = get(key, 0) + 1


class SqliteByHand:
    """A file with one upsert for each record, in one transaction."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "counts.sqlite"
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = OFF")
        self.connection.execute("CREATE TABLE counts (key INTEGER PRIMARY KEY, n INTEGER NOT NULL)")

    def count(self, records: Sequence[int]) -> None:
        """Upsert."""
        execute = self.connection.execute
        upsert = "INSERT INTO counts VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1"
        execute("BEGIN")
        for key in records:
            execute(upsert, (key,))
        execute("COMMIT")

    def of(self, key: int) -> int:
        """Select."""
        count: int = self.connection.execute(
            "SELECT n FROM counts WHERE key = ?", (key,)
        ).fetchone()[0]
        return count

    def close(self) -> None:
        """Delete the file."""
        self.connection.close()
        self.folder.cleanup()


def keys_in_turn(size: int, keys: int) -> list[int]:
    """Return ``size`` keys, each of at most so many at least twice."""
    keys = min(keys, size // 2)
    return [n * SPREAD % keys for n in range(size)]


def on_heap() -> Counter:
    """SAGE's state on the heap."""
    from sage.kernel.state.heap_backend import HeapBackend

    return _InTable(HeapBackend())


def on_disk() -> Counter:
    """SAGE's state on disk."""
    from sage.kernel.state.sqlite_backend import SqliteBackend

    return _InTable(SqliteBackend())


def measure(contestant: Callable[[], Counter], request: Request) -> Sample:
    """Time counts over few keys, and over more than the cache of the state on disk holds.

    Raises:
        ValueError: if a record was not counted.
    """
    size = request["size"]
    sample: Sample = {}
    for name, wanted in KEYS.items():
        keys = min(wanted, size // 2)
        counters: list[Counter] = []

        def pipeline(part: Sequence[int], counters: list[Counter] = counters) -> Sequence[int]:
            counters.append(contestant())
            counters[-1].count(part)
            return part

        run, _ = timed(pipeline, keys_in_turn(size, keys), size // 20)
        counts = [counters[-1].of(key) for key in range(CHECKED)]
        for counter in counters:
            counter.close()
        if counts != [size // keys] * CHECKED:
            raise ValueError(f"counts that should be {size // keys} are {counts}")
        sample[f"ns_{name}"] = run["ns_per_record"]
    return sample


_HERE = "sage.benchmark.workloads.state_backends"

ROW = Row(
    key="S2",
    title="tables of keyed state alone: read and write a count, 1 M times, ns a record",
    limit="a dict",
    measure=f"{_HERE}:measure",
    size=1_000_000,
    quick_size=4_000,
    contestants=(
        Contestant(name="by hand", target=f"{_HERE}:ByHand", role=Role.LIMIT),
        Contestant(name="SAGE, heap", target=f"{_HERE}:on_heap", role=Role.SAGE, judged=True),
        Contestant(name="SAGE, disk", target=f"{_HERE}:on_disk", role=Role.SAGE, judged=True),
        Contestant(
            name="SQLite by hand",
            target=f"{_HERE}:SqliteByHand",
            role=Role.LIMIT,
            note="one upsert a record, all in one transaction",
        ),
    ),
    figures=tuple(Figure(key=f"ns_{name}", label=f"{name} keys", digits=0) for name in KEYS),
    compares_output=False,
    charted="",
    most_rounds=3,
)
