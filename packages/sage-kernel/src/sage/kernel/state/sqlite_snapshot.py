"""A snapshot of one state on disk: its rows as they were, under what the cache held then."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from sage.kernel.state.backend import StateEntry
from sage.kernel.state.key_group import KEY_GROUPS
from sage.kernel.state.sqlite_rows import ABSENT, Entry, StateRows

__all__ = ["SnapshotOfState"]


class SnapshotOfState:
    """Reads the entries of a state, group by group.

    Args:
        reader: A connection in a read transaction.
        name: Name of the state.
        rows: Its rows, for how they are encoded.
        pending: What was not on disk when the transaction began: (key, map key, detached value).
    """

    def __init__(
        self, reader: sqlite3.Connection, name: str, rows: StateRows, pending: Iterable[Entry]
    ) -> None:
        self._reader, self._name, self._rows = reader, name, rows
        self._newer: list[dict[tuple[bytes, bytes], Any]] = [{} for _ in range(KEY_GROUPS)]
        for key, map_key, value in pending:
            group, *place = rows.place(key, map_key)
            self._newer[group][place[0], place[1]] = (rows.exact(key, map_key), value)

    def entries(self, group: int) -> Iterator[StateEntry]:
        """Yield the entries of a key group."""
        newer = self._newer[group]
        statement = f"SELECT key, map_key, exact, value FROM {self._rows.table} WHERE grp = ?"
        for key, map_key, exact, value in self._reader.execute(statement, (group,)):
            if newer and (replaced := newer.pop((key, map_key), None)) is not None:
                if replaced[1] is ABSENT:
                    continue
                value = self._rows.codec.encode_detached(replaced[1])
            yield self._entry(group, key, map_key, exact, value)
        for (key, map_key), (exact, detached) in newer.items():
            if detached is not ABSENT:
                value = self._rows.codec.encode_detached(detached)
                yield self._entry(group, key, map_key, exact, value)

    def _entry(
        self, group: int, key: bytes, map_key: bytes, exact: bytes | None, value: bytes
    ) -> StateEntry:
        if exact is not None:
            key, map_key = map(self._rows.codec.encode, self._rows.codec.decode(exact))
        return StateEntry(group, self._name, key, map_key if self._rows.is_map else None, value)
