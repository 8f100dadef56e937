"""Keyed state on disk, for state that is larger than memory: SQLite under a write-behind cache.

The file is working state, not a checkpoint: it is made anew for each run, is never synced and is
deleted when the job ends. It is in WAL mode for one reason: a snapshot is a read transaction of a
second connection, which sees the moment it began however the state goes on; over it lies what the
cache held at that moment.

Cost: what fits into the cache costs about a dict access; a key that does not costs one B-tree
lookup and its share of a sorted write, some ten microseconds in all. Keep it to state that is in
fact larger than memory.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Iterable, Iterator
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path

from sage.common.errors import StateError, StorageError
from sage.kernel.state.backend import ALL_GROUPS, StateEntry
from sage.kernel.state.codec import StateCodec
from sage.kernel.state.own_classes import OwnClasses
from sage.kernel.state.sqlite_rows import Entry, StateRows, storage_error
from sage.kernel.state.sqlite_snapshot import SnapshotOfState
from sage.kernel.state.sqlite_table import SqliteMapTable, SqliteValueTable

__all__ = ["SqliteBackend"]

_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = OFF",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 8000",
)
_RESTORE_ROWS = 10_000
_BEGUN = StateEntry(-1, "", b"", None, b"")  # tells that a snapshot's transaction is open
_Table = SqliteValueTable | SqliteMapTable


class SqliteBackend:
    """Keeps state in a file of its own, in a fresh folder.

    Args:
        directory: Where the folder is made, on a disk with room for the state; None is the
            system's place for temporary files, which may be in memory.
        operator: Name of the operator, for errors.
        classes: The job's own classes that may be stored.
        cache_bytes: About how many bytes of Python objects each state may keep in memory.
        page_cache_bytes: How many bytes of the file SQLite keeps in memory.

    Example:
        >>> backend = SqliteBackend()
        >>> counts = backend.value_table("counts")
        >>> counts["a"] = 1
        >>> counts.get("a"), len(counts)
        (1, 1)
        >>> backend.close()

    Raises:
        StorageError: if the file cannot be made.
    """

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        operator: str = "",
        classes: OwnClasses | None = None,
        cache_bytes: int = 64 << 20,
        page_cache_bytes: int = 64 << 20,
    ) -> None:
        self._operator = operator
        self._classes = classes if classes is not None else OwnClasses()
        self._cache_bytes = cache_bytes
        self._tables: dict[str, _Table] = {}
        self._readers: set[sqlite3.Connection] = set()
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="sage-state-", dir=directory))
        except OSError as error:
            raise StorageError(
                f"the folder for state on disk cannot be made in {str(directory)!r}: {error}",
                hint="name a folder that exists and can be written to",
            ) from error
        self._connection = self._connect()
        for setting in (*_SETTINGS, f"PRAGMA cache_size = -{page_cache_bytes >> 10}"):
            self._connection.execute(setting)
        self._connection.execute("BEGIN")

    def _connect(self) -> sqlite3.Connection:
        # Snapshots may be read by the thread that writes checkpoints.
        return sqlite3.connect(
            self._folder / "state.sqlite", isolation_level=None, check_same_thread=False
        )

    def value_table(self, name: str, *, expires: bool = False) -> SqliteValueTable:
        """Return the value table of that name."""
        table = self._table(name, SqliteValueTable)
        assert isinstance(table, SqliteValueTable)
        return table

    def map_table(self, name: str, *, expires: bool = False) -> SqliteMapTable:
        """Return the map table of that name."""
        table = self._table(name, SqliteMapTable)
        assert isinstance(table, SqliteMapTable)
        return table

    def _table(self, name: str, cls: type[_Table]) -> _Table:
        table = self._tables.get(name)
        if table is None:
            codec = StateCodec(self._operator, name, self._classes)
            is_map = cls is SqliteMapTable
            rows = StateRows(self._connection, f"state_{len(self._tables)}", codec, is_map)
            table = self._tables[name] = cls(rows, self._cache_bytes, self._commit)
        elif type(table) is not cls:
            raise StateError(f"state {name!r} is there already and is of another kind", state=name)
        return table

    def _commit(self) -> None:
        """End the transaction and begin the next: reads inside one take no locks."""
        try:
            self._connection.execute("COMMIT")
            self._connection.execute("BEGIN")
        except sqlite3.Error as error:
            raise storage_error(error) from error

    def clear_key(self, key: object) -> None:
        """Forget everything about a key."""
        for table in self._tables.values():
            table.discard(key)

    def snapshot(self, groups: range = ALL_GROUPS) -> Generator[StateEntry, None, None]:
        """Return the entries of some key groups; what is in the cache need not be written first."""
        pending = {name: table.pending() for name, table in self._tables.items()}
        self._commit()
        entries = self._entries(pending, groups)
        next(entries)
        return entries

    def _entries(
        self, pending: dict[str, Iterator[Entry]], groups: range
    ) -> Generator[StateEntry, None, None]:
        reader = self._connect()
        self._readers.add(reader)
        try:
            reader.execute("BEGIN")
            # A transaction sees the moment of its first read, which is now.
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
            yield _BEGUN
            states = [
                SnapshotOfState(reader, name, self._tables[name].rows, entries)
                for name, entries in pending.items()
            ]
            for group in groups:
                for state in states:
                    yield from state.entries(group)
        except sqlite3.Error as error:
            raise storage_error(error) from error
        finally:
            self._readers.discard(reader)
            reader.close()

    def restore(self, entries: Iterable[StateEntry]) -> None:
        """Take in the entries of a snapshot."""
        for name, of_state in groupby(entries, key=attrgetter("state")):
            table = self._tables.get(name)
            while chunk := list(islice(of_state, _RESTORE_ROWS)):
                is_map = chunk[0].map_key is not None
                if table is None or is_map != table.rows.is_map:
                    raise StateError(
                        f"the snapshot has state {name!r}, of which there is no such table",
                        state=name,
                    )
                table.restore(chunk)
        self._commit()

    def size_bytes(self) -> int:
        """Return the size of the file."""
        pages: int = self._connection.execute("PRAGMA page_count").fetchone()[0]
        page_bytes: int = self._connection.execute("PRAGMA page_size").fetchone()[0]
        return pages * page_bytes

    def close(self) -> None:
        """Delete the file."""
        for connection in [self._connection, *self._readers]:
            connection.close()
        self._readers.clear()
        shutil.rmtree(self._folder, ignore_errors=True)
