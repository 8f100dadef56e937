"""Sources that give one mapping or value for each row of a file: JSON lines and CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from sage.common.config import Meta, configurable
from sage.common.core.functions import SourceFunction
from sage.common.errors import DataError
from sage.libs.io.source import FileSource

__all__ = ["CsvSource", "JsonlSource"]


@configurable
class JsonlSource(SourceFunction[Any]):
    """Reads a file of JSON lines: one value a line, blank lines left out. It can be replayed.

    Args:
        file_path: The file, in UTF-8.

    Raises:
        DataError: from ``open`` if the file cannot be read, from ``read`` with file and line if a
            line is not JSON.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "documents.jsonl")
        >>> _ = path.write_text('{"text": "Water boils."}\\n', encoding="utf-8")
        >>> source = JsonlSource(path)
        >>> source.read(10)
        [{'text': 'Water boils.'}]
        >>> source.close()
    """

    def __init__(self, file_path: str | os.PathLike[str]) -> None:
        self.file_path = os.fspath(file_path)
        self._lines = FileSource(file_path)

    def open(self, context: Any) -> None:
        """Open the file."""
        self._lines.open(context)

    def read(self, max_records: int) -> list[Any] | None:
        """Return the next values, at most ``max_records``, or None at the end."""
        while (lines := self._lines.read(max_records)) is not None:
            first = self._lines.line_number - len(lines) + 1
            values = [self._value(t, first + i) for i, t in enumerate(lines) if t.strip()]
            if values:
                return values
        return None

    def _value(self, line: str, number: int) -> Any:
        try:
            return msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            raise DataError(
                f"{self.file_path}:{number}: not a JSON value: {error}: {line[:80]!r}",
                hint="a JSON-lines file holds one whole value on each line",
                path=self.file_path,
                line=number,
            ) from error

    def snapshot_position(self) -> dict[str, Any]:
        """Return the position after the last line that ``read`` returned."""
        return self._lines.snapshot_position()

    def seek(self, position: Mapping[str, Any]) -> None:
        """Go to a position."""
        self._lines.seek(position)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


@configurable
class CsvSource(SourceFunction[dict[str, str]]):
    """Reads a CSV file: one mapping from column to text for each row. It can be replayed.

    Args:
        file_path: The file, in UTF-8.
        columns: Names of the columns; by default the first row has them.
        delimiter: The character between two fields.

    Raises:
        DataError: from ``open`` if the file cannot be read or two columns have one name, from
            ``read`` with file and line if a row has too many or too few fields.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "people.csv")
        >>> _ = path.write_text('name,born\\n"Noether, Emmy",1882\\n', encoding="utf-8")
        >>> source = CsvSource(path)
        >>> source.read(10)
        [{'name': 'Noether, Emmy', 'born': '1882'}]
        >>> source.close()
    """

    def __init__(
        self,
        file_path: str | os.PathLike[str],
        *,
        columns: Sequence[str] | None = None,
        delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ",",
    ) -> None:
        self.file_path = os.fspath(file_path)
        self.delimiter = delimiter
        self._given = tuple(columns) if columns is not None else None
        self._lines = FileSource(file_path)
        self._columns: tuple[str, ...] = ()
        self._rows: Iterator[list[str]] | None = None

    def open(self, context: Any) -> None:
        """Open the file and read the names of its columns."""
        self._opened()

    def read(self, max_records: int) -> list[dict[str, str]] | None:
        """Return the next rows, at most ``max_records``, or None at the end."""
        rows = self._opened()
        records: list[dict[str, str]] = []
        while len(records) < max_records:
            row = self._next(rows)
            if row is None:
                return records or None
            if row:
                records.append(self._record(row))
        return records

    def snapshot_position(self) -> dict[str, Any]:
        """Return the position after the last row that ``read`` returned."""
        self._opened()
        return self._lines.snapshot_position()

    def seek(self, position: Mapping[str, Any]) -> None:
        """Go to a position."""
        self._opened()
        self._lines.seek(position)
        self._rows = self._parser()

    def close(self) -> None:
        """Close the file."""
        self._lines.close()
        self._rows = None

    def _opened(self) -> Iterator[list[str]]:
        if self._rows is None:
            self._lines.open(None)
            self._rows = self._parser()
            columns = self._given if self._given is not None else self._next(self._rows) or ()
            self._columns = tuple(columns)
            twice = sorted({name for name in self._columns if self._columns.count(name) > 1})
            if twice:
                raise DataError(
                    f"{self.file_path}: two columns are called {twice[0]!r}", path=self.file_path
                )
        return self._rows

    def _parser(self) -> Iterator[list[str]]:
        return csv.reader(self._each_line(), delimiter=self.delimiter, strict=True)

    def _each_line(self) -> Iterator[str]:
        # One line at a time, so that the position of the lines is always that of the rows.
        while lines := self._lines.read(1):
            yield lines[0] + "\n"

    def _next(self, rows: Iterator[list[str]]) -> list[str] | None:
        try:
            return next(rows, None)
        except csv.Error as error:
            number = self._lines.line_number
            raise DataError(
                f"{self.file_path}:{number}: not valid CSV: {error}",
                path=self.file_path,
                line=number,
            ) from error

    def _record(self, row: list[str]) -> dict[str, str]:
        if len(row) != len(self._columns):
            number = self._lines.line_number
            raise DataError(
                f"{self.file_path}:{number}: {len(row)} fields, expected {len(self._columns)}: "
                f"{row!r:.100}",
                hint=f"is {self.delimiter!r} the delimiter?",
                path=self.file_path,
                line=number,
            )
        return dict(zip(self._columns, row, strict=True))
