"""`CodeChunker`: a chunk is a function, a class, or a method of a class that is too long."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Annotated, Any

from sage.common.config import Meta, configurable
from sage.common.records import Chunk, Document
from sage.libs.documents.chunker import CHUNK_TOKENS, Span, TokenLimit
from sage.libs.documents.definitions import Region, regions_of
from sage.libs.documents.packing import pack
from sage.libs.documents.tokens import Tokenizer, TokenMap
from sage.libs.documents.units import Break, Unit, cut_to_fit, line_spans

__all__ = ["CodeChunker", "language_of"]

# Media types of source code that do not begin as "text/x-LANGUAGE".
_LANGUAGES = {
    "application/javascript": "javascript",
    "application/typescript": "typescript",
    "application/x-sh": "shell",
    "text/css": "css",
    "text/javascript": "javascript",
    "text/typescript": "typescript",
}
_NO_CODE = frozenset({"text/x-markdown", "text/x-rst", "text/x-tex", "text/x-web-markdown"})


def language_of(document: Document) -> str | None:
    """Return the programming language that a document is written in, or None if it is prose.

    Example:
        >>> language_of(Document("x = 1", metadata={"media_type": "text/x-python"}))
        'python'
        >>> language_of(Document("One.", metadata={"media_type": "text/plain"})) is None
        True
    """
    media_type = str(document.metadata.get("media_type", ""))
    if media_type in _LANGUAGES:
        return _LANGUAGES[media_type]
    if media_type.startswith("text/x-") and media_type not in _NO_CODE:
        return media_type.removeprefix("text/x-").removesuffix("src")
    if not media_type and (language := document.metadata.get("language")):
        return str(language)
    return None


@configurable
class CodeChunker:
    """Cuts source code into definitions, each with its decorators and the comments above it.

    Python is parsed; of other languages, and of Python that cannot be parsed, the definitions are
    told by blank lines, indentation and braces. A definition that is too long is cut at those
    inside it, and one without any at blank lines. The metadata of a chunk has the ``definition``
    it begins, such as ``Cache.get``.

    Args:
        chunk_tokens: Most tokens in a chunk.
        language: Of all documents, such as ``python``; by default what their metadata say.
        tokenizer: What counts the tokens; by default the tokenizer of the packaged model.

    Example:
        >>> from sage.libs.documents import WordTokenizer
        >>> code = "import os\\n\\n\\ndef one():\\n    return 1\\n\\n\\nclass Two:\\n    x = 2\\n"
        >>> chunker = CodeChunker(language="python", tokenizer=WordTokenizer())
        >>> for chunk in chunker.chunk(Document(code)):
        ...     print(chunk.metadata.get("definition"), repr(chunk.text))
        None 'import os'
        one 'def one():\\n    return 1'
        Two 'class Two:\\n    x = 2'
    """

    def __init__(
        self,
        *,
        chunk_tokens: Annotated[int, Meta(ge=8)] = CHUNK_TOKENS,
        language: str | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self.language = language
        self._limit = TokenLimit(chunk_tokens, tokenizer)

    def chunk(self, document: Document) -> list[Chunk]:
        """Return the chunks of a document, in order; none if it is blank."""
        return self._limit.chunks(document, self._spans(document))

    def _spans(self, document: Document) -> Iterator[Span]:
        text, limit = document.text, self._limit.limit
        tokens = self._limit.tokens(text)
        language = self.language or language_of(document) or ""
        parts = (
            part for region in regions_of(text, language) for part in self._fitting(region, tokens)
        )
        for name, run in groupby(parts, key=lambda part: part.name):
            # What has no name (imports, constants) is put together as far as it fits.
            facts: dict[str, Any] = {"definition": name} if name else {}
            units = [unit for part in run for unit in self._units(text, tokens, part)]
            for start, end in pack(units, tokens, limit):
                yield Span(start, end, facts)

    def _fitting(self, region: Region, tokens: TokenMap) -> Iterator[Region]:
        """Yield a region, or those inside it as far as it does not fit."""
        if not region.inner or self._limit.limit.fits(tokens, region.start, region.end):
            yield region
            return
        for number, part in enumerate(region.inner):
            named = part if part.name or number else part._replace(name=region.name)
            yield from self._fitting(named, tokens)

    def _units(self, text: str, tokens: TokenMap, region: Region) -> list[Unit]:
        """Return the lines of a region; what follows a blank line is a better place to cut."""
        units: list[Unit] = []
        before = Break.PARAGRAPH
        for start, end in line_spans(text, region.start, region.end):
            units += cut_to_fit(text, tokens, self._limit.limit, Unit(start, end, before))
            blank = not text[start : min(end, start + 200)].strip()
            before = Break.PARAGRAPH if blank else Break.SENTENCE
        return units
