"""One way to talk to SQLite and PostgreSQL, as far as a source and a sink need it.

Both understand the same SQL here: what differs is how they are connected to, how a parameter is
marked, how a transaction begins, which values they take and what their errors are called.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from sage.common.errors import (
    DataError,
    MissingExtraError,
    SageError,
    StorageError,
    UnreachableError,
)

if TYPE_CHECKING:
    import psycopg

__all__ = ["Database", "Rows", "check_driver", "connect", "quoted", "shown"]

_POSTGRES = ("postgresql://", "postgres://")
_WAIT_S = 30.0


class Rows:
    """The answer to a query.

    Attributes:
        columns: Names of its columns.
        rows: Its rows.
        count: How many rows it changed, for a statement that changes some.
    """

    __slots__ = ("columns", "count", "rows")

    def __init__(self, columns: list[str], rows: list[tuple[Any, ...]], count: int) -> None:
        self.columns, self.rows, self.count = columns, rows, count


class Database(Protocol):
    """A connection; each statement stands alone unless it is in a transaction.

    Attributes:
        mark: Stands for a parameter in a statement.
    """

    mark: str

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run one statement."""

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row."""

    def transaction(self) -> Any:
        """Return a context in which all statements hold, or, if it raises, none."""

    def lock(self) -> None:
        """Let no other process make tables until the transaction ends."""

    def close(self) -> None:
        """Let the connection go; a transaction that is under way is undone."""


def connect(database: str) -> Database:
    """Connect to a database.

    Args:
        database: The file of an SQLite database (``sqlite:///file`` or its path), or a URL
            ``postgresql://user@host/name``.

    Raises:
        MissingExtraError: for PostgreSQL if psycopg is not installed.
        UnreachableError: if the server does not answer or refuses.
        StorageError: if the file cannot be opened.

    Example:
        >>> database = connect("sqlite:///:memory:")
        >>> database.run("SELECT 1 AS one").rows
        [(1,)]
        >>> database.close()
    """
    if database.startswith(_POSTGRES):
        return _Postgres(database)
    return _Sqlite(database.removeprefix("sqlite:///"))


def check_driver(database: str) -> None:
    """Raise a `MissingExtraError` if what talks to this database is not installed."""
    if database.startswith(_POSTGRES) and importlib.util.find_spec("psycopg") is None:
        raise MissingExtraError("psycopg", extra="isage-libs[postgresql]")


def quoted(name: str) -> str:
    """Return a name as SQL takes it; a dot stands between schema and table."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def shown(database: str) -> str:
    """Return the address of a database without its password."""
    if not database.startswith(_POSTGRES):
        return database
    password = urlsplit(database).password
    return database.replace(f":{password}@", ":***@", 1) if password else database


class _Sqlite:
    """A file of SQLite; writers wait for each other."""

    mark = "?"

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            if path != ":memory:":
                self._path = os.path.expanduser(path)
                Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            # The subtask that opens a sink need not be on the thread that settles its epochs.
            self._connection = sqlite3.connect(
                self._path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA synchronous = FULL")
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"cannot open {path!r}: {error}", path=path) from error

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run one statement."""
        with self._told():
            cursor = self._connection.execute(statement, list(map(_for_sqlite, parameters)))
            columns = [name for name, *_ in cursor.description or ()]
            return Rows(columns, cursor.fetchall(), cursor.rowcount)

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row."""
        with self._told():
            self._connection.executemany(statement, [list(map(_for_sqlite, row)) for row in rows])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold all statements, or none."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            # A failed COMMIT, such as on a full disk, may have undone everything already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def lock(self) -> None:
        """Nothing is left to do: the transaction is the only one that writes."""

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.InterfaceError, sqlite3.DataError) as error:
            raise _refused(self._path, error) from error
        except (sqlite3.Error, OverflowError) as error:
            if "binding parameter" in str(error) or isinstance(error, OverflowError):
                raise _refused(self._path, error) from error
            raise _failed(self._path, error) from error


class _Postgres:
    """A connection to a PostgreSQL server, through psycopg."""

    mark = "%s"

    def __init__(self, url: str) -> None:
        check_driver(url)
        import psycopg

        self._url = shown(url)
        try:
            self._connection: psycopg.Connection[tuple[Any, ...]] = psycopg.connect(
                url, autocommit=True
            )
        except psycopg.Error as error:
            raise UnreachableError(
                f"cannot connect to {self._url}: {str(error).strip()}",
                hint="does the server run, and may this user use this database?",
                address=self._url,
            ) from error

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run one statement."""
        with self._told():
            # Without parameters psycopg leaves the signs of per cent in a user's query alone.
            bound = [_for_postgres(value) for value in parameters] or None
            cursor = self._connection.execute(statement, bound)
            columns = [column.name for column in cursor.description or ()]
            rows = cursor.fetchall() if cursor.description else []
            return Rows(columns, rows, cursor.rowcount)

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row."""
        with self._told(), self._connection.cursor() as cursor:
            bound = [[_for_postgres(value) for value in row] for row in rows]
            cursor.executemany(statement, bound)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold all statements, or none."""
        with self._told(), self._connection.transaction():
            yield

    def lock(self) -> None:
        """Let one subtask after the other make tables: IF NOT EXISTS is not safe by itself."""
        self.run("SELECT pg_advisory_xact_lock(hashtext('sage tables'))")

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        import psycopg

        try:
            yield
        except psycopg.DataError as error:
            raise _refused(self._url, error) from error
        except psycopg.Error as error:
            if "cannot adapt" in str(error):
                raise _refused(self._url, error) from error
            raise _failed(self._url, error) from error


def _for_sqlite(value: Any) -> Any:
    if value is None or isinstance(value, (int, float, str, bytes)):
        return value
    if isinstance(value, (date, time)):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, (Mapping, list, tuple)):
        return _as_json(value)
    return value.item() if hasattr(value, "item") else value


def _for_postgres(value: Any) -> Any:
    if isinstance(value, Mapping):
        from psycopg.types.json import Jsonb

        return Jsonb(dict(value))
    return value.item() if hasattr(value, "item") else value


def _as_json(value: Any) -> str:
    try:
        return json.dumps(dict(value) if isinstance(value, Mapping) else value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"cannot store {value!r:.100} as JSON: {error}") from error


def _failed(database: str, error: Exception) -> SageError:
    return StorageError(f"{database}: {str(error).strip()}", path=database)


def _refused(database: str, error: Exception) -> SageError:
    return DataError(f"{database} does not take a value: {str(error).strip()}", path=database)
