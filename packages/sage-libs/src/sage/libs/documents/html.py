"""HTML to Markdown-like text: headings, paragraphs, lists, tables and code keep their shape."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sage.libs.documents.text import Loaded, decoded, normalised

if TYPE_CHECKING:
    from bs4.element import Tag

__all__ = ["load_html"]

_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HIDDEN = _names("script style noscript template head svg math iframe object")
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_BLOCKS = _HEADINGS.keys() | _names(
    "address article aside blockquote body caption dd details dialog div dl dt fieldset figcaption "
    "figure footer form header hr html legend li main nav ol option p pre section summary table "
    "tbody tfoot thead tr ul"
)
# Blocks that follow their like without a blank line between.
_TIGHT = {"li": "list", "tr": "table", "dt": "terms", "dd": "terms", "option": "options"}
_BLANKS = re.compile(r"[ \t\r\n\f]+")


def load_html(data: bytes, source: str) -> Loaded:
    """Read a page: its text as Markdown, its ``title``, and the line that each block came from.

    Scripts, styles and other invisible parts are left out.

    Returns:
        The text; ``line_offsets`` in the metadata holds ``[offset in the text, line of the file]``
        for each block.

    Raises:
        DataError: if it is not text.

    Example:
        >>> load_html(b"<h1>Water</h1><script>x()</script><p>It <b>boils</b>.", "a.html").text
        '# Water\\n\\nIt boils.\\n'
    """
    from bs4 import BeautifulSoup

    declared = _CHARSET.search(data, 0, 4096)
    page, metadata = decoded(data, source, encoding=declared[1].decode() if declared else None)
    # A tag that never ends is text; the parser would look for its end anew from each "<".
    end = page.rfind(">") + 1
    soup = BeautifulSoup(page[:end] + page[end:].replace("<", "&lt;"), "html.parser")
    if soup.title is not None and (title := _BLANKS.sub(" ", soup.title.get_text()).strip()):
        metadata["title"] = title
    writer = _Writer()
    writer.walk(soup)
    metadata["line_offsets"] = writer.line_offsets
    return Loaded(normalised("".join(writer.written)), metadata)


class _Writer:
    """Writes blocks of text while it walks a page; a stack, because pages nest without limit."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.line_offsets: list[list[int]] = []
        self._length = 0
        self._inline: list[str] = []
        self._prefix = ""
        self._line = 1
        self._tight = self._tight_before = ""
        self._row = 0
        self._pre = 0

    def walk(self, root: Tag) -> None:
        from bs4.element import NavigableString, PreformattedString, Tag

        stack: list[tuple[Any, Any]] = [(root, iter(root.children))]
        while stack:
            tag, children = stack[-1]
            child = next(children, None)
            if child is None:
                stack.pop()
                self._leave(tag.name)
            elif isinstance(child, Tag):
                if child.name not in _HIDDEN:
                    self._enter(child)
                    stack.append((child, iter(child.children)))
            elif isinstance(child, NavigableString) and not isinstance(child, PreformattedString):
                # Comments, doctypes and the like are preformatted strings.
                self._inline.append(str(child) if self._pre else _BLANKS.sub(" ", child))
        self._flush()

    def _enter(self, tag: Tag) -> None:
        name = tag.name
        if name == "br":
            self._inline.append("\n")
        elif name in ("td", "th"):
            self._inline.append(" | ")
        elif name in ("p", "div") and self._row:
            # A row stays one block; what a cell holds begins behind its bar.
            self._inline.append("" if self._is_bar() else "\n")
        elif name in ("p", "div") and self._prefix and self._is_blank():
            pass  # a paragraph that opens a list item belongs to it and does not end it
        elif name in _BLOCKS:
            self._flush()
            self._line = tag.sourceline or self._line
            self._prefix = _HEADINGS.get(name, "- " if name == "li" else "")
            self._tight = _TIGHT.get(name, "")
            self._row += name == "tr"
            self._pre += name == "pre"

    def _leave(self, name: str) -> None:
        if name in _BLOCKS and not (name in ("p", "div") and self._row):
            self._flush()
            self._row -= name == "tr"
            self._pre -= name == "pre"

    def _is_bar(self) -> bool:
        return next((part for part in reversed(self._inline) if part.strip()), "") == " | "

    def _is_blank(self) -> bool:
        return not any(part.strip(" \n|") for part in self._inline)

    def _flush(self) -> None:
        """Write the block that has been collected, if any."""
        text, prefix = "".join(self._inline), self._prefix
        self._inline.clear()
        if not text.strip(" \n\t|"):
            return
        self._prefix = ""
        if self._pre:
            text = text.strip("\n")
            fence = "````" if "```" in text else "```"
            block = f"{fence}\n{text}\n{fence}"
        else:
            lines = (_BLANKS.sub(" ", line).strip(" ") for line in text.split("\n"))
            block = prefix + "\n".join(filter(None, lines))
            if prefix.startswith("#"):
                block = block.replace("\n", " ")
            if block.startswith("| "):
                block += " |"
        if self.written and not (self._tight and self._tight == self._tight_before):
            self._write("\n")
        self._tight_before, self._tight = self._tight, ""
        self.line_offsets.append([self._length, self._line])
        self._write(block + "\n")

    def _write(self, text: str) -> None:
        self.written.append(text)
        self._length += len(text)
