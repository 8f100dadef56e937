"""`RecursiveChunker`: cuts at the first separator of a list, and what is too long at the next.

The way of LangChain's ``RecursiveCharacterTextSplitter``, counted in tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from sage.common.config import Meta, configurable
from sage.common.errors import ConfigError, Problem
from sage.common.records import Chunk, Document
from sage.libs.documents.chunker import CHUNK_TOKENS, Span, TokenLimit, refuse_overlap
from sage.libs.documents.packing import pack
from sage.libs.documents.tokens import Tokenizer, TokenMap
from sage.libs.documents.units import Break, Unit, cut_to_fit

__all__ = ["SEPARATORS", "RecursiveChunker"]

SEPARATORS = ("\n\n", "\n", "。", ". ", "，", " ")


@configurable
class RecursiveChunker:
    """Cuts documents behind the first of some separators, and what is still too long at the next.

    Pieces of one separator are put together again as far as they fit. For texts with marks of their
    own, such as logs; prose is cut better by `TokenChunker`.

    Args:
        separators: From the best place to cut to the last; behind all of them, at any character.
        chunk_tokens: Most tokens in a chunk.
        overlap_tokens: Most tokens that a chunk repeats of the one before; at most half a chunk.
        tokenizer: What counts the tokens; by default the tokenizer of the packaged model.

    Raises:
        ConfigError: if the overlap is more than half a chunk, or a separator is empty.

    Example:
        >>> from sage.libs.documents import WordTokenizer
        >>> chunker = RecursiveChunker(
        ...     separators=("\\n---\\n", "\\n"), chunk_tokens=8, tokenizer=WordTokenizer()
        ... )
        >>> log = "start\\nstop\\n---\\none two three four\\nfive six seven eight\\nnine"
        >>> [chunk.text for chunk in chunker.chunk(Document(log))]
        ['start\\nstop\\n---', 'one two three four\\nfive six seven eight', 'nine']
    """

    def __init__(
        self,
        *,
        separators: Sequence[str] = SEPARATORS,
        chunk_tokens: Annotated[int, Meta(ge=8)] = CHUNK_TOKENS,
        overlap_tokens: Annotated[int, Meta(ge=0)] = 0,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        refuse_overlap(
            "RecursiveChunker", ("chunk_tokens", chunk_tokens), ("overlap_tokens", overlap_tokens)
        )
        if not all(separators):
            message = f"expected separators that are not empty, got {list(separators)!r}"
            raise ConfigError("RecursiveChunker", [Problem("$.separators", message)])
        self.separators = tuple(separators)
        self.overlap_tokens = overlap_tokens
        self._limit = TokenLimit(chunk_tokens, tokenizer)

    def chunk(self, document: Document) -> list[Chunk]:
        """Return the chunks of a document, in order; none if it is blank."""
        text = document.text
        tokens = self._limit.tokens(text)
        whole = Unit(0, len(text), Break.SENTENCE)
        spans = (
            Span(start, end)
            for run in self._runs(text, tokens, whole, self.separators)
            for start, end in pack(
                run, tokens, self._limit.limit, overlap_tokens=self.overlap_tokens
            )
        )
        return self._limit.chunks(document, spans)

    def _runs(
        self, text: str, tokens: TokenMap, unit: Unit, separators: Sequence[str]
    ) -> Iterator[list[Unit]]:
        """Yield runs of adjacent pieces that fit, tiling a unit; each is packed by itself."""
        limit = self._limit.limit
        if not separators or limit.fits(tokens, unit.start, unit.end):
            yield list(cut_to_fit(text, tokens, limit, unit))
            return
        run: list[Unit] = []
        for piece in _split(text, unit, separators[0]):
            if limit.fits(tokens, piece.start, piece.end):
                run.append(piece)
                continue
            if run:
                yield run
                run = []
            yield from self._runs(text, tokens, piece, separators[1:])
        if run:
            yield run


def _split(text: str, unit: Unit, separator: str) -> Iterator[Unit]:
    start = unit.start
    while start < unit.end:
        found = text.find(separator, start, unit.end)
        end = unit.end if found < 0 else found + len(separator)
        yield Unit(start, end, Break.SENTENCE)
        start = end
