"""`SemanticChunker`: cuts where the subject changes.

After Kamradt, "5 Levels of Text Splitting" (2023): each sentence is embedded together with its
neighbours, and the text is cut where two in a row are least alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated

from sage.common.config import Meta, configurable
from sage.common.records import Chunk, Document
from sage.libs.documents.chunker import CHUNK_TOKENS, Span, TokenLimit
from sage.libs.documents.packing import pack
from sage.libs.documents.tokens import Tokenizer
from sage.libs.documents.units import Break, Unit, cut_to_fit
from sage.libs.embedding.embedder import Embedder, load_embedder
from sage.libs.text.sentences import split_sentences

__all__ = ["SemanticChunker"]


@configurable
class SemanticChunker:
    """Cuts documents between the sentences that are least alike, by their embeddings.

    For long texts without headings, such as transcripts. It embeds every sentence with its
    neighbours: several times the cost of embedding the chunks.

    Args:
        cut_share: The share of places between two sentences at which the subject changes.
        chunk_tokens: Most tokens in a chunk.
        tokenizer: What counts the tokens; by default the tokenizer of the packaged model.
        embedder: What tells sentences apart; by default the packaged model.

    Example:
        >>> from sage.libs.documents import WordTokenizer
        >>> from sage.libs.embedding import MockTextEmbedder
        >>> chunker = SemanticChunker(
        ...     cut_share=0.2, tokenizer=WordTokenizer(), embedder=MockTextEmbedder(fixed_dim=64)
        ... )
        >>> text = "Cats purr. Cats sleep. Cats eat. Ships sail. Ships sink. Ships rust."
        >>> [chunk.text for chunk in chunker.chunk(Document(text))]
        ['Cats purr. Cats sleep. Cats eat.', 'Ships sail. Ships sink. Ships rust.']
    """

    def __init__(
        self,
        *,
        cut_share: Annotated[float, Meta(gt=0, lt=1)] = 0.1,
        chunk_tokens: Annotated[int, Meta(ge=8)] = CHUNK_TOKENS,
        tokenizer: Tokenizer | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self.cut_share = cut_share
        self._limit = TokenLimit(chunk_tokens, tokenizer)
        self._embedder = embedder

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
        cuts = [0, *self._changes(text, sentences), len(sentences)]
        for first, last in pairwise(cuts):
            for start, end in pack(sentences[first:last], tokens, limit):
                yield Span(start, end)

    def _changes(self, text: str, sentences: Sequence[Unit]) -> list[int]:
        """Return the sentences that begin another subject."""
        wanted = round((len(sentences) - 1) * self.cut_share)
        if wanted < 1:
            return []
        if self._embedder is None:
            self._embedder = load_embedder()
        import numpy as np

        # A sentence alone says too little: what is compared are pairs before and after each place.
        pairs = [text[a.start : b.end] for a, b in pairwise(sentences)]
        first, last = sentences[0], sentences[-1]
        before = [text[first.start : first.end], *pairs[:-1]]
        after = [*pairs[1:], text[last.start : last.end]]
        vectors = self._embedder.embed([*before, *after])
        alike = np.einsum("ij,ij->i", vectors[: len(before)], vectors[len(before) :])
        return sorted(int(place) + 1 for place in np.argsort(alike, kind="stable")[:wanted])
