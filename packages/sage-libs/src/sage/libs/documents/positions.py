"""Says where an offset of a document stands: line, page and heading, by bisection."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from sage.common.records import Document

__all__ = ["Positions"]

_WORD = "wordprocessingml"


class Positions:
    """The positions of one document.

    ``line`` is the line of the file: shifted by front matter, looked up for HTML, and not given
    where a file has no lines that a person could go to (PDF, DOCX).

    Args:
        document: With the position tables that `load_document` puts in its metadata.

    Example:
        >>> Positions(Document("a\\nb\\nc", metadata={"first_line": 10})).at(4)
        {'line': 12}
    """

    def __init__(self, document: Document) -> None:
        known = document.metadata
        self._pages: list[int] = list(known.get("page_offsets") or ())
        self._blocks: list[list[int]] = [list(pair) for pair in known.get("line_offsets") or ()]
        self._block_starts = [offset for offset, _ in self._blocks]
        self._first_line = int(known.get("first_line", 1))
        without_lines = self._pages or _WORD in str(known.get("media_type", ""))
        self._line_starts = None if without_lines or self._blocks else _line_starts(document.text)

    def at(self, offset: int) -> dict[str, Any]:
        """Return ``page`` or ``line``, both counted from 1, of a character."""
        if self._pages:
            return {"page": max(1, bisect_right(self._pages, offset))}
        if self._blocks:
            block = max(0, bisect_right(self._block_starts, offset) - 1)
            return {"line": self._blocks[block][1]}
        if self._line_starts is not None:
            return {"line": bisect_right(self._line_starts, offset) - 1 + self._first_line}
        return {}


def _line_starts(text: str) -> list[int]:
    starts, end = [0], text.find("\n")
    while end >= 0:
        starts.append(end + 1)
        end = text.find("\n", end + 1)
    return starts
