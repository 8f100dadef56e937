"""The blocks of a text: headings, code fences and paragraphs, each with its place.

The blocks tile the text: they are in order, each starts where the one before ended, and the blank
lines behind a block belong to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

__all__ = ["Block", "BlockKind", "blocks_of"]

_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_CLOSING_MARKS = re.compile(r"(?:^|[ \t]+)#*[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|--+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
# No heading or fence is longer than this; of a line of a gigabyte no more is copied.
_LOOKED_AT = 500


class BlockKind(Enum):
    """What a block is."""

    HEADING = "heading"
    FENCE = "fence"
    PARAGRAPH = "paragraph"


class Block(NamedTuple):
    """One block: ``text[start:end]``; a heading has its level (from 1) and its title."""

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    title: str = ""


def blocks_of(text: str, *, markdown: bool = True) -> Iterator[Block]:
    """Yield the blocks of a text, tiling it; none if it is blank.

    Args:
        text: Markdown, or plain text.
        markdown: Whether ``# ...``, underlined lines and code fences mean something; in plain text
            they do not.

    Example:
        >>> text = "# Water\\n\\nIt boils.\\n"
        >>> [(b.kind.value, text[b.start : b.end], b.title) for b in blocks_of(text)]
        [('heading', '# Water\\n\\n', 'Water'), ('paragraph', 'It boils.\\n', '')]
    """
    pending: Block | None = None
    for opened in _openings(text, markdown):
        if pending is not None and opened.start > pending.start:
            yield pending._replace(end=opened.start)
            pending = opened
        else:  # the first, with the blank lines before it, or a paragraph found to be a heading
            pending = opened._replace(start=pending.start if pending else 0)
    if pending is not None:
        yield pending


def _openings(text: str, markdown: bool) -> Iterator[Block]:
    """Yield each block where it opens, as if it went on to the end of the text.

    A paragraph whose second line underlines it is yielded again, as a heading.
    """
    end_of_text = len(text)
    fence = ""
    paragraph, lines = 0, 0  # where the open paragraph began and how many lines it has; 0: none
    for start, end in _lines(text):
        line = text[start : min(end, start + _LOOKED_AT)]
        if fence:
            if _closes(line, fence):
                fence = ""
        elif not line.strip() and not text[start:end].strip():
            lines = 0
        elif markdown and (match := _FENCE.match(line)):
            fence, lines = match[1], 0
            yield Block(BlockKind.FENCE, start, end_of_text)
        elif markdown and (match := _HEADING.match(line)):
            lines = 0
            title = _CLOSING_MARKS.sub("", match[2] or "").strip()
            yield Block(BlockKind.HEADING, start, end_of_text, len(match[1]), title)
        elif markdown and lines == 1 and (match := _UNDERLINE.match(line)):
            title = text[paragraph : min(start, paragraph + _LOOKED_AT)].strip()
            lines = 0
            level = 1 if match[1][0] == "=" else 2
            yield Block(BlockKind.HEADING, paragraph, end_of_text, level, title)
        else:
            lines += 1
            if lines == 1:
                paragraph = start
                yield Block(BlockKind.PARAGRAPH, start, end_of_text)


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(fence) and not stripped.strip(fence[0])


def _lines(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each line, without the line end."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield start, end
        start = end + 1
