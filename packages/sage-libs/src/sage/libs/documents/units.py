"""The smallest pieces that a chunk is made of, and how willingly a text is cut before each.

A unit is a sentence, a heading, a code fence that fits into a chunk, or a part of what is too long
for one chunk. Units tile the text, and each fits into a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from sage.libs.documents.blocks import BlockKind, blocks_of
from sage.libs.documents.tokens import TokenMap
from sage.libs.text.sentences import split_sentences

__all__ = ["Break", "Limit", "Unit", "best_cut", "cut_to_fit", "furthest", "line_spans", "units_of"]


class Break(IntEnum):
    """What stands before a unit; the higher, the better a place to cut."""

    WORD = 0
    SENTENCE = 1
    PARAGRAPH = 2
    HEADING = 3


class Unit(NamedTuple):
    """One piece: ``text[start:end]``; a heading has its level and title."""

    start: int
    end: int
    before: Break
    level: int = 0
    title: str = ""


class Limit(NamedTuple):
    """How much fits into a chunk.

    Tokenizers make one unknown token of a word of a million letters, so characters count too.
    """

    tokens: int
    characters: int

    def fits(self, tokens: TokenMap, start: int, end: int) -> bool:
        """Say whether ``text[start:end]`` fits."""
        return end - start <= self.characters and tokens.count(start, end) <= self.tokens


def units_of(text: str, tokens: TokenMap, limit: Limit, *, markdown: bool) -> Iterator[Unit]:
    """Yield the units of a text, tiling it; none if it is blank."""
    for block in blocks_of(text, markdown=markdown):
        start, end = block.start, block.end
        if block.kind is BlockKind.HEADING:
            first = Unit(start, end, Break.HEADING, block.level, block.title)
            yield from cut_to_fit(text, tokens, limit, first)
        elif block.kind is BlockKind.FENCE:
            whole = Unit(start, end, Break.PARAGRAPH)
            spans = (
                [(start, end)] if limit.fits(tokens, start, end) else line_spans(text, start, end)
            )
            yield from _units(text, tokens, limit, whole, spans)
        else:
            whole = Unit(start, end, Break.PARAGRAPH)
            spans = [(start + a, start + b) for a, b in split_sentences(text[start:end])]
            yield from _units(text, tokens, limit, whole, spans)


def _units(
    text: str, tokens: TokenMap, limit: Limit, whole: Unit, spans: list[tuple[int, int]]
) -> Iterator[Unit]:
    before = whole.before
    for start, end in spans:
        yield from cut_to_fit(text, tokens, limit, Unit(start, end, before))
        before = Break.SENTENCE


def line_spans(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return the spans of the lines of ``text[start:end]``, line ends included; they tile it."""
    spans = []
    while start < end:
        cut = text.find("\n", start, end) + 1 or end
        spans.append((start, cut))
        start = cut
    return spans


def cut_to_fit(text: str, tokens: TokenMap, limit: Limit, unit: Unit) -> Iterator[Unit]:
    """Yield a unit, cut into parts if it is too long for one chunk."""
    start, before = unit.start, unit.before
    while not limit.fits(tokens, start, unit.end):
        end = furthest(tokens, limit, start, unit.end)
        cut = best_cut(text, tokens, start + (end - start + 1) // 2, end)
        yield Unit(start, cut, before, unit.level, unit.title)
        start, before = cut, Break.WORD
    yield Unit(start, unit.end, before, unit.level, unit.title)


def furthest(tokens: TokenMap, limit: Limit, start: int, end: int) -> int:
    """Return how far a chunk from ``start`` may reach: before the first token that is too many."""
    end = min(end, start + limit.characters)
    first_too_many = tokens.index(start) + limit.tokens
    if first_too_many < len(tokens.starts):
        end = min(end, tokens.starts[first_too_many])
    return max(end, start + 1)


def best_cut(text: str, tokens: TokenMap | None, earliest: int, latest: int) -> int:
    """Return the best place for a cut inside a sentence: the last good one that is not too early.

    Best is behind a blank, then between anything but two letters or digits, then between two
    tokens, then at ``latest``.

    Args:
        text: The text.
        tokens: Its tokens, or None to look at the characters alone.
        earliest: The first offset at which the text may be cut.
        latest: The last one.
    """
    for cut in range(latest, earliest - 1, -1):
        if cut < len(text) and text[cut - 1].isspace() and not text[cut].isspace():
            return cut
    for cut in range(latest, earliest - 1, -1):
        if cut < len(text) and (_parts(text[cut - 1]) or _parts(text[cut])):
            return cut
    if tokens is not None:
        last = tokens.index(latest + 1) - 1
        if last >= 0 and tokens.starts[last] >= earliest:
            return tokens.starts[last]
    return latest


def _parts(character: str) -> bool:
    """Say whether a character may be parted from its neighbours: no letter, or a Chinese one."""
    return not character.isalnum() or "\u3040" <= character <= "\u9fff"
