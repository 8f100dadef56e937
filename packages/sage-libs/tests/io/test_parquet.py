"""`ParquetSource`: rows, positions in rows, and what is said about files that are none."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sage.common.core.functions import ReplayableSource
from sage.common.errors import ConfigError, DataError
from sage.common.registry import registry
from sage.libs.io.parquet import ParquetSource

ROWS = [{"n": n, "text": f"row {n}", "tags": ["a"] * (n % 3)} for n in range(25)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of four row groups, the last one shorter."""
    file = tmp_path / "rows.parquet"
    parquet.write_table(pa.Table.from_pylist(ROWS), file, row_group_size=7)
    return file


def rest_of(source: ParquetSource, most: int = 4) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while (read := source.read(most)) is not None:
        assert 0 < len(read) <= most
        rows += read
    source.close()
    return rows


@pytest.mark.parametrize("batch_rows", [1, 5, 7, 100])
def test_every_row_comes_once_and_in_order(path: Path, batch_rows: int) -> None:
    """However many rows are read at a time, the rows are those of the file."""
    assert rest_of(ParquetSource(path, batch_rows=batch_rows)) == ROWS


def test_columns_can_be_chosen(path: Path) -> None:
    """Only the columns that were asked for are read; one that is not there is named at open."""
    assert rest_of(ParquetSource(path, columns=["n"])) == [{"n": row["n"]} for row in ROWS]
    with pytest.raises(DataError, match="no column 'txt'; did you mean 'text'"):
        ParquetSource(path, columns=["txt"]).open(None)


def test_it_goes_on_at_any_row(path: Path) -> None:
    """A position within a row group, at its end or at the end of the file continues right there."""
    assert isinstance(ParquetSource(path), ReplayableSource)
    for done in range(len(ROWS) + 1):
        source = ParquetSource(path, batch_rows=3)
        for _ in range(done):
            source.read(1)
        position = source.snapshot_position()
        source.close()
        again = copy.deepcopy(source)
        again.seek(position)
        assert rest_of(again) == ROWS[done:]


def test_a_file_without_rows_ends_at_once(tmp_path: Path) -> None:
    """No row group, no row: the source ends and is not an error."""
    file = tmp_path / "empty.parquet"
    parquet.write_table(pa.table({"n": pa.array([], pa.int64())}), file)
    assert rest_of(ParquetSource(file)) == []


def test_a_changed_file_refuses_old_positions(path: Path) -> None:
    """A position is never applied to another file of the same name."""
    source = ParquetSource(path)
    source.read(3)
    position = source.snapshot_position()
    source.close()
    parquet.write_table(pa.Table.from_pylist(list(reversed(ROWS))), path, row_group_size=7)
    with pytest.raises(DataError, match="has changed"):
        source.seek(position)
    source.close()


def test_what_is_no_parquet_file_is_named(tmp_path: Path) -> None:
    """Text, and a file that was cut off, are refused at open with their path."""
    file = tmp_path / "rows.parquet"
    file.write_text("n,text\n1,a\n")
    with pytest.raises(DataError, match=re.escape(str(file))):
        ParquetSource(file).open(None)
    with pytest.raises(DataError, match="no such file"):
        ParquetSource(tmp_path / "missing.parquet").open(None)


def test_damage_in_the_middle_is_an_error_that_says_how_far_it_came(path: Path) -> None:
    """Rows before the damage are given; then the error names file and row."""
    damaged = bytearray(path.read_bytes())
    start = parquet.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    damaged[start : start + 40] = b"\xff" * 40
    path.write_bytes(damaged)
    source = ParquetSource(path, batch_rows=7)
    assert source.read(7) == ROWS[:7]
    with pytest.raises(DataError, match="damaged") as caught:
        rest_of(source, 7)
    assert caught.value.fields["row"] in (7, 14)
    source.close()


def test_options_are_checked_when_it_is_built(path: Path) -> None:
    """It is found by name, and a wrong option is refused before anything is read."""
    assert registry("sources").get("parquet") is ParquetSource
    with pytest.raises(ConfigError, match="batch_rows"):
        ParquetSource(path, batch_rows=0)
