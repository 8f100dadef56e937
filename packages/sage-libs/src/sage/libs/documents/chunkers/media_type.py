"""`MediaTypeChunker`: the chunker that suits the kind of document."""

from __future__ import annotations

from typing import Annotated

from sage.common.config import Meta, configurable
from sage.common.records import Chunk, Document
from sage.libs.documents.chunker import CHUNK_TOKENS
from sage.libs.documents.chunkers.code import CodeChunker, language_of
from sage.libs.documents.chunkers.token import TokenChunker
from sage.libs.documents.tokens import Tokenizer

__all__ = ["MediaTypeChunker"]


@configurable
class MediaTypeChunker:
    """Cuts source code by its definitions and everything else as prose; what indexing uses.

    Args:
        chunk_tokens: Most tokens in a chunk.
        tokenizer: What counts the tokens; by default the tokenizer of the packaged model.

    Example:
        >>> from sage.libs.documents import WordTokenizer
        >>> chunker = MediaTypeChunker(tokenizer=WordTokenizer())
        >>> code = "def one():\\n    return 1\\n\\n\\ndef two():\\n    return 2\\n"
        >>> [c.text for c in chunker.chunk(Document(code, metadata={"language": "python"}))]
        ['def one():\\n    return 1', 'def two():\\n    return 2']
        >>> [c.text for c in chunker.chunk(Document("One. Two."))]
        ['One. Two.']
    """

    def __init__(
        self,
        *,
        chunk_tokens: Annotated[int, Meta(ge=8)] = CHUNK_TOKENS,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self._prose = TokenChunker(chunk_tokens=chunk_tokens, tokenizer=tokenizer)
        self._code = CodeChunker(chunk_tokens=chunk_tokens, tokenizer=tokenizer)

    def chunk(self, document: Document) -> list[Chunk]:
        """Return the chunks of a document, in order; none if it is blank."""
        chunker = self._prose if language_of(document) is None else self._code
        return chunker.chunk(document)
