"""`SqlSink` on real databases: rows appear with their checkpoint, each exactly once."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from sage.common.errors import ConfigError, DataError, StorageError, UnreachableError
from sage.common.records import Passage
from sage.libs.io.conformance import TransactionalSinkConformance, opened
from sage.libs.io.sink import SqlSink
from sage.libs.io.sql_database import connect, shown


def run(database: str, statement: str) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own."""
    connection = connect(database)
    try:
        return connection.run(statement).rows
    finally:
        connection.close()


class _SqlSinkConformance(TransactionalSinkConformance):
    """What every transactional sink promises, on both databases."""

    key: str | None = None

    @pytest.fixture(autouse=True)
    def _in_a_database(self, database: str) -> None:
        self.database = database

    def make_sink(self, place: str) -> SqlSink:
        unique = "PRIMARY KEY" if self.key else ""
        run(self.database, f"CREATE TABLE IF NOT EXISTS {place} (n INTEGER {unique})")
        return SqlSink(self.database, place, key=self.key, batch_rows=2)

    def committed(self, place: str) -> list[int]:
        return [n for (n,) in run(self.database, f"SELECT n FROM {place}")]

    def clear(self, place: str) -> None:
        run(self.database, f"DELETE FROM {place}")

    def abandon(self, sink: SqlSink) -> None:
        sink.close()


class TestSqlSink(_SqlSinkConformance):
    """Rows that are added."""


class TestSqlSinkWithKey(_SqlSinkConformance):
    """Rows that replace each other."""

    key = "n"

    def test_output_that_would_come_twice_is_refused(self) -> None:
        """It is written again over what is there: nothing is twice, and nothing is lost."""
        for _ in range(2):
            self.job("a").run()
            assert sorted(self.committed("a")) == list(range(10))
        job = self.job("a")
        job.checkpoint, job.begun = 1, 4
        self.clear("a")
        job.run()
        assert sorted(self.committed("a")) == list(range(10))


def test_a_row_with_a_key_replaces_the_one_before(database: str) -> None:
    """Within a batch, within an epoch and later; other columns of the row stay as they are."""
    run(database, "CREATE TABLE t (a TEXT, b INTEGER, c INTEGER, d TEXT, PRIMARY KEY (a, b))")
    run(database, "INSERT INTO t VALUES ('x', 1, 0, 'mine')")
    for mode in ("exactly_once", "at_least_once", None):
        sink = SqlSink(database, "t", columns=["c", "b", "a"], key=["a", "b"], batch_rows=2)
        opened(sink, mode=mode)
        for first in (0, 1):
            if mode is not None:
                sink.begin(first)
            for c in (7, 8, 9 + first):
                sink.write({"a": "x", "b": 1, "c": c})
            sink.write({"a": "y", "b": 1, "c": 1})
            if mode is not None:
                sink.prepare(first)
                sink.commit(first)
        sink.flush()
        sink.close()
        found = run(database, "SELECT * FROM t ORDER BY a")
        assert found == [("x", 1, 10, "mine"), ("y", 1, 1, None)]
        run(database, "UPDATE t SET c = 0")
        if mode == "exactly_once":
            run(database, "DELETE FROM t_sage_epochs")


def test_a_table_of_keys_alone_takes_a_row_once(database: str) -> None:
    """Where nothing is left to replace, the row that is there stays."""
    run(database, "CREATE TABLE t (a TEXT PRIMARY KEY)")
    sink = opened(SqlSink(database, "t", key="a"))
    sink.begin(1)
    for a in ("x", "y", "x"):
        sink.write({"a": a})
    sink.prepare(1)
    sink.commit(1)
    sink.close()
    assert sorted(run(database, "SELECT a FROM t")) == [("x",), ("y",)]


def test_rows_keep_their_order(database: str) -> None:
    """Rows of one subtask are written in the order in which they came."""
    serial = "INTEGER" if "://" not in database else "SERIAL"
    run(database, f"CREATE TABLE t (id {serial} PRIMARY KEY, n INTEGER)")
    sink = opened(SqlSink(database, "t", columns=["n"], batch_rows=3))
    sink.begin(1)
    for n in range(20):
        sink.write({"n": n})
    sink.prepare(1)
    sink.commit(1)
    sink.close()
    assert [n for (n,) in run(database, "SELECT n FROM t ORDER BY id")] == list(range(20))


def test_values_come_back_as_they_were(database: str) -> None:
    """Text, numbers, bytes, times, mappings and lists, in the types that the database has."""
    is_sqlite = "://" not in database
    values = {
        "text": "水 'x' ?%s \"",
        "whole": 2**40,
        "real": 0.1,
        "bytes": b"\x00\xff",
        "nothing": None,
        "day": date(2024, 2, 29),
        "at": datetime(2024, 2, 29, 12, tzinfo=UTC),
        "amount": Decimal("1.10"),
        "id": UUID(int=7),
        "meta": {"a": [1, "ü"]},
        "tags": ["a", "b"],
    }
    types = ("TEXT", "BIGINT", "DOUBLE PRECISION", "BYTEA", "TEXT", "DATE", "TIMESTAMPTZ")
    types += ("NUMERIC(9, 2)", "UUID", "JSONB", "TEXT[]")
    if is_sqlite:
        types = ("TEXT", "INT", "REAL", "BLOB", "TEXT", "TEXT", "TEXT", "TEXT", "TEXT", "", "")
    columns = ", ".join(f'"{name}" {kind}' for name, kind in zip(values, types, strict=True))
    run(database, f"CREATE TABLE t ({columns})")
    for mode in (None, "exactly_once"):
        sink = opened(SqlSink(database, "t"), mode=mode)
        if mode is not None:
            sink.begin(1)
        sink.write(values)
        if mode is not None:
            sink.prepare(1)
            sink.commit(1)
        sink.flush()
        sink.close()
    expected = list(values.values())
    if is_sqlite:
        expected[5:9] = ["2024-02-29", "2024-02-29T12:00:00+00:00", "1.10", str(UUID(int=7))]
        expected[9:] = [json.dumps(value, ensure_ascii=False) for value in expected[9:]]
    assert run(database, "SELECT * FROM t") == [tuple(expected)] * 2


def test_records_of_sage_are_rows_too(database: str) -> None:
    """A `Passage` is written by its fields."""
    run(database, "CREATE TABLE t (text TEXT, doc_id TEXT)")
    fields = Passage("water", doc_id="d").to_dict()
    sink = opened(SqlSink(database, "t"), mode=None)
    if set(fields) == {"text", "doc_id"}:
        sink.write(Passage("water", doc_id="d"))
    else:
        with pytest.raises(DataError, match="the columns are text, doc_id"):
            sink.write(Passage("water", doc_id="d"))
    sink.close()


def test_without_checkpoints_rows_are_written_in_batches(database: str) -> None:
    """They are seen batch by batch, the rest at the end, and nothing is made beside the table."""
    run(database, "CREATE TABLE t (n INTEGER)")
    sink = opened(SqlSink(database, "t", batch_rows=3), mode=None)
    seen = []
    for n in range(4):
        sink.write({"n": n})
        seen.append(len(run(database, "SELECT n FROM t")))
    assert seen == [0, 0, 3, 3]
    sink.flush()
    sink.close()
    assert len(run(database, "SELECT n FROM t")) == 4
    with pytest.raises(StorageError, match="t_sage_staged"):
        run(database, "SELECT * FROM t_sage_staged")


def test_a_commit_whose_answer_was_lost_can_be_repeated(database: str) -> None:
    """Whether the first one was done or not, the rows are there once; also by another process."""
    run(database, "CREATE TABLE t (n INTEGER)")
    first = opened(SqlSink(database, "t"))
    first.begin(1)
    first.write({"n": 1})
    first.prepare(1)
    second = opened(SqlSink(database, "t"))
    for sink in (first, second, first):
        sink.commit(1)
    assert run(database, "SELECT n FROM t") == [(1,)]
    assert run(database, "SELECT sage_epoch FROM t_sage_epochs") == [(1,)]
    assert run(database, "SELECT * FROM t_sage_staged") == []
    first.close()
    second.close()


def test_rows_that_come_late_for_a_committed_epoch_are_dropped(database: str) -> None:
    """What a process that was thought dead stages behind the commit is never moved."""
    run(database, "CREATE TABLE t (n INTEGER)")
    dead, sink = (opened(SqlSink(database, "t")) for _ in range(2))
    for each, n in ((dead, 1), (sink, 2)):
        each.begin(1)
        each.write({"n": n})
    sink.prepare(1)
    sink.commit(1)
    dead.prepare(1)
    dead.commit(1)
    sink.commit(1)
    assert run(database, "SELECT n FROM t") == [(2,)]
    dead.close()
    sink.close()


def test_a_row_that_the_table_refuses_can_be_put_right(database: str) -> None:
    """The commit fails as a whole and says where the rows are; corrected there, it goes through."""
    run(database, "CREATE TABLE t (n INTEGER NOT NULL)")
    sink = opened(SqlSink(database, "t"))
    sink.begin(1)
    for n in (1, None):
        sink.write({"n": n})
    sink.prepare(1)
    with pytest.raises(StorageError, match="put them right") as caught:
        sink.commit(1)
    assert "t_sage_staged" in str(caught.value)
    assert run(database, "SELECT n FROM t") == []
    run(database, "UPDATE t_sage_staged SET n = 2 WHERE n IS NULL")
    sink.commit(1)
    sink.close()
    assert run(database, "SELECT n FROM t ORDER BY n") == [(1,), (2,)]


def test_several_sinks_at_one_table_keep_apart(database: str) -> None:
    """Each has its epochs under its own name."""
    run(database, "CREATE TABLE t (n INTEGER)")
    sinks = [opened(SqlSink(database, "t", owner=owner)) for owner in ("a", "b")]
    for n, sink in enumerate(sinks):
        sink.begin(1)
        sink.write({"n": n})
        sink.prepare(1)
    sinks[0].commit(1)
    sinks[0].abort(1)
    sinks[1].commit(1)
    assert sorted(run(database, "SELECT n FROM t")) == [(0,), (1,)]
    for sink in sinks:
        sink.close()


def test_a_table_that_is_not_empty_cannot_be_started_over(database: str) -> None:
    """Which rows are of the earlier run is unknown: the error says what to do."""
    run(database, "CREATE TABLE t (n INTEGER)")
    sink = opened(SqlSink(database, "t"))
    sink.start_over()
    sink.begin(1)
    sink.write({"n": 1})
    sink.prepare(1)
    sink.commit(1)
    sink.close()
    again = opened(SqlSink(database, "t"))
    with pytest.raises(StorageError, match="DELETE FROM"):
        again.start_over()
    again.close()


def test_other_columns_than_those_of_waiting_rows_are_refused(database: str) -> None:
    """Staged rows are not lost by a change of the sink's options; without such, it may change."""
    run(database, "CREATE TABLE t (a INTEGER, b INTEGER)")
    old = opened(SqlSink(database, "t", columns=["a"]))
    old.begin(1)
    old.write({"a": 1})
    old.prepare(1)
    new = SqlSink(database, "t", columns=["b"])
    with pytest.raises(StorageError, match="holds rows with other columns than b"):
        opened(new)
    new.close()
    old.commit(1)
    changed = opened(SqlSink(database, "t", columns=["b"]))
    changed.begin(2)
    changed.write({"b": 2})
    changed.prepare(2)
    changed.commit(2)
    assert sorted(run(database, "SELECT a, b FROM t"), key=str) == [(1, None), (None, 2)]
    old.close()
    changed.close()


def test_mistakes_are_named_at_open(database: str) -> None:
    """No such table, no such column, no index for the key: all before the first record."""
    run(database, "CREATE TABLE t (name TEXT, born INTEGER)")
    for sink, told in (
        (SqlSink(database, "people"), "people"),
        (SqlSink(database, "t", columns=["nam"]), "no column 'nam'; did you mean 'name'"),
        (SqlSink(database, "t", key="id"), "no column 'id'"),
        (SqlSink(database, "t", key="name"), "ON CONFLICT"),
    ):
        with pytest.raises(StorageError, match=told):
            opened(sink)
        sink.close()
    with pytest.raises(ConfigError, match="'id' is none of the columns"):
        SqlSink(database, "t", columns=["name"], key="id")


def test_a_record_that_does_not_fit_is_refused(database: str) -> None:
    """Missing and unknown fields, and values that the database has no form for, are named."""
    run(database, "CREATE TABLE t (a INTEGER, b INTEGER)")
    sink = opened(SqlSink(database, "t", batch_rows=1), mode=None)
    for record in ({"a": 1}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "c": 3}):
        with pytest.raises(DataError, match="the columns are a, b"):
            sink.write(record)
    with pytest.raises(DataError, match="got int: 3"):
        sink.write(3)
    with pytest.raises(DataError, match="does not take a value"):
        sink.write({"a": 1, "b": object()})
    sink.close()


def test_a_row_that_is_given_again_after_an_error_is_there_once(database: str) -> None:
    """Whoever retries a write that failed, or skips its record, gets what he asked for."""
    run(database, "CREATE TABLE t (n INTEGER CHECK (n < 10))")
    sink = opened(SqlSink(database, "t", batch_rows=2), mode=None)
    sink.write({"n": 1})
    for _ in range(2):
        with pytest.raises(StorageError):
            sink.write({"n": 11})
    sink.write({"n": 2})
    sink.flush()
    sink.close()
    assert sorted(run(database, "SELECT n FROM t")) == [(1,), (2,)]


def test_a_long_name_has_tables_beside_it(database: str) -> None:
    """Where the database would cut names off, two tables still do not share what is beside."""
    tables = [f"{'t' * 58}{n}" for n in range(2)]
    for n, table in enumerate(tables):
        run(database, f"CREATE TABLE {table} (n INTEGER)")
        sink = opened(SqlSink(database, table))
        sink.begin(1)
        sink.write({"n": n})
        sink.prepare(1)
        sink.commit(1)
        sink.close()
    assert [run(database, f"SELECT n FROM {table}") for table in tables] == [[(0,)], [(1,)]]


def test_many_subtasks_may_open_at_once(database: str) -> None:
    """Tables beside the target are made once, however many want to make them."""
    from concurrent.futures import ThreadPoolExecutor

    run(database, "CREATE TABLE t (n INTEGER)")

    def work(subtask: int) -> None:
        sink = opened(SqlSink(database, "t", batch_rows=2), subtask, 6)
        sink.begin(1)
        for n in range(5):
            sink.write({"n": 10 * subtask + n})
        sink.prepare(1)
        sink.commit(1)
        sink.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    found = sorted(n for (n,) in run(database, "SELECT n FROM t"))
    assert found == [10 * subtask + n for subtask in range(6) for n in range(5)]


def test_a_server_that_is_not_there_is_unreachable() -> None:
    """The error names the address, never the password."""
    pytest.importorskip("psycopg")
    url = "postgresql://me:secret@127.0.0.1:1/none"
    with pytest.raises(UnreachableError, match=r"me:\*\*\*@127\.0\.0\.1:1") as caught:
        opened(SqlSink(url, "t"))
    assert "secret" not in str(caught.value.to_dict())
    assert shown("data.db") == "data.db"


def test_a_driver_that_is_missing_is_named_when_the_pipeline_is_built(
    tmp_path: Path,
) -> None:
    """Without psycopg, SQLite works and PostgreSQL says what to install."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'psycopg' else find(name, *a)\n"
        "from sage.libs.io.sink import SqlSink\n"
        f"SqlSink({str(tmp_path / 'a.db')!r}, 't')\n"
        "SqlSink('postgresql://me@here/db', 't')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtraError" in done.stderr
    assert "isage-libs[postgresql]" in done.stderr


def test_rewinding_under_at_least_once_is_a_warning(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who accepts duplicates gets them, is told so, and loses nothing."""
    run(database, "CREATE TABLE t (n INTEGER)")
    for _ in range(2):
        sink = opened(SqlSink(database, "t"), mode="at_least_once")
        with caplog.at_level(logging.WARNING):
            sink.begin(1)
        sink.write({"n": 1})
        sink.prepare(1)
        sink.commit(1)
        sink.close()
    assert "will write again" in caplog.text
    assert run(database, "SELECT n FROM t") == [(1,), (1,)]


@pytest.mark.slow
def test_a_process_that_is_killed_at_each_statement_loses_nothing(database: str) -> None:
    """A real process, killed with SIGKILL around its statements, and run again."""
    script = str(Path(__file__).with_name("killed_jobs.py"))
    command = [sys.executable, script, "sql", database, "5"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300)
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert len(runs) > 10
    for step, (first, second, third), numbers in runs:
        assert (first, third) == (-signal.SIGKILL, 0), step
        assert second in (0, -signal.SIGKILL), step
        assert numbers == list(range(10)), step
