"""`ParquetSink`: whole files and parts that any tool reads, and what does not fit its columns."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from sage.common.errors import ConfigError, DataError
from sage.libs.io.conformance import TransactionalSinkConformance, opened
from sage.libs.io.sink import ParquetSink
from sage.libs.io.sources import ParquetSource


def written(path: Path, rows: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
    """Write rows and return what is read back."""
    sink = ParquetSink(path, **options)
    for row in rows:
        sink.write(row)
    sink.close()
    source = ParquetSource(path)
    found: list[dict[str, Any]] = []
    while (read := source.read(1000)) is not None:
        found += read
    source.close()
    return found


class TestParquetSink(TransactionalSinkConformance):
    """What every transactional sink promises."""

    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_sink(self, place: str) -> ParquetSink:
        return ParquetSink(self.folder / f"{place}.parquet", batch_rows=2)

    def committed(self, place: str) -> list[int]:
        path = self.folder / f"{place}.parquet"
        parts = sorted(path.iterdir()) if path.is_dir() else []
        return [n for part in parts for n in parquet.read_table(part)["n"].to_pylist()]

    def abandon(self, sink: ParquetSink) -> None:
        if sink._parts is not None and sink._parts._part is not None:
            sink._parts._part.file.close()


@pytest.mark.parametrize("batch_rows", [1, 3, 100])
def test_rows_are_read_back_with_their_types(tmp_path: Path, batch_rows: int) -> None:
    """Numbers, text, lists and mappings, however many rows are in a group."""
    rows = [
        {"n": n, "text": f"水{n}", "tags": ["a"] * (n + 1), "at": {"x": n / 2}} for n in range(7)
    ]
    assert written(tmp_path / "a.parquet", rows, batch_rows=batch_rows) == rows


def test_a_directory_of_parts_is_one_table(tmp_path: Path) -> None:
    """Tools that are given the directory see the rows of all parts."""
    path = tmp_path / "out.parquet"
    sink = opened(ParquetSink(path))
    for epoch in (1, 2):
        sink.begin(epoch)
        sink.write({"n": epoch})
        sink.prepare(epoch)
        sink.commit(epoch)
    sink.close()
    assert sorted(parquet.read_table(path)["n"].to_pylist()) == [1, 2]


def test_an_empty_stream_makes_a_table_without_rows(tmp_path: Path) -> None:
    """The file can be read, and says that there is nothing."""
    assert written(tmp_path / "a.parquet", []) == []


def test_types_can_be_given(tmp_path: Path) -> None:
    """Where the first rows hold None or whole numbers, those that follow still fit."""
    rows = [{"a": None, "b": 1}, {"a": "x", "b": 0.5}]
    types = {"a": "string", "b": "float64"}
    assert written(tmp_path / "a.parquet", rows, types=types, batch_rows=1) == rows
    sink = ParquetSink(tmp_path / "b.parquet", batch_rows=1)
    sink.write(rows[0])
    with pytest.raises(DataError, match="types="):
        sink.write(rows[1])
    sink.close()
    with pytest.raises(ConfigError, match="no type 'txt'"):
        ParquetSink(tmp_path / "c.parquet", types={"a": "txt"})


def test_a_row_that_does_not_fit_can_be_skipped(tmp_path: Path) -> None:
    """It fails its own write, and those before and behind it are there."""
    path = tmp_path / "a.parquet"
    sink = ParquetSink(path, batch_rows=2)
    sink.write({"n": 1})
    sink.write({"n": 2})
    sink.write({"n": 3})
    for _ in range(2):
        with pytest.raises(DataError, match="do not fit"):
            sink.write({"n": "x"})
    sink.write({"n": 4})
    sink.close()
    assert parquet.read_table(path)["n"].to_pylist() == [1, 2, 3, 4]


def test_fields_that_fit_no_column_are_refused(tmp_path: Path) -> None:
    """Arrow would leave them out in silence."""
    sink = ParquetSink(tmp_path / "a.parquet")
    sink.write({"a": 1})
    for row in ({"a": 1, "b": 2}, {}, {"b": 2}):
        with pytest.raises(DataError, match="the columns are a"):
            sink.write(row)
    sink.close()


def test_a_sink_that_is_closed_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    """A failed epoch is dropped without a complaint, also by Arrow."""
    sink = opened(ParquetSink(tmp_path / "a.parquet", batch_rows=1))
    sink.begin(1)
    sink.write({"n": 1})
    sink.write({"n": 2})
    sink.close()
    del sink
    gc.collect()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.parquet"]
    assert list((tmp_path / "a.parquet").iterdir()) == []
