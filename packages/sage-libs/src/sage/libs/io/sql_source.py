"""`SqlSource`: the rows of a table or query, in the order of a key, replayable from any of them.

A position is the key of the row that was given last. Going on is a query for the rows behind it
(keyset pagination), which costs the same everywhere in the table and stays right when rows before
it are deleted; an OFFSET would do neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

from sage.common.config import Meta, configurable
from sage.common.core.functions import SourceFunction
from sage.common.errors import ConfigError, DataError, Problem
from sage.common.suggestions import did_you_mean
from sage.libs.io.sql_database import Database, check_driver, connect, quoted, shown

__all__ = ["SqlSource"]


@configurable
class SqlSource(SourceFunction[dict[str, Any]]):
    """Reads a table or query of SQLite or PostgreSQL: a mapping for each row. It can be replayed.

    Rows come in the order of ``order_by``, which no two rows may have in common; an index on it
    makes it fast. A row that is inserted while the source reads is given if it lies behind those
    that were given already. The source ends at the last row.

    Args:
        database: The file of an SQLite database (its path or ``sqlite:///path``), or
            ``postgresql://user@host/name``, which needs ``isage-libs[postgresql]``.
        table: The table; a dot stands between schema and table.
        query: A ``SELECT`` in place of a table.
        order_by: The column, or columns, by which rows are ordered and told apart: a primary key.
        batch_rows: Most rows that are asked for at a time.

    Raises:
        ConfigError: if not exactly one of ``table`` and ``query`` is given.
        MissingExtraError: if psycopg is needed and not installed.
        UnreachableError: from ``open`` if the server cannot be connected to.
        StorageError: if the database refuses, such as for want of the table.
        DataError: if two rows have one key, a key has no value, or the position to go to is of
            another table or query.

    Example:
        >>> import pathlib, sqlite3, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "people.db")
        >>> people = sqlite3.connect(path)
        >>> _ = people.execute("CREATE TABLE people (name TEXT PRIMARY KEY, born INTEGER)")
        >>> _ = people.execute("INSERT INTO people VALUES ('Noether', 1882), ('Hopper', 1906)")
        >>> people.commit(), people.close()
        (None, None)
        >>> source = SqlSource(str(path), table="people", order_by="name")
        >>> source.read(1)
        [{'name': 'Hopper', 'born': 1906}]
        >>> source.snapshot_position()["after"]
        ('Hopper',)
        >>> source.close()
    """

    def __init__(
        self,
        database: str,
        *,
        table: str | None = None,
        query: str | None = None,
        order_by: str | Sequence[str],
        batch_rows: Annotated[int, Meta(ge=1)] = 1000,
    ) -> None:
        check_driver(database)
        if (table is None) == (query is None):
            raise ConfigError("SqlSource", [Problem("$", "give either a table or a query")])
        self.database = database
        self.batch_rows = batch_rows
        self.order_by = (order_by,) if isinstance(order_by, str) else tuple(order_by)
        if not self.order_by:
            raise ConfigError("SqlSource", [Problem("$.order_by", "names no column")])
        self._what = quoted(table) if table is not None else f"({str(query).strip().rstrip(';')})"
        self._connection: Database | None = None
        self._after: tuple[Any, ...] | None = None

    def open(self, context: Any) -> None:
        """Connect and look at the key.

        Raises:
            DataError: if it is no column, or has no value in some row.
        """
        self._opened()

    def read(self, max_records: int) -> list[dict[str, Any]] | None:
        """Return the next rows, at most ``max_records``, or None at the end."""
        connection = self._opened()
        most = min(max_records, self.batch_rows)
        # One row more than is given: it may have the key of the last one, and be lost else.
        key = ", ".join(map(quoted, self.order_by))
        marks = ", ".join([connection.mark] * len(self.order_by))
        behind = f" WHERE ({key}) > ({marks})" if self._after is not None else ""
        found = connection.run(
            f"SELECT * FROM {self._rows(connection)}{behind} ORDER BY {key} LIMIT {most + 1}",
            self._after or (),
        )
        if not found.rows:
            return None
        at = [found.columns.index(name) for name in self.order_by]
        keys = [tuple(row[i] for i in at) for row in found.rows]
        for one, behind_it in pairwise(keys):
            if one == behind_it:
                raise self._problem(
                    f"two rows have the same {', '.join(self.order_by)}: {one!r}",
                    "order by a primary key, or by more columns",
                )
        rows = found.rows[:most]
        self._after = keys[len(rows) - 1]
        return [dict(zip(found.columns, row, strict=True)) for row in rows]

    def snapshot_position(self) -> dict[str, Any]:
        """Return the position after the last row that ``read`` returned."""
        return {"of": self._identity, "after": self._after}

    def seek(self, position: Mapping[str, Any]) -> None:
        """Go to a position.

        Raises:
            DataError: if it was taken in another table or query, or in another order.
        """
        if tuple(position["of"]) != self._identity:
            raise self._problem(
                f"the position was taken in {position['of'][0]} by {position['of'][1]}",
                "read what was read before, or start over",
            )
        after = position["after"]
        self._after = tuple(after) if after is not None else None

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._after = None

    @property
    def _identity(self) -> tuple[str, str]:
        return self._what, ", ".join(self.order_by)

    def _rows(self, connection: Database) -> str:
        """Return what is read, as it stands in a statement with parameters."""
        what = self._what
        if self._after is not None and connection.mark == "%s":
            what = what.replace("%", "%%")
        return what if what.startswith('"') else f"{what} AS given"

    def _opened(self) -> Database:
        if self._connection is None:
            connection = self._connection = connect(self.database)
            what = self._rows(connection)
            known = connection.run(f"SELECT * FROM {what} WHERE 1 = 0").columns
            for name in self.order_by:
                if name not in known:
                    raise self._problem(f"no column {name!r}{did_you_mean(name, known)}")
            empty = " OR ".join(f"{quoted(name)} IS NULL" for name in self.order_by)
            if connection.run(f"SELECT 1 FROM {what} WHERE {empty} LIMIT 1").rows:
                raise self._problem(
                    f"a row has no value for {' or '.join(self.order_by)}",
                    "order by a primary key, or leave such rows out in a query",
                )
        return self._connection

    def _problem(self, told: str, hint: str | None = None) -> DataError:
        where = f"{shown(self.database)}, {self._what}"
        return DataError(f"{where}: {told}", hint=hint, path=shown(self.database))
