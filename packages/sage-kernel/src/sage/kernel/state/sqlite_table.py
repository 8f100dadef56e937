"""Tables on disk: rows in SQLite, and before them the entries that were used of late.

Each table has two dicts of the same bound: ``dirty`` holds what was written and is not on disk
yet, ``clean`` what is known to be there. When ``dirty`` is full, the entries that have been in it
for longest are written, some hundred at a time so that no record waits long, and go to ``clean``;
when that is full, it starts over. What is used again and again costs a dict access, and nothing
is kept of the order in which single entries were used.

Invariant: an entry's value is the one in ``dirty``, else the one in ``clean``, else its row's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from sage.kernel.state.backend import StateEntry
from sage.kernel.state.sqlite_rows import ABSENT, BEFORE_ALL, Entry, StateRows

__all__ = ["SqliteMapTable", "SqliteValueTable"]

_FIRST_ENTRIES = 1024  # until the size of a value is known
_ENTRY_OVERHEAD_BYTES = 400  # two dict slots, a key and a small value as Python objects
_PAGE_ROWS = 512
_WRITE_ENTRIES = 1024  # at once: some ten milliseconds
_UNKNOWN: Any = object()


class _Table:
    """What both kinds of tables share: when to write, how to go through all rows."""

    def __init__(self, rows: StateRows, cache_bytes: int, commit: Callable[[], None]) -> None:
        self.rows = rows
        self._cache_bytes = cache_bytes
        self._commit = commit
        self._limit = min(_FIRST_ENTRIES, self._room(0.0))
        self._cursor = BEFORE_ALL

    def _room(self, value_bytes: float) -> int:
        """Return how many entries of that size a dict may have."""
        each = _ENTRY_OVERHEAD_BYTES + 3 * value_bytes
        return max(1, int(self._cache_bytes / (2 * each)))

    def _write(self, entries: list[Entry]) -> None:
        """Write entries, and set how many there may be by the size of these."""
        self.rows.store(entries)
        self._commit()
        self._limit = self._room(self.rows.mean_bytes)

    def flush(self) -> None:
        """Write what is dirty."""
        raise NotImplementedError

    def _dirty_entries(self) -> Iterator[Entry]:
        """Yield what is dirty."""
        raise NotImplementedError

    def pending(self) -> Iterator[Entry]:
        """Return what is not on disk yet, detached; what was removed is `ABSENT`."""
        keys, map_keys, values = [], [], []  # no tuples, which make the garbage collector run
        detached = self.rows.codec.detached
        for key, map_key, value in self._dirty_entries():
            keys.append(key)
            map_keys.append(map_key)
            values.append(value if value is ABSENT else detached(value))
        return zip(keys, map_keys, values, strict=True)

    def forget(self) -> None:
        """Forget what is clean: the rows have changed."""
        raise NotImplementedError

    def _drop(self, key: Any, map_key: Any) -> None:
        """Forget that an entry is on disk; what is dirty is newer and stays."""
        raise NotImplementedError

    def all_keys(self) -> Iterator[Any]:
        self.flush()
        after, last = BEFORE_ALL, None
        while page := self.rows.page(after, _PAGE_ROWS):
            for row in page:
                if row[:2] != last:
                    last = row[:2]
                    yield self.rows.keys_of(row)[0]
            after = page[-1][:3]

    def __len__(self) -> int:
        self.flush()
        return self.rows.count()

    def expire(self, is_expired: Callable[[Any], bool], limit: int) -> int:
        if self._cursor == BEFORE_ALL:
            self.flush()
        page = self.rows.page(self._cursor, limit)
        self._cursor = page[-1][:3] if len(page) == limit else BEFORE_ALL
        decode = self.rows.codec.decode
        gone = [row for row in page if is_expired(decode(row[4]))]
        for row in gone:
            self._drop(*self.rows.keys_of(row))
        self.rows.remove(row[:3] for row in gone)
        return len(gone)

    def restore(self, entries: Iterable[StateEntry]) -> None:
        """Take in entries of a snapshot; values stay as they are, in bytes."""
        self.flush()
        self.forget()
        decode, rows = self.rows.codec.decode, []
        for entry in entries:
            key = decode(entry.key)
            map_key = decode(entry.map_key) if entry.map_key is not None else None
            place = self.rows.place(key, map_key)
            rows.append((*place, self.rows.exact(key, map_key), entry.value))
        self.rows.write(rows)


class SqliteValueTable(_Table):
    """The values of one state."""

    def __init__(self, rows: StateRows, cache_bytes: int, commit: Callable[[], None]) -> None:
        super().__init__(rows, cache_bytes, commit)
        self._dirty: dict[Any, Any] = {}
        self._clean: dict[Any, Any] = {}

    def get(self, key: Any, default: Any = None, /) -> Any:
        value = self._dirty.get(key, _UNKNOWN)
        if value is _UNKNOWN:
            value = self._clean.get(key, _UNKNOWN)
            if value is _UNKNOWN:
                value = self._loaded(key)
        return default if value is ABSENT else value

    def _loaded(self, key: Any) -> Any:
        value = self.rows.load(key)
        if value is not ABSENT:
            if len(self._clean) >= self._limit:
                self._clean = {}
            self._clean[key] = value
        return value

    def __setitem__(self, key: Any, value: Any, /) -> None:
        self._dirty[key] = value
        if len(self._dirty) > self._limit:
            self._write_oldest(_WRITE_ENTRIES)

    def discard(self, key: Any) -> None:
        self[key] = ABSENT

    def flush(self) -> None:
        if self._dirty:
            self._write_oldest(len(self._dirty))

    def _write_oldest(self, count: int) -> None:
        oldest = list(islice(self._dirty_entries(), count))
        self._write(oldest)
        if len(self._clean) + count > self._limit:
            self._clean = {}
        for key, _, value in oldest:
            self._clean[key] = value
            del self._dirty[key]

    def _dirty_entries(self) -> Iterator[Entry]:
        return ((key, None, value) for key, value in self._dirty.items())

    def forget(self) -> None:
        self._clean = {}

    def _drop(self, key: Any, map_key: Any) -> None:
        self._clean.pop(key, None)


class SqliteMapTable(_Table):
    """The maps of one state, row by row; both dicts hold what is known of each key's map."""

    def __init__(self, rows: StateRows, cache_bytes: int, commit: Callable[[], None]) -> None:
        super().__init__(rows, cache_bytes, commit)
        self._dirty: dict[Any, dict[Any, Any]] = {}
        self._clean: dict[Any, dict[Any, Any]] = {}
        self._unwritten = self._known = 0

    def get(self, key: Any, map_key: Any, default: Any = None) -> Any:
        value = _UNKNOWN
        if (entries := self._dirty.get(key)) is not None:
            value = entries.get(map_key, _UNKNOWN)
        if value is _UNKNOWN:
            if (entries := self._clean.get(key)) is not None:
                value = entries.get(map_key, _UNKNOWN)
            if value is _UNKNOWN:
                value = self._loaded(key, map_key)
        return default if value is ABSENT else value

    def _loaded(self, key: Any, map_key: Any) -> Any:
        value = self.rows.load(key, map_key)
        if value is not ABSENT:
            if self._known >= self._limit:
                self.forget()
            self._clean.setdefault(key, {})[map_key] = value
            self._known += 1
        return value

    def put(self, key: Any, map_key: Any, value: Any) -> None:
        entries = self._dirty.get(key)
        if entries is None:
            entries = self._dirty[key] = {}
        if map_key not in entries:
            self._unwritten += 1
        entries[map_key] = value
        if self._unwritten > self._limit:
            self._write_oldest(_WRITE_ENTRIES)

    def remove(self, key: Any, map_key: Any) -> None:
        self.put(key, map_key, ABSENT)

    def items(self, key: Any) -> list[tuple[Any, Any]]:
        newer = self._dirty.get(key, {})
        entries = self.rows.load_map(key)
        entries.update(newer)
        return [item for item in entries.items() if item[1] is not ABSENT]

    def clear(self, key: Any) -> None:
        self._unwritten -= len(self._dirty.pop(key, ()))
        self._clean.pop(key, None)
        self.rows.remove_map(key)

    discard = clear

    def flush(self) -> None:
        if self._dirty:
            self._write_oldest(self._unwritten)

    def _write_oldest(self, count: int) -> None:
        oldest: list[Entry] = []
        for key in list(islice(self._dirty, count)):
            entries = self._dirty[key]
            taken = dict(islice(entries.items(), count - len(oldest)))
            oldest += ((key, map_key, value) for map_key, value in taken.items())
            self._clean.setdefault(key, {}).update(taken)
            if len(taken) == len(entries):
                del self._dirty[key]
            else:
                for map_key in taken:
                    del entries[map_key]
            if len(oldest) == count:
                break
        self._write(oldest)
        self._unwritten -= len(oldest)
        self._known += len(oldest)
        if self._known > self._limit:
            self.forget()

    def _dirty_entries(self) -> Iterator[Entry]:
        for key, entries in self._dirty.items():
            for map_key, value in entries.items():
                yield key, map_key, value

    def forget(self) -> None:
        self._clean, self._known = {}, 0

    def _drop(self, key: Any, map_key: Any) -> None:
        self._clean.get(key, {}).pop(map_key, None)
