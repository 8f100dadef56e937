"""`TokenChunker`: cuts prose into pieces that the embedder reads whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from sage.common.config import Meta, configurable
from sage.common.records import Chunk, Document
from sage.libs.documents.chunker import (
    CHUNK_TOKENS,
    Span,
    TokenLimit,
    is_markdown,
    refuse_overlap,
)
from sage.libs.documents.packing import pack
from sage.libs.documents.tokens import Tokenizer
from sage.libs.documents.units import Break, Unit, units_of

__all__ = ["TokenChunker"]


@configurable
class TokenChunker:
    """Cuts documents at headings, then paragraphs, then sentences, and only then at words.

    A chunk never spans two sections, a code fence that fits stays whole, and where a section needs
    several chunks each repeats the last sentences of the one before. Below a heading, the metadata
    of a chunk has the path of headings as ``"Chapter > Section"``.

    Args:
        chunk_tokens: Most tokens in a chunk.
        overlap_tokens: Most tokens that a chunk repeats of the one before, at most half a chunk; a
            fifth of a chunk where nothing is said.
        tokenizer: What counts the tokens; by default the tokenizer of the packaged model.

    Raises:
        ConfigError: if the overlap is more than half a chunk.

    Example:
        >>> from sage.libs.documents import WordTokenizer
        >>> chunker = TokenChunker(chunk_tokens=8, overlap_tokens=0, tokenizer=WordTokenizer())
        >>> text = "# Water\\n\\nIt boils at 100 degrees. It freezes at 0 degrees.\\n"
        >>> for chunk in chunker.chunk(Document(text)):
        ...     print(chunk.metadata["line"], repr(chunk.text))
        1 '# Water\\n\\nIt boils at 100 degrees.'
        3 'It freezes at 0 degrees.'
    """

    def __init__(
        self,
        *,
        chunk_tokens: Annotated[int, Meta(ge=8)] = CHUNK_TOKENS,
        overlap_tokens: Annotated[int, Meta(ge=0)] | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self.chunk_tokens = chunk_tokens
        self.overlap_tokens = chunk_tokens // 5 if overlap_tokens is None else overlap_tokens
        refuse_overlap(
            "TokenChunker",
            ("chunk_tokens", chunk_tokens),
            ("overlap_tokens", self.overlap_tokens),
        )
        self._limit = TokenLimit(chunk_tokens, tokenizer)

    def chunk(self, document: Document) -> list[Chunk]:
        """Return the chunks of a document, in order; none if it is blank."""
        return self._limit.chunks(document, self._spans(document))

    def _spans(self, document: Document) -> Iterator[Span]:
        text, limit = document.text, self._limit.limit
        tokens = self._limit.tokens(text)
        path: list[tuple[int, str]] = []
        units = units_of(text, tokens, limit, markdown=is_markdown(document))
        for section in _sections(units):
            for unit in section:
                if unit.before is Break.HEADING:
                    path = [(level, title) for level, title in path if level < unit.level]
                    path.append((unit.level, unit.title))
            heading = " > ".join(title for _, title in path if title)
            facts = {"heading": heading} if heading else {}
            for start, end in pack(section, tokens, limit, overlap_tokens=self.overlap_tokens):
                yield Span(start, end, facts)


def _sections(units: Iterator[Unit]) -> Iterator[list[Unit]]:
    """Group units by the heading they stand under; headings without text go with what follows."""
    section: list[Unit] = []
    bare = True
    for unit in units:
        if unit.before is Break.HEADING and not bare:
            yield section
            section, bare = [], True
        section.append(unit)
        bare = bare and unit.level > 0
    if section:
        yield section
