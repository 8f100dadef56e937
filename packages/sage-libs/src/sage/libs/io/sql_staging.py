"""Rows that wait beside a table for the checkpoint that covers them.

Rows are staged under the number of the subtask and of the epoch. A commit is one transaction that
moves the rows of an epoch into the target, removes them here, and records the epoch as the highest
of its subtask::

    <table>_sage_staged    rows that are written or prepared, and not committed
    <table>_sage_epochs    the highest epoch of each subtask that had rows and is committed

Invariant: the rows of an epoch are in the target exactly if it is recorded. The record is written
first, and locks: of two processes that commit an epoch, or of one whose answer was lost and that
asks again, the second finds it recorded and moves nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sage.common.errors import StorageError
from sage.libs.io.sql_database import Database, quoted
from sage.libs.io.staged_sink import Share

__all__ = ["Staging", "Table"]

# PostgreSQL cuts longer names off, and two tables could come to share one.
_LONGEST_NAME = 63 - len("_sage_staged")


@dataclass(frozen=True)
class Table:
    """A table that rows are written to.

    Args:
        name: Its name; a dot stands between schema and table.
        columns: The columns that are written.
        key: Those that say which row is replaced; none if none is.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ()

    @property
    def names(self) -> str:
        """The columns, for a statement."""
        return ", ".join(map(quoted, self.columns))

    def insert(self, rows: str) -> str:
        """Return the statement that writes rows, given as ``VALUES`` or ``SELECT``."""
        statement = f"INSERT INTO {quoted(self.name)} ({self.names}) {rows}"
        if not self.key:
            return statement
        key = ", ".join(map(quoted, self.key))
        others = [quoted(name) for name in self.columns if name not in self.key]
        news = ", ".join(f"{name} = excluded.{name}" for name in others)
        return f"{statement} ON CONFLICT ({key}) DO {f'UPDATE SET {news}' if news else 'NOTHING'}"

    def beside(self, suffix: str) -> str:
        """Return the name of a table beside it, for a statement."""
        schema, dot, name = self.name.rpartition(".")
        if len(name.encode()) > _LONGEST_NAME:
            name = name[:24] + hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
        return quoted(f"{schema}{dot}{name}_sage_{suffix}")


class Staging:
    """The epochs of one subtask; see the module's docstring and `TransactionalSink`.

    Args:
        database: Where the table is.
        table: The target.
        owner: Whose rows and epochs these are: several sinks may write to one table.
        share: Which rows are this subtask's.

    Attributes:
        epoch: The epoch that rows are staged for now, or None between two.
    """

    def __init__(
        self,
        database: Database,
        table: Table,
        owner: str,
        share: Share,
    ) -> None:
        self._database, self._table = database, table
        self._owner, self._share, self._subtask = owner, share, share.subtask
        self._staged, self._epochs = table.beside("staged"), table.beside("epochs")
        self._mark = database.mark
        self.epoch: int | None = None
        self._number = 0
        self._has_begun = False
        self._first_given_up: int | None = None
        self._left: list[tuple[int, int]] | None = None  # what earlier runs have staged
        self._unsettled: set[int] = set()  # epochs with rows of this run
        with database.transaction():
            self._make_tables()

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Stage rows of this epoch, all or none."""
        if self.epoch is None:
            raise StorageError(
                f"a row for table {self._table.name!r} was written between two epochs",
                hint="begin() comes before the first record, and again behind prepare()",
                table=self._table.name,
            )
        whose = (self._owner, self._subtask, self.epoch)
        numbered = [(*whose, self._number + n, *row) for n, row in enumerate(rows)]
        marks = ", ".join([self._mark] * (4 + len(self._table.columns)))
        with self._database.transaction():
            self._database.run_many(f"INSERT INTO {self._staged} VALUES ({marks})", numbered)
        self._number += len(rows)
        self._unsettled.add(self.epoch)

    def begin(self, epoch: int) -> None:
        """Start an epoch.

        Raises:
            StorageError: at the first one, if rows are there already that are yet to be written.
        """
        if not self._has_begun:
            self._has_begun = True
            self._check_committed(epoch)
            with self._database.transaction():
                for subtask, staged in self._own_staged():
                    if staged >= epoch:
                        self._remove(subtask, staged)
        self.epoch, self._number = epoch, 0

    def prepare(self, epoch: int) -> None:
        """End an epoch: all its rows are staged."""
        self.epoch = None

    def commit(self, epoch: int) -> None:
        """Move the rows of an epoch into the table."""
        subtasks = self._subtasks_of(epoch)
        if not subtasks:
            return
        with self._database.transaction():
            for subtask in subtasks:
                if self._record(subtask, epoch):
                    self._move(subtask, epoch)
                self._remove(subtask, epoch)
        self._unsettled.discard(epoch)

    def abort(self, epoch: int) -> None:
        """Throw away the rows of an epoch that is not committed."""
        if not self._has_begun:
            self._first_given_up = min(epoch, self._first_given_up or epoch)
        for subtask in self._subtasks_of(epoch):
            self._remove(subtask, epoch)
        self._unsettled.discard(epoch)

    def start_over(self) -> None:
        """Forget what earlier runs have staged and recorded.

        Raises:
            StorageError: if their rows are in the table and would be there twice, in the mode
                "exactly_once".
        """
        target = quoted(self._table.name)
        would_be_twice = self._share.is_exact and self._own_recorded() and not self._table.key
        if would_be_twice and self._database.run(f"SELECT 1 FROM {target} LIMIT 1").rows:
            raise StorageError(
                f"table {self._table.name!r} holds rows of an earlier run, and it is unknown "
                "which, so it cannot be started over",
                hint=f"empty it first (DELETE FROM {target}), or give the sink a key",
                table=self._table.name,
            )
        with self._database.transaction():
            for subtask, epoch in self._own_staged():
                self._remove(subtask, epoch)
            self._forget_recorded()

    def _make_tables(self) -> None:
        run, target = self._database.run, quoted(self._table.name)
        self._database.lock()
        run(
            f"CREATE TABLE IF NOT EXISTS {self._epochs} (sage_owner TEXT NOT NULL, "
            "sage_subtask INTEGER NOT NULL, sage_epoch BIGINT NOT NULL, "
            "PRIMARY KEY (sage_owner, sage_subtask))"
        )
        whose = (
            "CAST('' AS TEXT) AS sage_owner, CAST(0 AS INTEGER) AS sage_subtask, "
            "CAST(0 AS BIGINT) AS sage_epoch, CAST(0 AS BIGINT) AS sage_number"
        )
        # An index lies where its table does, and its name has no schema.
        index = self._table.beside("index").rpartition(".")[2]
        indexed = (
            f"CREATE INDEX IF NOT EXISTS {index} ON {self._staged} "
            "(sage_owner, sage_subtask, sage_epoch)"
        )
        made = (
            f"CREATE TABLE IF NOT EXISTS {self._staged} AS "
            f"SELECT {whose}, {self._table.names} FROM {target} WHERE 1 = 0"
        )
        run(made)
        run(indexed)
        if run(f"SELECT * FROM {self._staged} WHERE 1 = 0").columns[4:] != [*self._table.columns]:
            if run(f"SELECT 1 FROM {self._staged} LIMIT 1").rows:
                raise StorageError(
                    f"table {self._staged} holds rows with other columns than "
                    f"{', '.join(self._table.columns)}",
                    hint="let the job that wrote them end first, with the columns that it had",
                    table=self._table.name,
                )
            run(f"DROP TABLE {self._staged}")
            run(made)
            run(indexed)

    def _subtasks_of(self, epoch: int) -> list[int]:
        """Return the subtasks that have staged rows of an epoch which this one settles."""
        if self._has_begun:  # what earlier runs have left is settled, and not looked for
            return [self._subtask] if epoch in self._unsettled else []
        if self._left is None:
            self._left = self._own_staged()
        return [subtask for subtask, of in self._left if of == epoch]

    def _own_staged(self) -> list[tuple[int, int]]:
        """Return subtask and epoch of what is staged and this subtask's to settle."""
        return self._own(
            f"SELECT DISTINCT sage_subtask, sage_epoch FROM {self._staged} "
            f"WHERE sage_owner = {self._mark} ORDER BY sage_epoch, sage_subtask"
        )

    def _own_recorded(self) -> list[tuple[int, int]]:
        return self._own(
            f"SELECT sage_subtask, sage_epoch FROM {self._epochs} WHERE sage_owner = {self._mark}"
        )

    def _own(self, query: str) -> list[tuple[int, int]]:
        rows = self._database.run(query, (self._owner,)).rows
        return [(s, epoch) for s, epoch in rows if self._share.owns(s)]

    def _record(self, subtask: int, epoch: int) -> bool:
        """Record an epoch as committed, and return whether it was not before."""
        marks = ", ".join([self._mark] * 3)
        recorded = self._database.run(
            f"INSERT INTO {self._epochs} AS known VALUES ({marks}) "
            "ON CONFLICT (sage_owner, sage_subtask) DO UPDATE SET sage_epoch = excluded.sage_epoch "
            "WHERE known.sage_epoch < excluded.sage_epoch",
            (self._owner, subtask, epoch),
        )
        return recorded.count == 1

    def _move(self, subtask: int, epoch: int) -> None:
        names, rows = self._table.names, f"{self._staged} WHERE {self._of}"
        if self._table.key:  # one statement may not write a row twice: the last one stands
            key = ", ".join(map(quoted, self._table.key))
            rows = (
                f"(SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY sage_number DESC) "
                f"AS sage_rank FROM {rows}) AS ranked WHERE sage_rank = 1"
            )
        moved = self._table.insert(f"SELECT {names} FROM {rows} ORDER BY sage_number")
        try:
            self._database.run(moved, (self._owner, subtask, epoch))
        except StorageError as error:
            error.hint = f"the rows are in {self._staged}: put them right and run the job again"
            raise

    def _remove(self, subtask: int, epoch: int) -> None:
        deleted = f"DELETE FROM {self._staged} WHERE {self._of}"
        self._database.run(deleted, (self._owner, subtask, epoch))

    @property
    def _of(self) -> str:
        columns = ("sage_owner", "sage_subtask", "sage_epoch")
        return " AND ".join(f"{column} = {self._mark}" for column in columns)

    def _forget_recorded(self) -> None:
        for subtask, _ in self._own_recorded():
            self._database.run(
                f"DELETE FROM {self._epochs} WHERE sage_owner = {self._mark} "
                f"AND sage_subtask = {self._mark}",
                (self._owner, subtask),
            )

    def _check_committed(self, epoch: int) -> None:
        """Refuse to write a second time what is committed: it would then be there twice."""
        first = epoch if self._first_given_up is None else min(epoch, self._first_given_up)
        if all(recorded < first for _, recorded in self._own_recorded()):
            return
        told = f"table {self._table.name!r} holds rows that this run will write again"
        if not self._table.key:
            hint = (
                "the job goes on from before they were written, or has lost its checkpoints: "
                "delete them, and start over with fresh=True"
            )
            self._share.refuse_twice(StorageError(told, hint=hint, table=self._table.name))
        # What is recorded belongs to another past: the numbers of its epochs may come again.
        with self._database.transaction():
            self._forget_recorded()
