"""`SqlSource` on real databases: rows in the order of their key, from any of them on."""

from __future__ import annotations

import copy
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage.common.core.functions import ReplayableSource
from sage.common.errors import ConfigError, DataError, StorageError
from sage.libs.io.sources import SqlSource
from sage.libs.io.sql_database import Database, connect

_tables = itertools.count()


def filled(database: str, columns: str, rows: list[tuple[Any, ...]]) -> str:
    """Return a new table with these rows."""
    table = f"t{next(_tables)}"
    connection: Database = connect(database)
    connection.run(f"CREATE TABLE {table} ({columns})")
    marks = ", ".join([connection.mark] * len(columns.split(", ")))
    connection.run_many(f"INSERT INTO {table} VALUES ({marks})", rows)
    connection.close()
    return table


def changed(database: str, statement: str) -> None:
    connection = connect(database)
    connection.run(statement)
    connection.close()


def rest_of(source: SqlSource, most: int = 3) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while (read := source.read(most)) is not None:
        assert 0 < len(read) <= most
        rows += read
    source.close()
    return rows


@pytest.mark.parametrize("batch_rows", [1, 4, 100])
def test_every_row_comes_once_in_the_order_of_its_key(database: str, batch_rows: int) -> None:
    """However they lie in the table, and however many are asked for at a time."""
    rows = [(n * 7 % 20, f"row {n * 7 % 20}") for n in range(20)]
    table = filled(database, "n INTEGER, text TEXT", rows)
    source = SqlSource(database, table=table, order_by="n", batch_rows=batch_rows)
    expected = [{"n": n, "text": f"row {n}"} for n in range(20)]
    assert rest_of(source) == expected
    assert rest_of(SqlSource(database, table=table, order_by="n"), most=1000) == expected


def test_an_empty_table_ends_at_once(database: str) -> None:
    """No rows is an end, not an error."""
    table = filled(database, "n INTEGER", [])
    assert rest_of(SqlSource(database, table=table, order_by="n")) == []


def test_it_goes_on_at_any_row(database: str) -> None:
    """A position continues right behind its row, also at the beginning and at the end."""
    table = filled(database, "a TEXT, b INTEGER", [(a, b) for a in "xyz" for b in (2, 1, 3)])
    whole = rest_of(SqlSource(database, table=table, order_by=["a", "b"]))
    assert isinstance(SqlSource(database, table=table, order_by="a"), ReplayableSource)
    for done in range(len(whole) + 1):
        source = SqlSource(database, table=table, order_by=["a", "b"], batch_rows=2)
        source.open(None)
        for _ in range(done):
            source.read(1)
        position = source.snapshot_position()
        source.close()
        again = SqlSource(database, table=table, order_by=["a", "b"])
        again.open(None)
        again.seek(position)
        assert again.snapshot_position() == position
        assert rest_of(again) == whole[done:]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])),
            st.integers(-5, 5),
        ),
        unique=True,
        max_size=12,
    ),
    cut=st.integers(0, 12),
    most=st.integers(1, 5),
)
def test_no_row_is_lost_or_twice_wherever_it_is_cut(
    database: str, rows: list[tuple[str, int]], cut: int, most: int
) -> None:
    """Any text and number as a key, in whatever order the database sorts them."""
    table = filled(database, "a TEXT, b INTEGER", rows)
    source = SqlSource(database, table=table, order_by=["a", "b"])
    source.open(None)
    read: list[dict[str, Any]] = []
    while len(read) < cut and (part := source.read(most)) is not None:
        read += part
    again = SqlSource(database, table=table, order_by=["a", "b"])
    again.open(None)
    again.seek(source.snapshot_position())
    source.close()
    read += rest_of(again, most)
    assert sorted((row["a"], row["b"]) for row in read) == sorted(rows)
    changed(database, f"DROP TABLE {table}")


def test_a_query_is_read_like_a_table(database: str) -> None:
    """Joins, conditions and signs that databases use for parameters come through as they are."""
    table = filled(
        database, "n INTEGER, text TEXT", [(n, "5%" if n % 2 else "?") for n in range(9)]
    )
    query = f"SELECT n, text AS \"how much\" FROM {table} WHERE text LIKE '5%' ;"
    rows = rest_of(SqlSource(database, query=query, order_by="n", batch_rows=2))
    assert rows == [{"n": n, "how much": "5%"} for n in (1, 3, 5, 7)]
    query = f"SELECT n FROM {table} WHERE text = '?'"
    assert rest_of(SqlSource(database, query=query, order_by="n"), 2)[-1] == {"n": 8}


def test_rows_before_the_position_may_go_and_rows_behind_it_may_come(database: str) -> None:
    """A position is a key, not a count: what changes elsewhere does not move it."""
    table = filled(database, "n INTEGER", [(n,) for n in range(0, 10, 2)])
    source = SqlSource(database, table=table, order_by="n")
    assert source.read(2) == [{"n": 0}, {"n": 2}]
    changed(database, f"DELETE FROM {table} WHERE n < 3")
    changed(database, f"INSERT INTO {table} VALUES (5), (1)")
    assert [row["n"] for row in rest_of(source)] == [4, 5, 6, 8]


def test_times_can_be_a_key(postgres_url: str) -> None:
    """What a position holds is a value of the database's type."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    times = [start + timedelta(seconds=n) for n in range(5)]
    changed(postgres_url, "DROP TABLE IF EXISTS times")
    changed(postgres_url, "CREATE TABLE times (at TIMESTAMPTZ)")
    connection = connect(postgres_url)
    connection.run_many("INSERT INTO times VALUES (%s)", [(at,) for at in times])
    connection.close()
    source = SqlSource(postgres_url, table="public.times", order_by="at")
    assert source.read(2) == [{"at": at} for at in times[:2]]
    assert source.snapshot_position()["after"] == (times[1],)
    assert [row["at"] for row in rest_of(source)] == times[2:]


def test_two_rows_of_one_key_are_refused(database: str) -> None:
    """Also where one of them is the last of a batch, and would have been left out in silence."""
    table = filled(database, "n INTEGER", [(1,), (2,), (2,), (3,)])
    for most in (1, 2, 3, 10):
        source = SqlSource(database, table=table, order_by="n")
        with pytest.raises(DataError, match=r"two rows have the same n: \(2,\)"):
            rest_of(source, most)
        source.close()


def test_a_key_without_a_value_is_refused(database: str) -> None:
    """Such a row would lie neither before nor behind any other."""
    table = filled(database, "a INTEGER, b INTEGER", [(1, 1), (2, None)])
    source = SqlSource(database, table=table, order_by=["a", "b"])
    with pytest.raises(DataError, match="no value for a or b"):
        source.open(None)
    source.close()


def test_a_position_of_something_else_is_refused(database: str) -> None:
    """Another table, another query or another order: going on there would lose rows."""
    one, other = (filled(database, "a INTEGER, b INTEGER", [(1, 2)]) for _ in range(2))
    source = SqlSource(database, table=one, order_by="a")
    source.read(1)
    position = source.snapshot_position()
    source.close()
    for different in (
        SqlSource(database, table=other, order_by="a"),
        SqlSource(database, table=one, order_by="b"),
        SqlSource(database, query=f"SELECT * FROM {one}", order_by="a"),
    ):
        with pytest.raises(DataError, match="the position was taken in"):
            different.seek(position)
        different.close()


def test_mistakes_are_named(database: str) -> None:
    """A table that is not there, a column that is not there, and options that contradict."""
    table = filled(database, "name TEXT", [])
    source = SqlSource(database, table=table, order_by="nam")
    with pytest.raises(DataError, match="no column 'nam'; did you mean 'name'"):
        source.open(None)
    source.close()
    source = SqlSource(database, table="nowhere", order_by="n")
    with pytest.raises(StorageError, match="nowhere"):
        source.open(None)
    source.close()
    for options in ({}, {"table": "t", "query": "SELECT 1"}):
        with pytest.raises(ConfigError, match="either a table or a query"):
            SqlSource(database, order_by="n", **options)
    with pytest.raises(ConfigError, match="names no column"):
        SqlSource(database, table="t", order_by=[])


def test_it_can_be_copied_and_closed_twice(database: str) -> None:
    """The engine copies a source for each run; a copy starts at the beginning."""
    table = filled(database, "n INTEGER", [(1,), (2,)])
    source = SqlSource(database, table=table, order_by="n")
    assert len(rest_of(copy.deepcopy(source))) == 2
    source.read(1)
    source.close()
    source.close()
    assert len(rest_of(source)) == 2
