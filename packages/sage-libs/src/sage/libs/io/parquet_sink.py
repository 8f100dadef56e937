"""`ParquetSink`: rows of a columnar file, written in groups."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from sage.common.config import Meta, configurable
from sage.common.errors import ConfigError, DataError, MissingExtraError, Problem
from sage.libs.io.file_sink import FileSink
from sage.libs.io.record_writer import RecordWriter, fields_of, row_of

if TYPE_CHECKING:
    import pyarrow

__all__ = ["ParquetSink"]


@configurable
class ParquetSink(FileSink):
    """Writes one mapping a row of a Parquet file; the first records say the types of the columns.

    It is written as `FileSink` writes: one file, or with checkpoints a directory of parts, which
    tools read as one table. Short intervals between checkpoints make many small parts.

    Args:
        file_path: The file or directory.
        types: Arrow types by column, such as ``{"born": "int32"}``, where the first records do not
            tell them: because the values are None at first, or whole numbers before fractions.
        batch_rows: How many rows are collected for a row group.

    Raises:
        MissingExtraError: if pyarrow is not installed.
        ConfigError: if Arrow knows no such type.
        StorageError: if it cannot be written.
        DataError: if a record is no mapping, or its fields do not fit the columns.

    Example:
        >>> import pathlib, tempfile
        >>> from sage.libs.io.sources import ParquetSource
        >>> path = pathlib.Path(tempfile.mkdtemp(), "people.parquet")
        >>> sink = ParquetSink(path, types={"born": "int32"})
        >>> sink.write({"name": "Noether", "born": 1882}), sink.close()
        (None, None)
        >>> source = ParquetSource(path)
        >>> source.read(10)
        [{'name': 'Noether', 'born': 1882}]
        >>> source.close()
    """

    def __init__(
        self,
        file_path: str | os.PathLike[str],
        *,
        types: Mapping[str, str] | None = None,
        batch_rows: Annotated[int, Meta(ge=1)] = 10_000,
    ) -> None:
        if importlib.util.find_spec("pyarrow") is None:
            raise MissingExtraError("pyarrow", extra="isage-libs[parquet]")
        super().__init__(file_path)
        self.types = dict(types or {})
        self.batch_rows = batch_rows
        problems = [
            Problem(f"$.types.{column}", f"Arrow knows no type {kind!r}")
            for column, kind in self.types.items()
            if not _is_type(kind)
        ]
        if problems:
            raise ConfigError("ParquetSink", problems)

    def record_writer(self, file: BinaryIO) -> RecordWriter:
        """Return what writes rows of Parquet."""
        return _RowGroups(file, self.types, self.batch_rows)


class _RowGroups:
    """Collects rows and writes them a group at a time."""

    def __init__(self, file: BinaryIO, types: Mapping[str, str], batch_rows: int) -> None:
        self._file, self._types, self._batch_rows = file, types, batch_rows
        self._columns: tuple[str, ...] = ()
        self._rows: list[dict[str, Any]] = []
        self._writer: Any = None

    def write(self, record: Any) -> None:
        """Take one row."""
        if not self._columns:
            self._columns = tuple(map(str, fields_of(record)))
        row = row_of(record, self._columns)
        self._rows.append(dict(zip(self._columns, row, strict=True)))
        if len(self._rows) >= self._batch_rows:
            try:
                self._write_group()
            except BaseException:
                self._rows.pop()  # who retries gives it again, and who skips does not want it
                raise

    def end(self) -> None:
        """Write the last rows and the footer, without which the file cannot be read."""
        if self._rows or self._writer is None:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        from pyarrow.parquet import ParquetWriter

        table = self._table()
        if self._writer is None:
            self._writer = ParquetWriter(_Output(self._file), table.schema)
        self._writer.write_table(table)
        self._rows = []

    def _table(self) -> pyarrow.Table:
        import pyarrow as pa

        schema = self._writer.schema if self._writer is not None else None
        try:
            if schema is None:
                inferred = pa.Table.from_pylist(self._rows).schema
                given = {name: pa.type_for_alias(kind) for name, kind in self._types.items()}
                schema = pa.schema([(f.name, given.get(f.name, f.type)) for f in inferred])
            return pa.Table.from_pylist(self._rows, schema=schema)
        except (pa.ArrowException, OverflowError, TypeError) as error:
            raise DataError(
                f"{len(self._rows)} rows do not fit the types of their columns: {error}",
                hint="give the types that the first rows do not tell: types={'column': 'float64'}",
            ) from error


class _Output:
    """The file as Arrow sees it.

    A writer that is dropped without its end writes the footer when it is collected. The file is
    closed by then, and nobody wants the footer.
    """

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, 0

    def write(self, data: bytes) -> int:
        self._at += len(data)
        if not self._file.closed:
            self._file.write(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """The owner of the file does."""

    def close(self) -> None:
        """Likewise."""


def _is_type(kind: str) -> bool:
    import pyarrow as pa

    try:
        pa.type_for_alias(kind)
    except ValueError:
        return False
    return True
