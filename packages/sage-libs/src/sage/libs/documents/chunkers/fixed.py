"""`FixedChunker`: cuts after so many tokens, wherever that is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from sage.common.config import Meta, configurable
from sage.common.records import Chunk, Document
from sage.libs.documents.chunker import CHUNK_TOKENS, Span, TokenLimit, refuse_overlap
from sage.libs.documents.tokens import Tokenizer
from sage.libs.documents.units import furthest

__all__ = ["FixedChunker"]


@configurable
class FixedChunker:
    """Cuts documents after every so many tokens, in the middle of a sentence if need be.

    The plainest way to cut, and what others are compared with. For chunks of so many characters,
    count those: ``tokenizer=CharacterTokenizer()``.

    Args:
        chunk_tokens: Tokens in a chunk.
        overlap_tokens: How many of them are repeated from the chunk before; at most half a chunk.
        tokenizer: What counts the tokens; by default the tokenizer of the packaged model.

    Raises:
        ConfigError: if the overlap is more than half a chunk.

    Example:
        >>> from sage.libs.documents import CharacterTokenizer
        >>> chunker = FixedChunker(chunk_tokens=8, overlap_tokens=2, tokenizer=CharacterTokenizer())
        >>> [chunk.text for chunk in chunker.chunk(Document("0123456789abcdef"))]
        ['01234567', '6789abcd', 'cdef']
    """

    def __init__(
        self,
        *,
        chunk_tokens: Annotated[int, Meta(ge=8)] = CHUNK_TOKENS,
        overlap_tokens: Annotated[int, Meta(ge=0)] = 0,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        refuse_overlap(
            "FixedChunker", ("chunk_tokens", chunk_tokens), ("overlap_tokens", overlap_tokens)
        )
        self.overlap_tokens = overlap_tokens
        self._limit = TokenLimit(chunk_tokens, tokenizer)

    def chunk(self, document: Document) -> list[Chunk]:
        """Return the chunks of a document, in order; none if it is blank."""
        return self._limit.chunks(document, self._spans(document.text))

    def _spans(self, text: str) -> Iterator[Span]:
        limit, tokens = self._limit.limit, self._limit.tokens(text)
        start = 0
        while start < len(text):
            end = furthest(tokens, limit, start, len(text))
            yield Span(start, end)
            overlap = end
            if self.overlap_tokens and end < len(text):
                overlap = tokens.starts[max(0, tokens.index(end) - self.overlap_tokens)]
            # Where tokens are huge (a word of a million letters), repeating them leads nowhere.
            start = overlap if (start + end) // 2 <= overlap <= end else end
