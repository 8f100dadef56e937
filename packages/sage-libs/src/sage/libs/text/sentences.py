"""Cuts text into sentences by rules, for English and Chinese, Markdown and plain text.

The one invariant: the spans tile the text. They are in order, none is empty, the first starts at
0, each starts where the one before ended, the last ends with the text; blanks after a sentence
belong to it. So ``"".join(text[a:b] for a, b in spans) == text`` whatever the text.

First lines are grouped into blocks (paragraph, list item, heading, table row, line of code), which
no sentence crosses; then each paragraph and list item is cut behind its sentence ends. A single
line break inside a paragraph is a wrapped line, not an end. The rules prefer to leave two sentences
together over tearing one apart: a full stop before a lower-case word does not end a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

__all__ = ["split_sentences"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Never the end of a sentence, whatever follows.
_TITLES = _words(
    "mr mrs ms mx dr prof rev hon gen col capt lt sgt st mt fig figs eq eqs sec ch vs cf e.g i.e "
    "viz approx ca resp ref refs vol ed eds dept univ"
)
# Not an end before a number: "No. 5", "p. 12", "Mar. 3".
_BEFORE_NUMBERS = _words("no nos p pp art jan feb mar apr jun jul aug sep sept oct nov dec v ver")
# An end only before one of the words that open sentences: "in the U.S. The", but "U.S. Army".
_DOTTED = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]")
_OPENERS = _words(
    "a an and as at but by each every for from he her his how however i if in it its most no none "
    "on one she since so some that the their then there these they this those to we what when "
    "where which while who why with you"
)

_CLOSERS = "\"'”’)\\]»*_`」』）】》〉"
_END = re.compile(rf"(?:(?P<cjk>[。！？｡]+)|[.!?…]+)[{_CLOSERS}]*(?:\[\d{{1,3}}\])*(?P<gap>\s*)")
_WORD_BEFORE = re.compile(r"[\w.\-]*\Z")
_WORD = re.compile(r"\w+")
# A backquote is not among them: what it opens may be lower-case and still open a sentence.
_OPENING_MARKS = "\"'“‘([«*_「『（【《〈"

_FENCE = re.compile(r"\s{0,3}(```|~~~)")
_HEADING = re.compile(r"\s{0,3}#{1,6}(\s|$)")
_UNDERLINE = re.compile(r"\s{0,3}(=+|-{2,}|\*{3,}|_{3,})\s*$")
_ROW = re.compile(r"\s*\|")
_ITEM = re.compile(
    r"\s*(?:>\s*)*(?:[-*+•]|\(?\d{1,3}[.)]|[（(]?[一二三四五六七八九十]{1,3}[、）)])\s*(?=\S)"
)
_MARKED_ITEM = re.compile(
    r"\s*(?:>\s*)*(?:[-*+•]\s|\(?\d{1,3}[.)]\s|[（(]?[一二三四五六七八九十]{1,3}[、）)])"
)


class _Line(Enum):
    BLANK = 0
    TEXT = 1
    ITEM = 2
    ALONE = 3
    """A heading, a table row, a rule or a line of code: a block of its own."""


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Return the spans of the sentences of ``text``, tiling it.

    Args:
        text: Plain text or Markdown.

    Returns:
        ``(start, end)`` offsets in characters, end exclusive; empty for an empty text.

    Example:
        >>> text = "Dr. Wu paid $3.50. He left! 他走了。天黑了。"
        >>> [text[a:b].strip() for a, b in split_sentences(text)]
        ['Dr. Wu paid $3.50.', 'He left!', '他走了。', '天黑了。']
    """
    spans = []
    start = 0
    for block_start, block_end, prose in _blocks(text):
        ends = [*_sentence_ends(text, block_start, block_end)] if prose else []
        for end in [*ends, block_end]:
            # A sentence of blanks only would be one that nobody can read: leave them to the next.
            if end > start and (end == len(text) or not text[start:end].isspace()):
                spans.append((start, end))
                start = end
    return _without_blank_tail(text, spans)


def _without_blank_tail(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    if len(spans) > 1 and text[spans[-1][0] : spans[-1][1]].isspace():
        last = spans.pop()
        spans[-1] = (spans[-1][0], last[1])
    return spans


def _blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield ``(start, end, prose)`` of the blocks of the text, tiling it."""
    start = offset = 0
    previous = _Line.BLANK
    began = _Line.BLANK
    fenced = False
    for line in text.splitlines(keepends=True):
        kind, fenced = _kind(line, fenced)
        starts_block = kind is not _Line.BLANK and (
            kind is not _Line.TEXT or previous in (_Line.BLANK, _Line.ALONE)
        )
        if starts_block:
            if offset > start:
                yield start, offset, began is not _Line.ALONE
            start, began = offset, kind
        previous = kind
        offset += len(line)
    if offset > start:
        yield start, offset, began is not _Line.ALONE


def _kind(line: str, fenced: bool) -> tuple[_Line, bool]:
    """Say what a line is, and whether the next one is inside a code fence."""
    if _FENCE.match(line):
        return _Line.ALONE, not fenced
    if not line.strip():
        return _Line.BLANK, fenced
    if fenced or _HEADING.match(line) or _UNDERLINE.match(line) or _ROW.match(line):
        return _Line.ALONE, fenced
    return (_Line.ITEM if _MARKED_ITEM.match(line) else _Line.TEXT), fenced


def _sentence_ends(text: str, start: int, end: int) -> Iterator[int]:
    """Yield the offsets inside the block at which a sentence has ended, blanks included."""
    marker = _ITEM.match(text, start, end)
    position = marker.end() if marker else start
    for match in _END.finditer(text, position, end):
        if match.end() >= end:
            return
        if match["cjk"] or (match["gap"] and _ends_sentence(text, match)):
            yield match.end()


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    """Decide on a Western mark that is followed by a blank."""
    mark = text[match.start()]
    tail = text[match.start() : match.start("gap")].partition("[")[0]
    following = text[match.end() : match.end() + 40].lstrip(_OPENING_MARKS)
    lower = following[:1].islower()
    if mark in "!?":
        # '"Really?" he asked.' goes on; "Really? yes." does not.
        return not (lower and tail[-1] in _CLOSERS)
    if lower:
        return False
    if len(tail.rstrip(_CLOSERS)) > 1 or mark == "…":
        return True
    before = _WORD_BEFORE.search(text, max(0, match.start() - 40), match.start())
    return _full_stop_ends(before[0] if before else "", following)


def _full_stop_ends(word: str, following: str) -> bool:
    """Decide on a single full stop between ``word`` and ``following`` (not lower-case)."""
    word = word.strip("-")
    lowered = word.lower()
    if lowered in _TITLES:
        return False
    if lowered in _BEFORE_NUMBERS and following[:1].isdigit():
        return False
    initial = len(word) == 1 and word.isalpha() and word.isupper() and word != "I"
    if (initial and word.isascii()) or _DOTTED.fullmatch(word):
        next_word = _WORD.match(following)
        return next_word is None or next_word[0].lower() in _OPENERS
    return True
