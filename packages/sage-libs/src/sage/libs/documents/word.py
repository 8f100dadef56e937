"""DOCX to Markdown-like text: headings, lists and tables in the order of the document."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

from sage.common.errors import DataError
from sage.libs.documents.text import Loaded, normalised

__all__ = ["load_docx"]

_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_MOST_UNPACKED_BYTES = 1 << 30
_HEADING = re.compile(r"heading (\d)")


def load_docx(data: bytes, source: str) -> Loaded:
    """Read the text of a Word document.

    Returns:
        Headings as ``# ...``, list items as ``- ...``, table rows as ``| ... |``; ``title`` in the
        metadata where the document has one.

    Raises:
        DataError: if it is no DOCX, is damaged, needs a password, or unpacks to more than 1 GiB.
    """
    if data.startswith(_OLD_OFFICE):
        raise DataError(
            f"{source!r} is an old or encrypted Office file, not a DOCX",
            hint="save it as .docx without a password",
            path=source,
        )
    _refuse_other(data, source)
    try:
        return _loaded(data)
    # A boundary: the parser of a foreign format meets malformed files with any exception at all.
    except Exception as error:
        raise DataError(
            f"{source!r} is a damaged DOCX: {type(error).__name__}: {error}",
            hint="open it in a word processor and save it again",
            path=source,
        ) from error


def _refuse_other(data: bytes, source: str) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DataError(
            f"{source!r} is not a DOCX, in spite of its name",
            hint="it is not the archive that a DOCX is; was it downloaded whole?",
            path=source,
        ) from error
    if unpacked > _MOST_UNPACKED_BYTES:
        raise DataError(f"{source!r} unpacks to {unpacked:,} bytes, too much to read", path=source)


def _loaded(data: bytes) -> Loaded:
    from docx import Document
    from docx.table import Table

    document = Document(io.BytesIO(data))
    written: list[str] = []
    in_list = False
    for block in document.iter_inner_content():
        text = _table(block) if isinstance(block, Table) else _paragraph(block)
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


def _table(table: Any) -> str:
    rows = []
    for row in table.rows:
        cells: list[str] = []
        before = None
        for cell in row.cells:
            # A merged cell is given once for each column that it spans.
            if cell._tc is not before:
                cells.append(" ".join(_cell(cell).split()))
            before = cell._tc
        if any(cells):
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _cell(cell: Any) -> str:
    from docx.table import Table

    blocks = cell.iter_inner_content()
    return " ".join(_table(b) if isinstance(b, Table) else str(b.text) for b in blocks)
