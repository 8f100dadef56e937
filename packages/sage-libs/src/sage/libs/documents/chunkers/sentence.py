"""`SentenceChunker`: so many whole sentences in a chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from sage.common.config import Meta, configurable
from sage.common.records import Chunk, Document
from sage.libs.documents.chunker import CHUNK_TOKENS, Span, TokenLimit, refuse_overlap
from sage.libs.documents.tokens import Tokenizer
from sage.libs.documents.units import Break, Unit, cut_to_fit
from sage.libs.text.sentences import split_sentences

__all__ = ["SentenceChunker"]


@configurable
class SentenceChunker:
    """Cuts documents behind sentences, English and Chinese, as many to a chunk as asked for.

    For short, even chunks of prose. A sentence longer than a chunk is cut at words and counts as
    several.

    Args:
        chunk_sentences: Most sentences in a chunk.
        overlap_sentences: How many of them are repeated from the chunk before, as far as they fit.
        chunk_tokens: Most tokens in a chunk.
        tokenizer: What counts the tokens; by default the tokenizer of the packaged model.

    Raises:
        ConfigError: if the overlap is more than half a chunk.

    Example:
        >>> from sage.libs.documents import WordTokenizer
        >>> chunker = SentenceChunker(chunk_sentences=2, tokenizer=WordTokenizer())
        >>> [chunk.text for chunk in chunker.chunk(Document("It boils. It cools! 水沸。冰。"))]
        ['It boils. It cools!', '水沸。冰。']
    """

    def __init__(
        self,
        *,
        chunk_sentences: Annotated[int, Meta(ge=1)] = 5,
        overlap_sentences: Annotated[int, Meta(ge=0)] = 0,
        chunk_tokens: Annotated[int, Meta(ge=8)] = CHUNK_TOKENS,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        refuse_overlap(
            "SentenceChunker",
            ("chunk_sentences", chunk_sentences),
            ("overlap_sentences", overlap_sentences),
        )
        self.chunk_sentences = chunk_sentences
        self.overlap_sentences = overlap_sentences
        self._limit = TokenLimit(chunk_tokens, tokenizer)

    def chunk(self, document: Document) -> list[Chunk]:
        """Return the chunks of a document, in order; none if it is blank."""
        return self._limit.chunks(document, self._spans(document.text))

    def _spans(self, text: str) -> Iterator[Span]:
        limit, tokens = self._limit.limit, self._limit.tokens(text)
        sentences = [
            sentence
            for start, end in split_sentences(text)
            for sentence in cut_to_fit(text, tokens, limit, Unit(start, end, Break.SENTENCE))
        ]
        first, begin = 0, -1
        while first < len(sentences):
            begin = max(begin + 1, first - self.overlap_sentences)
            while not limit.fits(tokens, sentences[begin].start, sentences[first].end):
                begin += 1
            start, end = sentences[begin].start, first + 1
            while (
                end < len(sentences)
                and end - begin < self.chunk_sentences
                and limit.fits(tokens, start, sentences[end].end)
            ):
                end += 1
            yield Span(start, sentences[end - 1].end)
            first = end
