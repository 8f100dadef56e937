"""How records become the bytes of one file: a line of text or JSON, or a row of CSV.

A writer knows nothing of where its file lies and when it is seen; `whole_file` and `file_parts` do.
Each file that a writer has written can be read alone.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Protocol, TypeAlias

import msgspec

from sage.common.errors import DataError
from sage.common.records import Record

__all__ = [
    "CsvWriter",
    "JsonWriter",
    "LineWriter",
    "RecordWriter",
    "StartWriter",
    "as_json",
    "fields_of",
    "row_of",
]


class RecordWriter(Protocol):
    """Writes records into the file that it was made with."""

    def write(self, record: Any) -> None:
        """Write one record.

        Raises:
            DataError: if the record has no form in this kind of file.
            OSError: if the disk does not take it.
        """

    def end(self) -> None:
        """Write what belongs behind the last record; the file stays open."""


StartWriter: TypeAlias = Callable[[BinaryIO], RecordWriter]


class JsonWriter:
    """One record a line, each as JSON."""

    def __init__(self, file: BinaryIO) -> None:
        self._put = file.write

    def write(self, record: Any) -> None:
        """Write one line."""
        self._put(as_json(record))

    def end(self) -> None:
        """Nothing belongs behind the last line."""


class LineWriter(JsonWriter):
    """One record a line: text as it is, unless it holds line breaks; anything else as JSON."""

    def write(self, record: Any) -> None:
        """Write one line."""
        if isinstance(record, str) and "\n" not in record and "\r" not in record:
            self._put(record.encode("utf-8", "replace") + b"\n")
        else:
            self._put(as_json(record))


class CsvWriter:
    """One mapping a row, below a row with the names of the columns.

    Args:
        file: Where to write.
        columns: Names of the columns; by default the keys of the first record.
        delimiter: The character between two fields.
    """

    def __init__(
        self, file: BinaryIO, columns: Sequence[str] | None = None, delimiter: str = ","
    ) -> None:
        self._rows = csv.writer(_Encoding(file), delimiter=delimiter, lineterminator="\n")
        self._columns: tuple[str, ...] = ()
        if columns is not None:
            self._start(columns)

    def write(self, record: Any) -> None:
        """Write one row; its fields may come in any order, none may be left over or missing."""
        if not self._columns:
            self._start(tuple(map(str, fields_of(record))))
        self._rows.writerow(row_of(record, self._columns))

    def end(self) -> None:
        """Nothing belongs behind the last row."""

    def _start(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._rows.writerow(self._columns)


def fields_of(record: Any) -> Mapping[str, Any]:
    """Return a record as the mapping that a row is made of.

    Raises:
        DataError: if it is none.
    """
    fields = record.to_dict() if isinstance(record, Record) else record
    if not isinstance(fields, Mapping):
        raise DataError(
            f"a row is written from a mapping, got {type(fields).__name__}: {fields!r:.100}",
            hint="map it to a dict before the sink",
        )
    return fields


def row_of(record: Any, columns: Sequence[str]) -> list[Any]:
    """Return the values of a record in the order of the columns.

    Raises:
        DataError: if it has a field that is no column, or lacks one that is.
    """
    fields = fields_of(record)
    if len(fields) != len(columns) or not all(name in fields for name in columns):
        raise DataError(
            f"a record has the fields {', '.join(map(str, fields))}; "
            f"the columns are {', '.join(columns)}",
            hint="map every record to the columns before the sink",
        )
    return [fields[name] for name in columns]


class _Encoding:
    """The text file that `csv` wants, over a file of bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._put = file.write

    def write(self, text: str) -> int:
        return self._put(text.encode("utf-8", "replace"))


def as_json(record: Any) -> bytes:
    """Return a record as one line of JSON.

    Raises:
        DataError: if it has no form in JSON.
    """
    plain = record.to_dict() if isinstance(record, Record) else record
    try:
        return msgspec.json.encode(plain, enc_hook=_plain) + b"\n"
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise DataError(
            f"cannot write a {type(record).__name__} as JSON: {error}: {record!r:.100}",
            hint="map it to text or a dict before the sink",
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # arrays and their scalars
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
