"""Finds the sentences of passages that can be quoted, and makes them readable.

Passages are mostly pieces of Markdown. What is markup or code there would make a bad answer:
headings give context but are not quoted, code and table rulings are left out, markers of lists and
links are taken off. Numbers like ``[3]`` that the document itself uses go too, as they would read
as citations of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sage.common.records import Passage
from sage.libs.text.sentences import split_sentences

__all__ = ["Quotable", "quotable_sentences", "readable"]

_FENCE = re.compile(r"\s*(?:>\s*)*(?:```|~~~)(?P<language>\s*\w*)")
_HEADING = re.compile(r"\s*#{1,6}\s+(?P<title>.*?)\s*#*\s*$")
_NOISE_LINE = re.compile(r"\s*(?:[=\-*_|:+ \t]+|!!!.*|:::.*|\[[^\]]+\]:\s.*|---)\s*$")
_ROW = re.compile(r"\s*\|.*")
_ITEM = re.compile(r"\s*(?:>\s*)*(?:[-*+•]\s+(?:\[[ xX]\]\s+)?|\(?\d{1,3}[.)]\s+)")
_QUOTE = re.compile(r"(?:^|(?<=\n))\s*(?:>\s*)+")
_LINK = re.compile(r"\[([^\]]+)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)")
_INLINE = (
    (re.compile(r"<!--.*?-->", re.DOTALL), ""),
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), ""),
    (_LINK, r"\1"),
    (re.compile(r"</?[A-Za-z][\w-]*(?:\s[^<>]*)?/?>"), ""),
    (re.compile(r"(?<![\w`])\*\*(\S(?:.*?\S)?)\*\*(?!\w)", re.DOTALL), r"\1"),
    (re.compile(r"(?<![\w`*])[*_](\S(?:[^*_`]*\S)?)[*_](?![\w*])"), r"\1"),
    # The code span is matched only to be kept.
    (re.compile(r"(`[^`]*`)|\s*\[(?:\d{1,3}(?:\s*[,–-]\s*\d{1,3})*|citation needed)\]"), r"\1"),
    (re.compile(r"\s+"), " "),
)
_CJK = re.compile(r"[\u3400-\u9fff\uac00-\ud7af\u3040-\u30ff]")
_STARTS_INSIDE = re.compile(r"[a-z,;)\]]")
_LIST_LIMIT = 320


@dataclass(frozen=True, slots=True)
class Quotable:
    """A sentence that may be quoted.

    Attributes:
        text: The sentence, made readable.
        number: The number of its passage, from 1.
        offset: Where it starts in the passage's text.
        order: Its position among all sentences of all passages.
        heading: The heading it stands under, or ``""``.
    """

    text: str
    number: int
    offset: int
    order: int
    heading: str = ""


def quotable_sentences(passages: tuple[Passage, ...]) -> list[Quotable]:
    """Return the sentences of the passages that can be quoted, each once, in their order.

    Example:
        >>> passage = Passage("# Units\\n\\nIt *boils* at 100 [7].\\n\\n```\\nx = 1\\n```\\n")
        >>> [(s.text, s.heading) for s in quotable_sentences((passage,))]
        [('It boils at 100.', 'Units')]
    """
    found: list[Quotable] = []
    seen: set[str] = set()
    for number, passage in enumerate(passages, start=1):
        for offset, text, heading in _with_lists_joined(_sentences(passage)):
            # Passages overlap: what two of them hold is quoted from the better one.
            known = text.casefold()
            if known not in seen and _reads_well(text):
                seen.add(known)
                found.append(Quotable(text, number, offset, len(found), heading))
    return found


def readable(markdown: str) -> str:
    """Return a piece of Markdown as running text.

    Example:
        >>> readable("- see **the** [guide](a.md), `x[1]` and\\n  more [2]")
        'see the guide, `x[1]` and more'
    """
    text = _QUOTE.sub("", markdown[_item_end(markdown) :])
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return text.strip()


def _item_end(markdown: str) -> int:
    marker = _ITEM.match(markdown)
    return marker.end() if marker else 0


@dataclass(slots=True)
class _Piece:
    offset: int
    text: str
    heading: str
    item: bool


def _sentences(passage: Passage) -> Iterator[_Piece]:
    """Yield what is neither markup nor code."""
    text = passage.text
    spans = split_sentences(text)
    heading = str(passage.metadata.get("heading") or "")
    in_code = _starts_in_code(text)
    for index, (start, end) in enumerate(spans):
        raw = text[start:end]
        if _FENCE.match(raw):
            in_code = not in_code
            continue
        if in_code or _NOISE_LINE.match(raw) or _is_navigation(raw):
            continue
        if title := _HEADING.match(raw):
            heading = readable(title["title"])
        elif _ROW.match(raw):
            following = text[slice(*spans[index + 1])] if index + 1 < len(spans) else ""
            if not _NOISE_LINE.match(following):  # a row above a ruling is the table's head
                yield _Piece(start, _row(raw), heading, item=False)
        elif not (start == 0 and passage.start and _STARTS_INSIDE.match(raw.lstrip())):
            yield _Piece(start, readable(raw), heading, item=bool(_ITEM.match(raw)))


def _is_navigation(raw: str) -> bool:
    """Whether most of it are links: a table of contents, a "see also"; it leads to answers only."""
    linked = sum(len(link[1]) for link in _LINK.finditer(raw))
    return linked > 0 and linked > len(readable(raw)) / 2


def _starts_in_code(text: str) -> bool:
    """Whether a passage was cut inside a code fence: then its first fence closes one."""
    fences = [match for line in text.splitlines() if (match := _FENCE.match(line))]
    return len(fences) % 2 == 1 and not fences[0]["language"].strip() and bool(text.strip())


def _row(raw: str) -> str:
    cells = [readable(cell) for cell in raw.strip().strip("|").split("|")]
    head, *rest = [cell for cell in cells if cell] or [""]
    return f"{head}: {'; '.join(rest)}" if rest else ""


def _with_lists_joined(pieces: Iterator[_Piece]) -> Iterator[tuple[int, str, str]]:
    """Yield the pieces, a sentence that ends in a colon together with the list it announces."""
    lead: _Piece | None = None
    items: list[str] = []
    for piece in pieces:
        if lead is not None and piece.item:
            items.append(piece.text)
            continue
        if lead is not None:
            yield from _joined(lead, items)
            lead = None
        if piece.text.endswith((":", "：")):
            lead, items = piece, []
        else:
            yield piece.offset, piece.text, piece.heading
    if lead is not None:
        yield from _joined(lead, items)


def _joined(lead: _Piece, items: list[str]) -> Iterator[tuple[int, str, str]]:
    if not items:
        return
    kept = lead.text + " " + items[0].rstrip(".;,")
    for item in items[1:]:
        if len(kept) + len(item) > _LIST_LIMIT:
            kept += "; …"
            break
        kept += "; " + item.rstrip(".;,")
    yield lead.offset, kept, lead.heading


def _reads_well(text: str) -> bool:
    """Whether it says something by itself: three words, or six characters of Chinese."""
    if len(_CJK.findall(text)) >= 6:
        return True
    return len(re.findall(r"[^\W\d_]{2,}", text)) >= 3
