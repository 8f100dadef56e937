"""DOCX to Markdown-like text: headings, lists and tables in the order of the document."""

from __future__ import annotations

import io
import re
from typing import Any

from sage.common.errors import DataError, LimitError
from sage.libs.documents.office_package import check_package
from sage.libs.documents.text import Loaded, normalised

__all__ = ["load_docx"]

# Word has 63 columns; python-docx gives a merged cell as often as it says that it spans one.
_MOST_COLUMNS = 1_000
_HEADING = re.compile(r"heading (\d)")


def load_docx(data: bytes, source: str) -> Loaded:
    """Read the text of a Word document.

    Returns:
        Headings as ``# ...``, list items as ``- ...``, table rows as ``| ... |``; ``title`` in the
        metadata where the document has one.

    Raises:
        DataError: if it is no DOCX, is damaged or needs a password.
        LimitError: if it unpacks to too much, or a table has too many columns.
    """
    check_package(data, source, "DOCX")
    try:
        return _loaded(data, source)
    except (DataError, MemoryError):
        raise
    # A boundary: the parser of a foreign format meets malformed files with any exception at all.
    except Exception as error:
        raise DataError(
            f"{source!r} is a damaged DOCX: {type(error).__name__}: {error}",
            hint="open it in a word processor and save it again",
            path=source,
        ) from error


def _loaded(data: bytes, source: str) -> Loaded:
    from docx import Document
    from docx.table import Table

    document = Document(io.BytesIO(data))
    written: list[str] = []
    in_list = False
    for block in document.iter_inner_content():
        text = _table(block, source) if isinstance(block, Table) else _paragraph(block)
        if not text:
            continue
        item = text.startswith("- ")
        written.append(text if not written else ("\n" if item and in_list else "\n\n") + text)
        in_list = item
    metadata: dict[str, Any] = {}
    if title := (document.core_properties.title or "").strip():
        metadata["title"] = title
    return Loaded(normalised("".join([*written, "\n"] if written else [])), metadata)


def _paragraph(paragraph: Any) -> str:
    text = str(paragraph.text).strip()
    if not text:
        return ""
    style = str(getattr(paragraph.style, "name", None) or "").lower()
    if heading := _HEADING.match(style):
        return "#" * min(int(heading[1]), 6) + " " + " ".join(text.split())
    if style == "title":
        return "# " + " ".join(text.split())
    return "- " + text if style.startswith("list") else text


def _table(table: Any, source: str) -> str:
    rows = []
    for row in table.rows:
        if sum(cell.grid_span for cell in row._tr.tc_lst) > _MOST_COLUMNS:
            raise LimitError(
                f"{source!r} has a table of more than {_MOST_COLUMNS:,} columns",
                hint="open it in a word processor and save it again, if you trust it",
                path=source,
            )
        cells: list[str] = []
        before = None
        for cell in row.cells:
            # A merged cell is given once for each column that it spans.
            if cell._tc is not before:
                cells.append(" ".join(_cell(cell, source).split()))
            before = cell._tc
        if any(cells):
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _cell(cell: Any, source: str) -> str:
    from docx.table import Table

    blocks = cell.iter_inner_content()
    return " ".join(_table(b, source) if isinstance(b, Table) else str(b.text) for b in blocks)
