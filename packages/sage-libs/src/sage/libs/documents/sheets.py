"""XLSX to Markdown-like text: a heading for each sheet, a paragraph for each row.

Read with openpyxl, a row at a time; the values are those that the program which saved the file
computed, not the formulas.
"""

from __future__ import annotations

import datetime
import io
from typing import Any

from sage.common.errors import DataError, LimitError
from sage.libs.documents.office_package import check_package
from sage.libs.documents.tables import PlacedText, column, header, row_text
from sage.libs.documents.text import Loaded, normalised

__all__ = ["load_xlsx"]

# A row is as wide as its last cell, and every row may have one in column 16,384.
_MOST_CELLS = 5_000_000


def load_xlsx(data: bytes, source: str, *, text_field: str | None = None) -> Loaded:
    """Read the cells of an Excel workbook.

    Args:
        data: The file.
        source: Its name, for the error.
        text_field: The column that holds the text, named in the first row; by default all are.

    Returns:
        For each sheet with anything in it ``# Name`` and its rows, each cell behind the name of its
        column; ``sheets`` and ``title`` in the metadata, and in ``sheet_offsets`` and
        ``row_offsets`` pairs of an offset in the text and the sheet or row that begins there.

    Raises:
        DataError: if it is no XLSX, is damaged, needs a password, or has no such column.
        LimitError: if it unpacks to too much or has too many cells.
    """
    check_package(data, source, "XLSX")
    try:
        return _loaded(data, source, text_field)
    except (DataError, MemoryError):
        raise
    # A boundary: the parser of a foreign format meets malformed files with any exception at all.
    except Exception as error:
        raise DataError(
            f"{source!r} is a damaged XLSX: {type(error).__name__}: {error}",
            hint="open it in a spreadsheet program and save it again",
            path=source,
        ) from error


def _loaded(data: bytes, source: str, text_field: str | None) -> Loaded:
    import warnings

    from openpyxl import load_workbook

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features that only matter when the file is saved
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        written = PlacedText()
        sheets: list[list[Any]] = []
        budget = _MOST_CELLS
        for sheet in book.worksheets:
            name = normalised(" ".join(str(sheet.title).split()))
            start, empty = len(written), not len(written)
            budget = _write_sheet(sheet, name, written, budget, source, text_field)
            if len(written) > start:
                sheets.append([start if empty else start + 1, name])
    metadata: dict[str, Any] = {
        "sheets": [name for _, name in sheets],
        "sheet_offsets": sheets,
        "row_offsets": written.offsets,
    }
    if title := str(book.properties.title or "").strip():
        metadata["title"] = normalised(title)
    return Loaded(written.text, metadata)


def _write_sheet(
    sheet: Any, name: str, written: PlacedText, budget: int, source: str, text_field: str | None
) -> int:
    """Write the rows of a sheet, and return how many more cells may be looked at."""
    sheet.reset_dimensions()  # what the file says of its size need not be so
    names: list[str] | None = None
    chosen: int | None = None
    begun = False
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        budget -= len(row) + 1
        if budget < 0:
            raise LimitError(
                f"{source!r} has more than {_MOST_CELLS:,} cells, at sheet {name!r} row {number}",
                hint="save the part that you need as a file of its own, or as .csv",
                path=source,
            )
        if row.count(None) == len(row):
            continue
        cells = ["" if value is None else _shown(value) for value in row]
        if not any(cells):
            continue
        if not begun:
            begun = True
            written.add(f"# {name}", number)
            names = header(cells)
            chosen = column(names, text_field, source)
            if names is not None:
                continue
        if chosen is None:
            written.add(row_text(names, cells), number)
        else:
            written.add(cells[chosen] if chosen < len(cells) else "", number)
    return budget


def _shown(value: object) -> str:
    """Return a cell as people see it: dates without midnight, whole numbers without a point."""
    if isinstance(value, datetime.datetime):
        whole = value.time() == datetime.time()
        return value.date().isoformat() if whole else value.isoformat(" ", "seconds")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return normalised(str(value)).strip()
