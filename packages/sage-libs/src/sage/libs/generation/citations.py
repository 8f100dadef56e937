"""Checks the numbers in an answer against the passages it was given.

A model may write ``[7]`` when there were three passages. Such a number is taken out of the text
and reported; what stays is a citation of a passage that the model has really seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sage.common.records import Citation, Passage

__all__ = ["CheckedText", "check_citations", "cited_numbers"]

# "[1]", "[1, 2]", "[1-3]", "[1][2]"; not "[1](url)", and not inside `code` or a code fence.
_CODE = r"```.*?(?:```|\Z)|`[^`\n]*`"
_MARK = r"\[(?P<numbers>\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*)\](?!\()"
_CODE_OR_MARK = re.compile(rf"(?P<code>{_CODE})|(?P<gap>[ \t]*){_MARK}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CheckedText:
    """A text whose citations all exist.

    Attributes:
        text: The text, without the numbers that no passage has.
        citations: One for each passage cited, in the order of their numbers.
        dropped: The numbers that no passage has, sorted.
    """

    text: str
    citations: tuple[Citation, ...]
    dropped: tuple[int, ...]


def cited_numbers(text: str) -> list[int]:
    """Return the numbers that ``text`` cites, sorted, each once.

    Example:
        >>> cited_numbers("Boils at 100 [2][1, 4]. See `a[3]` and [5](https://example.org).")
        [1, 2, 4]
    """
    found: set[int] = set()
    for match in _CODE_OR_MARK.finditer(text):
        if match["numbers"]:
            found.update(_expanded(match["numbers"]))
    return sorted(found)


def check_citations(text: str, passages: Sequence[Passage]) -> CheckedText:
    """Return ``text`` without citations beyond ``passages``, and the citations that remain.

    Args:
        text: The answer; ``[1]`` stands for ``passages[0]``.
        passages: What the generator was given, in the order of their numbers.

    Example:
        >>> checked = check_citations("It boils [1]. It freezes [3].", [Passage("Boils.", "a")])
        >>> checked.text, [c.number for c in checked.citations], checked.dropped
        ('It boils [1]. It freezes.', [1], (3,))
    """
    numbers = cited_numbers(text)
    known = [n for n in numbers if 1 <= n <= len(passages)]
    dropped = tuple(n for n in numbers if n not in known)
    if dropped:
        text = _CODE_OR_MARK.sub(lambda match: _kept(match, len(passages)), text).strip()
    citations = tuple(citation_of(n, passages[n - 1]) for n in known)
    return CheckedText(text, citations, dropped)


def citation_of(number: int, passage: Passage, quote: str = "") -> Citation:
    """Return the citation of a passage under ``number``."""
    return Citation(
        number,
        source=passage.source or passage.doc_id,
        place=passage.place,
        quote=quote,
        doc_id=passage.doc_id,
        passage_id=passage.passage_id,
    )


def _kept(match: re.Match[str], count: int) -> str:
    if match["numbers"] is None:
        return match[0]
    numbers = _expanded(match["numbers"])
    kept = [n for n in numbers if 1 <= n <= count]
    if kept == numbers:
        return match[0]
    return match["gap"] + f"[{', '.join(map(str, kept))}]" if kept else ""


def _expanded(numbers: str) -> list[int]:
    """Expand "1, 3-5" to [1, 3, 4, 5]; a range of more than 50 numbers is no citation range."""
    expanded: list[int] = []
    for part in re.split(r"\s*[,;]\s*", numbers):
        first, *rest = [int(n) for n in re.split(r"\s*[–-]\s*", part)]
        last = rest[-1] if rest else first
        expanded.extend(range(first, last + 1) if first <= last <= first + 50 else [first, last])
    return expanded
