"""CSV and TSV to text: a row becomes a paragraph that names its columns.

``name: Ada; city: London`` finds what a bare ``Ada,London`` does not, and stays true when a chunk
is torn from its header.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from sage.common.errors import DataError, LimitError
from sage.libs.documents.text import Loaded, decoded

__all__ = ["PlacedText", "column", "header", "load_csv", "load_tsv", "row_text"]

_DELIMITERS = ",;\t|"
_NUMBER = re.compile(r"[-+]?[\d.,:/ %-]*\d[\d.,:/ %-]*")
_LONGEST_CELL = 10_000_000
_LINE_ENDS = re.compile(r"\s*\n\s*")


class PlacedText:
    """Paragraphs written one after the other, each with the place it came from.

    Example:
        >>> written = PlacedText()
        >>> written.add("one", 1)
        >>> written.add("two", 5)
        >>> written.text, written.offsets
        ('one\\n\\ntwo\\n', [[0, 1], [5, 5]])
    """

    def __init__(self) -> None:
        self.offsets: list[list[Any]] = []
        self._pieces: list[str] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, paragraph: str, place: Any) -> None:
        """Write a paragraph, if it is not blank."""
        paragraph = paragraph.strip("\n")
        if not paragraph.strip():
            return
        if self._pieces:
            self._pieces.append("\n")
            self._length += 1
        self.offsets.append([self._length, place])
        self._pieces.append(paragraph + "\n")
        self._length += len(paragraph) + 1

    @property
    def text(self) -> str:
        """All that was written, paragraphs parted by blank lines."""
        return "".join(self._pieces)


def load_csv(data: bytes, source: str, *, text_field: str | None = None) -> Loaded:
    """Read a table of comma-separated values; also with semicolons, bars or tabs.

    Args:
        data: The file.
        source: Its name, for the error.
        text_field: The column that holds the text; by default all columns are.

    Returns:
        A paragraph for each row; ``columns`` in the metadata has the names of the first row, if it
        names columns, and ``line_offsets`` holds ``[offset in the text, line of the file]``.

    Raises:
        DataError: if it is not text, or has no such column.
        LimitError: if a cell is longer than 10 million characters.

    Example:
        >>> print(load_csv(b"name,city\\nAda,London\\nAlan,\\n", "a.csv").text)
        name: Ada; city: London
        <BLANKLINE>
        name: Alan
        <BLANKLINE>
    """
    text, metadata = decoded(data, source)
    first = text[: text.find("\n")] if "\n" in text else text
    delimiter = max(_DELIMITERS, key=first[:10_000].count)
    return _loaded(text, metadata, source, delimiter, text_field)


def load_tsv(data: bytes, source: str, *, text_field: str | None = None) -> Loaded:
    """Read a table of tab-separated values, as `load_csv` does.

    Raises:
        DataError: if it is not text, or has no such column.
        LimitError: if a cell is longer than 10 million characters.
    """
    text, metadata = decoded(data, source)
    return _loaded(text, metadata, source, "\t", text_field)


def _loaded(
    text: str, metadata: dict[str, Any], source: str, delimiter: str, text_field: str | None
) -> Loaded:
    written = PlacedText()
    names: list[str] | None = None
    chosen: int | None = None
    for number, (line, cells) in enumerate(_rows(text, source, delimiter)):
        if number == 0:
            names = header(cells)
            chosen = column(names, text_field, source)
        if number == 0 and names is not None:
            metadata["columns"] = names
        elif chosen is not None:
            written.add(cells[chosen] if chosen < len(cells) else "", line)
        else:
            written.add(row_text(names, cells), line)
    metadata["line_offsets"] = written.offsets
    return Loaded(written.text, metadata)


def _rows(text: str, source: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, each with the line it begins on."""
    # The limit is one for the process, and 128 KiB by default: less than an article in a cell.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    line = 1
    while True:
        try:
            cells = next(rows, None)
        except csv.Error as error:
            raise _bad_row(source, line, error) from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield line, cells
        line = rows.line_num + 1


def _bad_row(source: str, line: int, error: csv.Error) -> DataError:
    if "field limit" in str(error):
        return LimitError(
            f"{source!r} has a cell of more than {csv.field_size_limit():,} characters "
            f"in the row that begins on line {line}",
            hint="is a closing quote missing there?",
            path=source,
            line=line,
        )
    return DataError(f"{source!r} line {line}: {error}", path=source, line=line)


def header(cells: Sequence[str]) -> list[str] | None:
    """Return the names of the columns if this row names them: each does, once, and no number does.

    Example:
        >>> header(["name", "city"]), header(["Ada", "36"])
        (['name', 'city'], None)
    """
    names = [_in_line(cell) for cell in cells]
    while names and not names[-1]:
        names.pop()
    if not names or len(set(names)) < len(names):
        return None
    return None if any(not name or _NUMBER.fullmatch(name) for name in names) else names


def column(names: Sequence[str] | None, text_field: str | None, source: str) -> int | None:
    """Return which column holds the text, or None if all do.

    Raises:
        DataError: if the table has no such column.
    """
    if text_field is None:
        return None
    if names is None or text_field not in names:
        known = ", ".join(map(repr, names)) if names else "none: its first row names no columns"
        raise DataError(
            f"{source!r} has no column {text_field!r}", hint=f"its columns are {known}", path=source
        )
    return names.index(text_field)


def row_text(names: Sequence[str] | None, cells: Sequence[str]) -> str:
    """Return a row in one line, each cell behind the name of its column; empty ones are left out.

    Example:
        >>> row_text(["name", "born", "died"], ["Ada", "", "1852"])
        'name: Ada; died: 1852'
        >>> row_text(None, ["Ada", "1852"])
        'Ada; 1852'
    """
    parts = []
    for number, cell in enumerate(cells):
        value = _in_line(cell)
        if value and names is not None and number < len(names):
            value = f"{names[number]}: {value}"
        if value:
            parts.append(value)
    return "; ".join(parts)


def _in_line(cell: str) -> str:
    return _LINE_ENDS.sub(" ", cell.strip())
