"""`TokenChunker`: cuts a document into pieces that the embedder reads whole.

Three promises hold whatever the text: no chunk has more tokens than allowed, counted on the chunk
by itself with the embedder's own tokenizer; ``document.text[start:end] == text``; and every
character that is not blank is in a chunk. Nothing is truncated, nothing is rewritten.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from sage.common.config import Meta, configurable
from sage.common.errors import ConfigError, Problem
from sage.common.ids import content_id
from sage.common.records import Chunk, Document
from sage.libs.documents.positions import Positions
from sage.libs.documents.tokens import Tokenizer, TokenMap, count_tokens
from sage.libs.documents.units import Break, Limit, Unit, best_cut, units_of

__all__ = ["TokenChunker", "Tokenizer"]

# Prose has four or five characters a token; what has more is data, of which tokens say little.
_CHARACTERS_PER_TOKEN = 16
_CHECKED_AT_ONCE = 256


@configurable
class TokenChunker:
    """Cuts documents at headings, then paragraphs, then sentences, and only then at words.

    A chunk never spans two sections, a code fence that fits stays whole, and where a section needs
    several chunks each repeats the last sentences of the one before. Time and memory are linear in
    the text, also for a single line of any length.

    Args:
        chunk_tokens: Most tokens in a chunk.
        overlap_tokens: Most tokens that a chunk repeats of the one before; at most half a chunk.
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
        chunk_tokens: Annotated[int, Meta(ge=8)] = 200,
        overlap_tokens: Annotated[int, Meta(ge=0)] = 40,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        if overlap_tokens * 2 > chunk_tokens:
            raise ConfigError(
                "TokenChunker",
                [
                    Problem(
                        "$.overlap_tokens",
                        f"must be at most half of chunk_tokens ({chunk_tokens}), "
                        f"got {overlap_tokens}",
                    )
                ],
            )
        self.chunk_tokens = chunk_tokens
        self.overlap_tokens = overlap_tokens
        self._tokenizer = tokenizer
        self._limit = Limit(chunk_tokens, chunk_tokens * _CHARACTERS_PER_TOKEN)

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

    def chunk(self, document: Document) -> list[Chunk]:
        """Return the chunks of a document, in order; none if it is blank.

        Each has in its metadata the ``line`` or ``page`` where it begins and, below a heading, the
        path of headings as ``"Chapter > Section"``.
        """
        if not document.text.strip():
            return []
        positions = Positions(document)
        chunks = []
        for start, end, heading in self._checked(document.text, self._spans(document)):
            metadata: dict[str, Any] = positions.at(start)
            if heading:
                metadata["heading"] = heading
            chunks.append(
                Chunk(
                    document.text[start:end],
                    chunk_id=content_id(document.doc_id, str(start), str(end)),
                    doc_id=document.doc_id,
                    start=start,
                    end=end,
                    source=document.source,
                    metadata=metadata,
                )
            )
        return chunks

    def _spans(self, document: Document) -> Iterator[tuple[int, int, str]]:
        """Yield start, end and heading of each chunk, going by the tokens of the whole text."""
        text = document.text
        tokens = TokenMap(self.tokenizer, text)
        markdown = document.metadata.get("media_type") not in ("text/plain", "application/pdf")
        path: list[tuple[int, str]] = []
        for section in _sections(units_of(text, tokens, self._limit, markdown=markdown)):
            for unit in section:
                if unit.before is Break.HEADING:
                    path = [(level, title) for level, title in path if level < unit.level]
                    path.append((unit.level, unit.title))
            heading = " > ".join(title for _, title in path if title)
            for start, end in self._packed(section, tokens):
                yield start, end, heading

    def _packed(self, section: list[Unit], tokens: TokenMap) -> Iterator[tuple[int, int]]:
        """Pack the units of a section into chunks, each as full as good places to cut allow."""
        first = 0  # the first unit that is in no chunk yet
        while first < len(section):
            start = section[self._overlap(section, tokens, first)].start
            end = first + 1
            while end < len(section) and self._limit.fits(tokens, start, section[end].end):
                end += 1
            if end < len(section):
                end = self._better_end(section, tokens, start, first, end)
            yield start, section[end - 1].end
            first = end

    def _overlap(self, section: list[Unit], tokens: TokenMap, first: int) -> int:
        """Return the unit at which the chunk begins whose first new unit is ``first``."""
        chosen = unit = first
        end = section[first].start
        while unit > 0 and tokens.count(section[unit - 1].start, end) <= self.overlap_tokens:
            unit -= 1
            if not self._limit.fits(tokens, section[unit].start, section[first].end):
                break
            if section[unit].before is not Break.WORD:
                chosen = unit
        # Repeating all of the chunk before says nothing new, and can happen with short ones only.
        return chosen if chosen > 0 or first == 0 else first

    def _better_end(
        self, section: list[Unit], tokens: TokenMap, start: int, first: int, end: int
    ) -> int:
        """Return the last end at a paragraph that leaves the chunk at least half full."""
        for candidate in range(end, first, -1):
            if tokens.count(start, section[candidate].start) * 2 < self.chunk_tokens:
                break
            if section[candidate].before >= Break.PARAGRAPH:
                return candidate
        return end

    def _checked(
        self, text: str, spans: Iterator[tuple[int, int, str]]
    ) -> Iterator[tuple[int, int, str]]:
        """Trim the chunks, and cut those that have more tokens by themselves than in the text.

        Most tokenizers part words first, so that there are none; a cut inside a word, or a
        tokenizer that looks across blanks, can make one.
        """
        group: list[tuple[int, int, str]] = []
        for start, end, heading in spans:
            trimmed = _trimmed(text, start, end)
            if trimmed is not None:
                group.append((*trimmed, heading))
            if len(group) == _CHECKED_AT_ONCE:
                yield from self._fitting(text, group)
                group = []
        yield from self._fitting(text, group)

    def _fitting(
        self, text: str, spans: list[tuple[int, int, str]]
    ) -> Iterator[tuple[int, int, str]]:
        counts = count_tokens(self.tokenizer, [text[start:end] for start, end, _ in spans])
        for (start, end, heading), count in zip(spans, counts, strict=True):
            if count <= self.chunk_tokens or end - start == 1:
                yield start, end, heading
                continue
            middle = (start + end + 1) // 2
            cut = best_cut(text, None, (start + middle + 1) // 2, middle)
            halves = [_trimmed(text, start, cut), _trimmed(text, cut, end)]
            yield from self._fitting(text, [(*half, heading) for half in halves if half])


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


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the span without the blanks around it, or None if it is blank."""
    piece = text[start:end]
    stripped = piece.lstrip()
    if not stripped:
        return None
    start = end - len(stripped)
    return start, start + len(stripped.rstrip())
