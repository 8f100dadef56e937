"""The rows of one state in SQLite, and how keys and values are written in them.

A row is found by key group, key and map key, in this order, so that a snapshot reads a range of
groups in one go and the entries of a key are neighbours. Keys are in their canonical form, in which
equal keys are equal bytes; the keys themselves stand beside it where they differ.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from sage.common.errors import StorageError
from sage.kernel.state.codec import StateCodec
from sage.kernel.state.key_group import key_group
from sage.kernel.state.stored_key import canonical_key

__all__ = ["ABSENT", "BEFORE_ALL", "Entry", "Place", "StateRows", "storage_error"]

ABSENT: Any = object()  # the value of what has been removed, or was never there
Place = tuple[int, bytes, bytes]  # key group, canonical key, canonical map key
Entry = tuple[Any, Any, Any]  # key, map key, value
BEFORE_ALL: Place = (-1, b"", b"")

_NO_MAP_KEY = b""


class StateRows:
    """The rows of one state: (group, key, map key) to value, in that order on disk."""

    def __init__(
        self, connection: sqlite3.Connection, table: str, codec: StateCodec, is_map: bool
    ) -> None:
        self.connection, self.table, self.codec, self.is_map = connection, table, codec, is_map
        self.mean_bytes = 0.0
        connection.execute(
            f"CREATE TABLE {table} (grp INTEGER, key BLOB, map_key BLOB, exact BLOB, "
            "value BLOB NOT NULL, PRIMARY KEY (grp, key, map_key)) WITHOUT ROWID"
        )
        at = "grp = ? AND key = ? AND map_key = ?"
        self._select = f"SELECT value FROM {table} WHERE {at}"
        self._select_map = f"SELECT map_key, exact, value FROM {table} WHERE grp = ? AND key = ?"
        self._delete = f"DELETE FROM {table} WHERE {at}"
        self._delete_map = f"DELETE FROM {table} WHERE grp = ? AND key = ?"
        # The first of equal keys keeps its type, as in a dict.
        self._upsert = (
            f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET value = excluded.value"
        )
        self._page = (
            f"SELECT grp, key, map_key, exact, value FROM {table} "
            "WHERE (grp, key, map_key) > (?, ?, ?) ORDER BY grp, key, map_key LIMIT ?"
        )

    def place(self, key: Any, map_key: Any) -> Place:
        """Return where an entry is."""
        stored = self.codec.encode(canonical_key(map_key)) if self.is_map else _NO_MAP_KEY
        return key_group(key), self.codec.encode(canonical_key(key)), stored

    def load(self, key: Any, map_key: Any = None) -> Any:
        """Return the value of an entry, or ``ABSENT``."""
        row = self.run(self._select, self.place(key, map_key)).fetchone()
        return ABSENT if row is None else self.codec.decode(row[0])

    def load_map(self, key: Any) -> dict[Any, Any]:
        """Return the entries of a key."""
        found = self.run(self._select_map, self.place(key, None)[:2])
        decode = self.codec.decode
        return {
            decode(exact)[1] if exact is not None else decode(map_key): decode(value)
            for map_key, exact, value in found
        }

    def store(self, entries: Iterable[Entry]) -> None:
        """Write entries, and remove those whose value is ``ABSENT``."""
        rows, gone, size, encode = [], [], 0, self.codec.encode
        for key, map_key, value in entries:
            place = self.place(key, map_key)
            if value is ABSENT:
                gone.append(place)
                continue
            stored = encode(value)
            size += len(stored) + len(place[1]) + len(place[2])
            rows.append((*place, self.exact(key, map_key), stored))
        if rows:
            self.mean_bytes = size / len(rows)
        self.write(rows)
        self.run_many(self._delete, gone)

    def exact(self, key: Any, map_key: Any) -> bytes | None:
        """Return the keys themselves where their canonical forms differ."""
        if canonical_key(key) is key and canonical_key(map_key) is map_key:
            return None
        return self.codec.encode([key, map_key])

    def write(self, rows: list[tuple[Any, ...]]) -> None:
        """Write rows, in the order of the B-tree."""
        rows.sort(key=_by_place)
        self.run_many(self._upsert, rows)

    def remove(self, places: Iterable[Place]) -> None:
        """Remove rows."""
        self.run_many(self._delete, places)

    def remove_map(self, key: Any) -> None:
        """Remove all rows of a key."""
        self.run(self._delete_map, self.place(key, None)[:2])

    def count(self) -> int:
        """Return how many rows there are."""
        count: int = self.run(f"SELECT count(*) FROM {self.table}").fetchone()[0]
        return count

    def page(self, after: Place, limit: int) -> list[Any]:
        """Return the rows behind a place, in order."""
        return self.run(self._page, (*after, limit)).fetchall()

    def keys_of(self, row: Any) -> tuple[Any, Any]:
        """Return key and map key of a row."""
        _, key, map_key, exact, _ = row
        if exact is not None:
            key, map_key = self.codec.decode(exact)
            return key, map_key
        decode = self.codec.decode
        return decode(key), decode(map_key) if self.is_map else None

    def run(self, statement: str, arguments: Iterable[Any] = ()) -> sqlite3.Cursor:
        """Run a statement."""
        try:
            return self.connection.execute(statement, tuple(arguments))
        except sqlite3.Error as error:
            raise storage_error(error) from error

    def run_many(self, statement: str, rows: Iterable[Any]) -> None:
        """Run a statement for each row."""
        try:
            self.connection.executemany(statement, rows)
        except sqlite3.Error as error:
            raise storage_error(error) from error


def _by_place(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return row[:3]


def storage_error(error: sqlite3.Error) -> StorageError:
    """Return the error that says what SQLite said."""
    return StorageError(
        f"state on disk cannot be read or written: {error}",
        hint="the disk may be full, or the folder of the state gone",
    )
