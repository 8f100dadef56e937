"""Says where an offset of a document stands: line, page and heading, by bisection."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from sage.common.records import Document

__all__ = ["Positions"]

_OFFICE = "officedocument"
_LOOKED_UP = ("line", "sheet", "row", "slide")


class Positions:
    """The positions of one document.

    ``line`` is the line of the file: shifted by front matter, looked up for what is not its own
    text (HTML, CSV, JSON), and not given where a file has no lines that a person could go to: a
    PDF has pages, a workbook sheets and rows, a presentation slides, a DOCX nothing.

    Args:
        document: With the position tables that `load_document` puts in its metadata.

    Example:
        >>> Positions(Document("a\\nb\\nc", metadata={"first_line": 10})).at(4)
        {'line': 12}
    """

    def __init__(self, document: Document) -> None:
        known = document.metadata
        self._pages: list[int] = list(known.get("page_offsets") or ())
        self._tables = {
            name: ([pair[0] for pair in table], [pair[1] for pair in table])
            for name in _LOOKED_UP
            if (table := known.get(f"{name}_offsets"))
        }
        self._first_line = int(known.get("first_line", 1))
        without_lines = self._pages or self._tables or _OFFICE in str(known.get("media_type", ""))
        self._line_starts = None if without_lines else _line_starts(document.text)

    def at(self, offset: int) -> dict[str, Any]:
        """Return where a character stands, counted from 1.

        That is its ``page``, its ``line``, its ``sheet`` (by name) and ``row``, or its ``slide``.
        """
        if self._pages:
            return {"page": max(1, bisect_right(self._pages, offset))}
        if self._tables:
            return {
                name: values[max(0, bisect_right(starts, offset) - 1)]
                for name, (starts, values) in self._tables.items()
            }
        if self._line_starts is not None:
            return {"line": bisect_right(self._line_starts, offset) - 1 + self._first_line}
        return {}


def _line_starts(text: str) -> list[int]:
    starts, end = [0], text.find("\n")
    while end >= 0:
        starts.append(end + 1)
        end = text.find("\n", end + 1)
    return starts
