"""Packs units into spans, each as full as good places to cut allow.

Time is linear: to overlap, a span looks back at most as far as the one before began.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sage.libs.documents.tokens import TokenMap
from sage.libs.documents.units import Break, Limit, Unit

__all__ = ["pack"]


def pack(
    section: Sequence[Unit], tokens: TokenMap, limit: Limit, *, overlap_tokens: int = 0
) -> Iterator[tuple[int, int]]:
    """Yield start and end of spans that hold whole units and fit.

    A span ends at a paragraph if that leaves it at least half full, and else where it is full.

    Args:
        section: Adjacent units, each of which fits by itself.
        tokens: The tokens of the text.
        limit: How much fits.
        overlap_tokens: Most tokens that a span repeats of the one before; at most half a span.
    """
    first = 0  # the first unit that is in no span yet
    begin = -1
    while first < len(section):
        begin = _overlap(section, tokens, limit, first, begin + 1, overlap_tokens)
        start = section[begin].start
        end = first + 1
        while end < len(section) and limit.fits(tokens, start, section[end].end):
            end += 1
        if end < len(section):
            end = _better_end(section, tokens, limit, start, first, end)
        yield start, section[end - 1].end
        first = end


def _overlap(
    section: Sequence[Unit],
    tokens: TokenMap,
    limit: Limit,
    first: int,
    earliest: int,
    overlap_tokens: int,
) -> int:
    """Return the unit at which the span begins whose first new unit is ``first``.

    It is behind the begin of the span before: to repeat all of that says nothing new.
    """
    chosen = unit = first
    end = section[first].start
    while unit > earliest and tokens.count(section[unit - 1].start, end) <= overlap_tokens:
        unit -= 1
        if not limit.fits(tokens, section[unit].start, section[first].end):
            break
        if section[unit].before is not Break.WORD:
            chosen = unit
    return chosen


def _better_end(
    section: Sequence[Unit], tokens: TokenMap, limit: Limit, start: int, first: int, end: int
) -> int:
    """Return the last end at a paragraph that leaves the span at least half full."""
    for candidate in range(end, first, -1):
        if tokens.count(start, section[candidate].start) * 2 < limit.tokens:
            break
        if section[candidate].before >= Break.PARAGRAPH:
            return candidate
    return end
