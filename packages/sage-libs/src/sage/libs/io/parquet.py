"""`ParquetSource`: the rows of a Parquet file, a batch of them in memory at a time."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from sage.common.config import Meta, configurable
from sage.common.core.functions import SourceFunction
from sage.common.errors import DataError, MissingExtraError
from sage.common.suggestions import did_you_mean
from sage.libs.files import open_for_reading

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

__all__ = ["ParquetSource"]

_FOOTER_BYTES = 4096


@configurable
class ParquetSource(SourceFunction[dict[str, Any]]):
    """Reads a Parquet file: one mapping from column to value for each row. It can be replayed.

    A position is a number of rows; going there skips whole row groups without reading them.

    Args:
        file_path: The file.
        columns: The columns to read; by default all of them.
        batch_rows: Most rows that are in memory at a time.

    Raises:
        MissingExtraError: if pyarrow is not installed.
        DataError: from ``open`` if the file cannot be read or has no such column, from ``read`` if
            it is damaged, from ``seek`` if it has changed.

    Example:
        >>> import pathlib, tempfile
        >>> import pyarrow, pyarrow.parquet
        >>> path = pathlib.Path(tempfile.mkdtemp(), "people.parquet")
        >>> table = pyarrow.table({"name": ["Noether", "Hopper"], "born": [1882, 1906]})
        >>> pyarrow.parquet.write_table(table, path)
        >>> source = ParquetSource(path)
        >>> source.read(10)
        [{'name': 'Noether', 'born': 1882}, {'name': 'Hopper', 'born': 1906}]
        >>> source.close()
    """

    def __init__(
        self,
        file_path: str | os.PathLike[str],
        *,
        columns: Sequence[str] | None = None,
        batch_rows: Annotated[int, Meta(ge=1)] = 1024,
    ) -> None:
        if importlib.util.find_spec("pyarrow") is None:
            raise MissingExtraError("pyarrow", extra="isage-libs[parquet]")
        self.file_path = os.fspath(file_path)
        self.columns = tuple(columns) if columns is not None else None
        self.batch_rows = batch_rows
        self._bytes: BinaryIO | None = None
        self._file: ParquetFile | None = None
        self._identity: tuple[int, int, int, str] = (0, 0, 0, "")
        self._batches: Iterator[list[dict[str, Any]]] = iter(())
        self._rows: list[dict[str, Any]] = []
        self._taken = 0  # rows of ``_rows`` that were given
        self._row = 0  # rows of the file that were given

    def open(self, context: Any) -> None:
        """Open the file and look at its columns."""
        self._opened()

    def read(self, max_records: int) -> list[dict[str, Any]] | None:
        """Return the next rows, at most ``max_records``, or None at the end."""
        self._opened()
        while self._taken == len(self._rows):
            rows = self._next_batch()
            if rows is None:
                return None
            self._rows, self._taken = rows, 0
        rows = self._rows[self._taken : self._taken + max_records]
        self._taken += len(rows)
        self._row += len(rows)
        return rows

    def snapshot_position(self) -> dict[str, Any]:
        """Return the position after the last row that ``read`` returned."""
        self._opened()
        return {"path": self.file_path, "identity": self._identity, "row": self._row}

    def seek(self, position: Mapping[str, Any]) -> None:
        """Go to a position.

        Raises:
            DataError: if the file has changed since.
        """
        file = self._opened()
        if tuple(position["identity"]) != self._identity:
            raise DataError(
                f"{self.file_path!r} has changed since the position was taken in it",
                hint="put the old file back, or start over from the beginning",
                path=self.file_path,
            )
        self._row = position["row"]
        self._rows, self._taken = [], 0
        self._batches = self._batches_from(file, self._row)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._bytes is not None:
            self._bytes.close()
            self._bytes = None
        self._batches, self._rows = iter(()), []
        self._taken = self._row = 0

    def _opened(self) -> ParquetFile:
        if self._file is None:
            self._bytes = open_for_reading(self.file_path)
            self._identity = _identified(self._bytes)
            try:
                self._file = self._parsed(self._bytes)
            except DataError:
                self._bytes.close()
                raise
            self._batches = self._batches_from(self._file, 0)
        return self._file

    def _parsed(self, file: BinaryIO) -> ParquetFile:
        import pyarrow
        from pyarrow.parquet import ParquetFile

        try:
            parsed = ParquetFile(file)
        except (pyarrow.ArrowException, OSError) as error:
            raise self._damaged(error) from error
        self._check_columns(parsed.schema_arrow.names)
        return parsed

    def _check_columns(self, known: Sequence[str]) -> None:
        for name in self.columns or ():
            if name not in known:
                raise DataError(
                    f"{self.file_path!r} has no column {name!r}{did_you_mean(name, known)}",
                    path=self.file_path,
                    column=name,
                )

    def _batches_from(self, file: ParquetFile, row: int) -> Iterator[list[dict[str, Any]]]:
        """Yield batches from row number ``row`` on, reading no row group that lies before it."""
        groups = file.metadata.num_row_groups
        first = 0
        while first < groups and file.metadata.row_group(first).num_rows <= row:
            row -= file.metadata.row_group(first).num_rows
            first += 1
        if first == groups:
            return
        columns = list(self.columns) if self.columns is not None else None
        for batch in file.iter_batches(
            batch_size=self.batch_rows, row_groups=range(first, groups), columns=columns
        ):
            skipped = min(row, batch.num_rows)
            row -= skipped
            yield batch.slice(skipped).to_pylist()

    def _next_batch(self) -> list[dict[str, Any]] | None:
        import pyarrow

        try:
            return next(self._batches, None)
        except (pyarrow.ArrowException, OSError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            f"{self.file_path!r} is no Parquet file, or is damaged: {error}",
            hint="was it written to its end?",
            path=self.file_path,
            row=self._row,
        )


def _identified(file: BinaryIO) -> tuple[int, int, int, str]:
    """Device, inode, size, and a hash of the end, where Parquet keeps what the file holds."""
    status = os.fstat(file.fileno())
    file.seek(max(0, status.st_size - _FOOTER_BYTES))
    footer = hashlib.blake2b(file.read(_FOOTER_BYTES), digest_size=16).hexdigest()
    file.seek(0)
    return status.st_dev, status.st_ino, status.st_size, footer
