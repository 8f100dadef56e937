"""The backend on disk keeps the promises of every backend, with caches of every size."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.common.errors import StorageError
from sage.kernel.state.sqlite_backend import SqliteBackend
from sage.kernel.testing.state_backend import StateBackendConformance


class TestSqliteBackend(StateBackendConformance):
    """Run by pytest."""

    def make_backend(self) -> SqliteBackend:
        return SqliteBackend(operator="op")


class TestSqliteBackendWithoutRoom(StateBackendConformance):
    """With a cache of a few entries, so that nearly everything is read from disk."""

    def make_backend(self) -> SqliteBackend:
        return SqliteBackend(operator="op", cache_bytes=3000)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """State on disk without a place for it fails when the backend is made."""
    with pytest.raises(StorageError, match="nowhere"):
        SqliteBackend(tmp_path / "nowhere")


def test_nothing_is_left_on_disk(tmp_path: Path) -> None:
    """The file is deleted when the backend is closed."""
    backend = SqliteBackend(tmp_path)
    backend.value_table("v")["k"] = 1
    list(backend.snapshot())
    assert list(tmp_path.iterdir())
    backend.close()
    assert not list(tmp_path.iterdir())


def test_a_lost_database_is_a_storage_error(tmp_path: Path) -> None:
    """What SQLite cannot do is an error that says it is about state on disk."""
    backend = SqliteBackend(tmp_path)
    backend.value_table("v")["k"] = 1
    backend.close()
    with pytest.raises(StorageError, match="state on disk cannot be read or written"):
        len(backend.value_table("v"))


def test_an_unread_snapshot_keeps_nothing_open(tmp_path: Path) -> None:
    """Closing a snapshot ends its transaction, so that the file does not grow behind it."""
    backend = SqliteBackend(tmp_path)
    backend.value_table("v")["k"] = 1
    for _ in range(3):
        backend.snapshot().close()
    assert not backend._readers
    backend.close()
