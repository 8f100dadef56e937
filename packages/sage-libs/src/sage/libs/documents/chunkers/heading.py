"""`HeadingChunker`: a chunk is the largest section that fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated

from sage.common.config import Meta, configurable
from sage.common.records import Chunk, Document
from sage.libs.documents.chunker import CHUNK_TOKENS, Span, TokenLimit, is_markdown
from sage.libs.documents.packing import pack
from sage.libs.documents.tokens import Tokenizer, TokenMap
from sage.libs.documents.units import Unit, units_of

__all__ = ["HeadingChunker"]


@configurable
class HeadingChunker:
    """Cuts Markdown and HTML into sections: each chunk is the largest one that fits.

    A section that fits is one chunk with all its subsections; one that does not is cut at its
    subsections, those at theirs, and text without headings at paragraphs and sentences. The path of
    headings is in the chunk's metadata as ``"Chapter > Section"``. For manuals and reference pages;
    a text without headings is cut as `TokenChunker` does.

    Args:
        chunk_tokens: Most tokens in a chunk.
        tokenizer: What counts the tokens; by default the tokenizer of the packaged model.

    Example:
        >>> from sage.libs.documents import WordTokenizer
        >>> chunker = HeadingChunker(chunk_tokens=12, tokenizer=WordTokenizer())
        >>> text = "# A\\n\\nOne.\\n\\n## B\\n\\nTwo.\\n\\n# C\\n\\nThree four five six.\\n"
        >>> for chunk in chunker.chunk(Document(text)):
        ...     print(chunk.metadata["heading"], repr(chunk.text))
        A '# A\\n\\nOne.\\n\\n## B\\n\\nTwo.'
        C '# C\\n\\nThree four five six.'
    """

    def __init__(
        self,
        *,
        chunk_tokens: Annotated[int, Meta(ge=8)] = CHUNK_TOKENS,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self._limit = TokenLimit(chunk_tokens, tokenizer)

    def chunk(self, document: Document) -> list[Chunk]:
        """Return the chunks of a document, in order; none if it is blank."""
        return self._limit.chunks(document, self._spans(document))

    def _spans(self, document: Document) -> Iterator[Span]:
        limit, tokens = self._limit.limit, self._limit.tokens(document.text)
        units = list(units_of(document.text, tokens, limit, markdown=is_markdown(document)))
        if not units:
            return
        headings = _headings(units)
        for first, last in self._sections(units, tokens, 0, len(units)):
            section = units[first:last]
            heading = headings[min(first + _bare(section), last - 1)]
            facts = {"heading": heading} if heading else {}
            for start, end in pack(section, tokens, limit):
                yield Span(start, end, facts)

    def _sections(
        self, units: Sequence[Unit], tokens: TokenMap, first: int, last: int
    ) -> Iterator[tuple[int, int]]:
        """Yield sections, from their first unit to behind their last: each fits or has no more."""
        body = first + _bare(units[first:last])
        levels = [unit.level for unit in units[body:last] if unit.level]
        if not levels or self._limit.limit.fits(tokens, units[first].start, units[last - 1].end):
            yield first, last
            return
        top = min(levels)
        cuts = [first, *(i for i in range(body, last) if units[i].level == top), last]
        begin = first
        for start, end in pairwise(cuts):
            # A heading without text goes with what follows it.
            if end < last and _bare(units[start:end]) == end - start:
                continue
            yield from self._sections(units, tokens, begin, end)
            begin = end


def _bare(units: Sequence[Unit]) -> int:
    """Return how many headings stand before any text."""
    return next((i for i, unit in enumerate(units) if not unit.level), len(units))


def _headings(units: Sequence[Unit]) -> list[str]:
    """Return for each unit the path of headings that it stands under."""
    path: list[tuple[int, str]] = []
    shown, headings = "", []
    for unit in units:
        if unit.level:
            path = [*((level, title) for level, title in path if level < unit.level)]
            path.append((unit.level, unit.title))
            shown = " > ".join(title for _, title in path if title)
        headings.append(shown)
    return headings
