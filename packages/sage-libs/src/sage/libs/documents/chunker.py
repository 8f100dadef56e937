"""What every chunker promises, and how chosen spans become chunks that keep it.

A chunker only chooses where to cut. `TokenLimit` makes chunks of the spans it chose and sees to
three promises, whatever the text: no chunk has more tokens than allowed, counted on the chunk by
itself with the embedder's own tokenizer; ``document.text[start:end] == text``; and every character
that is not blank is in a chunk. Nothing is truncated, nothing is rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from sage.common.errors import ConfigError, Problem
from sage.common.ids import content_id
from sage.common.records import Chunk, Document
from sage.common.registry import registry
from sage.libs.documents.positions import Positions
from sage.libs.documents.tokens import Tokenizer, TokenMap, count_tokens
from sage.libs.documents.units import Limit, best_cut

__all__ = [
    "CHUNK_TOKENS",
    "DEFAULT_CHUNKER",
    "Chunker",
    "Span",
    "TokenLimit",
    "is_markdown",
    "open_chunker",
    "refuse_overlap",
]

DEFAULT_CHUNKER = "auto"
CHUNK_TOKENS = 200

# Prose has four or five characters a token; what has more is data, of which tokens say little.
_CHARACTERS_PER_TOKEN = 16
_CHECKED_AT_ONCE = 256
_NO_FACTS: Mapping[str, Any] = MappingProxyType({})


@runtime_checkable
class Chunker(Protocol):
    """Cuts documents into chunks; its conformance suite is `sage.libs.documents.testing`.

    Chunks come in the order of their starts and tile the text: what is between them is blank, and
    they overlap only where that was asked for. Work is linear in the text.
    """

    def chunk(self, document: Document) -> list[Chunk]:
        """Return the chunks of a document, in order; none if it is blank."""
        ...


def open_chunker(
    name: str = DEFAULT_CHUNKER,
    *,
    chunk_tokens: int = CHUNK_TOKENS,
    tokenizer: Tokenizer | None = None,
) -> Chunker:
    """Return the chunker of that name.

    Args:
        name: A name of the registry ``chunkers``: ``auto`` (by the kind of document), ``token``,
            ``sentence``, ``heading``, ``code``, ``fixed``, ``recursive`` or ``semantic``.
        chunk_tokens: Most tokens in a chunk.
        tokenizer: What counts the tokens; by default the tokenizer of the packaged model.

    Raises:
        UnknownNameError: if there is no such chunker.
        ConfigError: if ``chunk_tokens`` is too small.

    Example:
        >>> from sage.libs.documents import WordTokenizer
        >>> chunker = open_chunker("fixed", chunk_tokens=8, tokenizer=WordTokenizer())
        >>> [chunk.text for chunk in chunker.chunk(Document("1 2 3 4 5 6 7 8 9"))]
        ['1 2 3 4 5 6 7 8', '9']
    """
    make = registry("chunkers").get(name)
    return cast(Chunker, make(chunk_tokens=chunk_tokens, tokenizer=tokenizer))


class Span(NamedTuple):
    """Where a chunk is to be, blanks around it included, and what is known of it."""

    start: int
    end: int
    facts: Mapping[str, Any] = _NO_FACTS


class TokenLimit:
    """Counts tokens for a chunker, and makes chunks of the spans that it chose.

    Args:
        chunk_tokens: Most tokens in a chunk.
        tokenizer: What counts the tokens; by default the tokenizer of the packaged model, which is
            loaded at the first document.
    """

    def __init__(self, chunk_tokens: int, tokenizer: Tokenizer | None) -> None:
        self.chunk_tokens = chunk_tokens
        self.limit = Limit(chunk_tokens, chunk_tokens * _CHARACTERS_PER_TOKEN)
        self._tokenizer = tokenizer

    @property
    def tokenizer(self) -> Tokenizer:
        """What counts the tokens.

        Raises:
            MissingWeightsError: if none was given and the packaged model is not installed.
        """
        if self._tokenizer is None:
            from sage.libs.embedding.tokenizer import load_tokenizer

            self._tokenizer = load_tokenizer()
        return self._tokenizer

    def tokens(self, text: str) -> TokenMap:
        """Return where the tokens of a text begin."""
        return TokenMap(self.tokenizer, text)

    def chunks(self, document: Document, spans: Iterable[Span]) -> list[Chunk]:
        """Return the chunks at these spans: trimmed, and in halves where one is too long.

        Each has in its metadata the ``line`` or ``page`` where it begins and the span's facts.
        A span that overlaps so much that it says nothing new is left out.

        Args:
            document: What is cut.
            spans: In order; what is in none of them is blank.
        """
        if not document.text.strip():
            return []
        positions = Positions(document)
        return [
            Chunk(
                document.text[start:end],
                chunk_id=content_id(document.doc_id, str(start), str(end)),
                doc_id=document.doc_id,
                start=start,
                end=end,
                source=document.source,
                metadata={**positions.at(start), **facts},
            )
            for start, end, facts in _advancing(document.text, self._checked(document.text, spans))
        ]

    def _checked(self, text: str, spans: Iterable[Span]) -> Iterator[Span]:
        """Trim the spans, and cut those that have more tokens by themselves than in the text.

        Most tokenizers part words first, so that there are none; a cut inside a word, or a
        tokenizer that looks across blanks, can make one.
        """
        group: list[Span] = []
        for span in spans:
            trimmed = _trimmed(text, span)
            if trimmed is not None:
                group.append(trimmed)
            if len(group) == _CHECKED_AT_ONCE:
                yield from self._fitting(text, group)
                group = []
        yield from self._fitting(text, group)

    def _fitting(self, text: str, spans: list[Span]) -> Iterator[Span]:
        counts = count_tokens(self.tokenizer, [text[start:end] for start, end, _ in spans])
        for span, count in zip(spans, counts, strict=True):
            start, end, facts = span
            if count <= self.chunk_tokens or end - start == 1:
                yield span
                continue
            middle = (start + end + 1) // 2
            cut = best_cut(text, None, (start + middle + 1) // 2, middle)
            halves = (_trimmed(text, Span(*half, facts)) for half in ((start, cut), (cut, end)))
            yield from self._fitting(text, [half for half in halves if half])


def _advancing(text: str, spans: Iterator[Span]) -> Iterator[Span]:
    """Yield spans of which each begins and ends behind the one before.

    Overlapping ones may not, once the blanks around them are gone or one is in halves.
    """
    last = Span(-1, 0)
    for span in spans:
        if span.end <= last.end:
            continue
        new = span if span.start > last.start else _trimmed(text, span._replace(start=last.end))
        if new is not None:
            yield new
            last = new


def _trimmed(text: str, span: Span) -> Span | None:
    """Return the span without the blanks around it, or None if it is blank."""
    piece = text[span.start : span.end]
    stripped = piece.lstrip()
    if not stripped:
        return None
    start = span.end - len(stripped)
    return Span(start, start + len(stripped.rstrip()), span.facts)


def refuse_overlap(chunker: str, size: tuple[str, int], overlap: tuple[str, int]) -> None:
    """Refuse chunks that mostly repeat the one before.

    Args:
        chunker: The class, for the error.
        size: Option and value of how much is in a chunk.
        overlap: Option and value of how much of it is repeated.

    Raises:
        ConfigError: if the overlap is more than half a chunk.
    """
    if overlap[1] * 2 > size[1]:
        message = f"must be at most half of {size[0]} ({size[1]}), got {overlap[1]}"
        raise ConfigError(chunker, [Problem(f"$.{overlap[0]}", message)])


def is_markdown(document: Document) -> bool:
    """Say whether headings and code fences mean something in a document.

    They do in Markdown and in what loaders write as such (HTML, Office files), not in plain text,
    in tables and in code, where ``#`` may begin anything.
    """
    media_type = document.metadata.get("media_type", "text/markdown")
    return media_type in ("text/markdown", "text/html") or "officedocument" in str(media_type)
