"""`SqlSink`: records become rows of a table, of SQLite or PostgreSQL.

Without checkpoints, rows are written in batches. With checkpoints they are staged beside the table
and moved into it by the transaction that commits their epoch, see `sql_staging`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from sage.common.config import Meta, configurable
from sage.common.errors import ConfigError, Problem, StorageError
from sage.common.suggestions import did_you_mean
from sage.libs.io.record_writer import row_of
from sage.libs.io.sql_database import Database, check_driver, connect, quoted, shown
from sage.libs.io.sql_staging import Staging, Table
from sage.libs.io.staged_sink import Share, StagedSink

__all__ = ["SqlSink"]


@configurable
class SqlSink(StagedSink):
    """Writes one mapping a row into a table of SQLite or PostgreSQL, which must exist.

    With checkpoints, rows appear in the table when the checkpoint that covers them is complete,
    each exactly once, whatever happens. Two tables beside it, ``<table>_sage_staged`` and
    ``<table>_sage_epochs``, hold what is not committed yet and how far it is. A row that the table
    refuses at that moment (a duplicate, a missing value) fails the job; it can be put right in the
    first of them. Without checkpoints, rows are written in batches, and those of a job that fails
    stay.

    With ``key`` a row replaces the one of the same key, so that a record that comes twice is there
    once in any mode.

    Mappings and lists are stored as JSON in SQLite; in PostgreSQL, mappings as ``jsonb`` and lists
    as arrays.

    Args:
        database: The file of an SQLite database (its path or ``sqlite:///path``), or
            ``postgresql://user@host/name``, which needs ``isage-libs[postgresql]``.
        table: The table; a dot stands between schema and table.
        columns: The columns to write; by default all of the table. Each record has a field for
            each of them, and no other.
        key: The column, or columns, that say which row a record replaces; the table has a primary
            key or a unique index of exactly these.
        batch_rows: How many rows are sent at a time.
        owner: Tells the sinks of several jobs at one table apart; by default the names of job and
            operator.

    Raises:
        MissingExtraError: if psycopg is needed and not installed.
        UnreachableError: from ``open`` if the server cannot be connected to.
        StorageError: if the database refuses: no such table, a full disk, a violated constraint.
        DataError: if a record has other fields than the columns, or a value cannot be stored.

    Example:
        >>> import pathlib, sqlite3, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "people.db")
        >>> people = sqlite3.connect(path)
        >>> _ = people.execute("CREATE TABLE people (name TEXT PRIMARY KEY, born INTEGER)")
        >>> sink = SqlSink(str(path), "people", key="name")
        >>> sink.open(None)
        >>> sink.write({"name": "Noether", "born": 1883})
        >>> sink.write({"name": "Noether", "born": 1882})
        >>> sink.flush(), sink.close()
        (None, None)
        >>> people.execute("SELECT * FROM people").fetchall()
        [('Noether', 1882)]
        >>> people.close()
    """

    def __init__(
        self,
        database: str,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        key: str | Sequence[str] | None = None,
        batch_rows: Annotated[int, Meta(ge=1)] = 1000,
        owner: str | None = None,
    ) -> None:
        check_driver(database)
        self.database, self.table, self.owner = database, table, owner
        self.columns = tuple(columns) if columns is not None else None
        self.key = (key,) if isinstance(key, str) else tuple(key or ())
        self.batch_rows = batch_rows
        for name in self.key:
            if self.columns is not None and name not in self.columns:
                told = f"{name!r} is none of the columns{did_you_mean(name, self.columns)}"
                raise ConfigError("SqlSink", [Problem("$.key", told)])
        self._connection: Database | None = None
        self._table = Table(table, ())
        self._waiting: Staging | None = None
        self._rows: list[list[Any]] = []

    @property
    def idempotent(self) -> bool:
        """Whether a record that comes twice is there once, without any transaction."""
        return bool(self.key)

    def open(self, context: Any) -> None:
        """Connect, look at the table, and make the tables beside it if the job has checkpoints."""
        connection = self._connection = connect(self.database)
        known = connection.run(f"SELECT * FROM {quoted(self.table)} WHERE 1 = 0").columns
        for name in (*(self.columns or ()), *self.key):
            if name not in known:
                raise StorageError(
                    f"table {self.table!r} has no column {name!r}{did_you_mean(name, known)}",
                    path=shown(self.database),
                    column=name,
                )
        self._table = Table(self.table, self.columns or tuple(known), self.key)
        # The database says now what it would say then: that there is no index for the key, say.
        nothing = f"SELECT {self._table.names} FROM {quoted(self.table)} WHERE 1 = 0"
        connection.run(self._table.insert(nothing))
        share = Share.of(context, self.logger)
        if share is not None:
            owner = self.owner or f"{getattr(context, 'job_name', '')}/{context.uid}"
            self._stage = self._waiting = Staging(connection, self._table, owner, share)

    def write(self, record: Any) -> None:
        """Take one row; it is sent with others.

        Raises:
            DataError: if it has other fields than the columns.
        """
        self._rows.append(row_of(record, self._table.columns))
        if len(self._rows) >= self.batch_rows:
            try:
                self._send()
            except BaseException:
                self._rows.pop()  # who retries gives it again, and who skips does not want it
                raise

    def prepare(self, epoch: int) -> str | None:
        """Stage the last rows of an epoch."""
        self._send()
        return super().prepare(epoch)

    def abort(self, epoch: int) -> None:
        """Throw away the rows of an epoch that is not committed."""
        if self._waiting is not None and self._waiting.epoch == epoch:
            self._rows.clear()
        super().abort(epoch)

    def flush(self) -> None:
        """Send the last rows."""
        self._send()

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self) -> None:
        if not self._rows:
            return
        # Kept until the database has them all: it takes all of them or none.
        if self._waiting is not None:
            self._waiting.add(self._rows)
        else:
            connection = self._opened()
            marks = ", ".join([connection.mark] * len(self._table.columns))
            with connection.transaction():
                connection.run_many(self._table.insert(f"VALUES ({marks})"), self._rows)
        self._rows.clear()

    def _opened(self) -> Database:
        if self._connection is None:
            raise StorageError(
                f"the sink of table {self.table!r} is not open", path=shown(self.database)
            )
        return self._connection

    def _target(self) -> str:
        return f"the sink of table {self.table!r}"
