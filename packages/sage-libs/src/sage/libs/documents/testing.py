"""Conformance checks: what every chunker must do, as functions that any test can call.

In a test of the chunker::

    def test_it_is_a_chunker():
        check_chunker(lambda size, tokenizer: MyChunker(chunk_tokens=size, tokenizer=tokenizer))

and, with hypothesis, `check_chunks` for any text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from sage.common.records import Chunk, Document
from sage.libs.documents.chunker import Chunker
from sage.libs.documents.tokens import Tokenizer, WordTokenizer, count_tokens

__all__ = ["TEXTS", "check_chunker", "check_chunks"]

TEXTS: Final[Mapping[str, str]] = {
    "empty": "",
    "blank": " \n\t\n ",
    "English": "Water boils at 100 degrees. It freezes at 0. " * 12,
    "Chinese": "水在一百度沸腾。冰在零度融化！" * 12,
    "mixed": "# Water 水\n\nWater (水) boils. 水在一百度沸腾。\n\n## Ice\n\n```\na = 1\n```\n" * 5,
    "one word": "x" * 3000,
    "code": "import os\n\n\n@cache\ndef f(x):\n    return x\n\n\nclass C:\n    def g(self):\n" * 8,
    "surrogates and nulls": "a\ud800b \x00 c\u2028d. " * 20,
}


def check_chunker(make: Callable[[int, Tokenizer], Chunker], *, overlapping: bool = False) -> None:
    """Check a chunker with the texts of this module.

    Args:
        make: Gives one for a number of tokens and a tokenizer.
        overlapping: Whether a chunk may repeat the end of the one before.

    Raises:
        AssertionError: naming the text and what is wrong.
    """
    tokenizer = WordTokenizer()
    for name, text in TEXTS.items():
        for size in (8, 50):
            document = Document(text, "d", "s", {"media_type": "text/markdown"})
            chunker = make(size, tokenizer)
            assert isinstance(chunker, Chunker), f"{type(chunker).__name__} has no chunk()"
            chunks = chunker.chunk(document)
            check_chunks(document, chunks, tokenizer, size, overlapping=overlapping, what=name)
            assert chunker.chunk(document) == chunks, f"{name}: cut differently the second time"


def check_chunks(
    document: Document,
    chunks: Sequence[Chunk],
    tokenizer: Tokenizer,
    chunk_tokens: int,
    *,
    overlapping: bool = False,
    what: str = "",
) -> None:
    """Check that chunks tile their document, with exact offsets, and that each fits.

    Args:
        document: What was cut.
        chunks: What came of it.
        tokenizer: What counts.
        chunk_tokens: Most tokens in a chunk.
        overlapping: Whether a chunk may repeat the end of the one before.
        what: Named in the error.

    Raises:
        AssertionError: saying what is wrong.
    """
    text, end = document.text, 0
    for chunk in chunks:
        assert text[chunk.start : chunk.end] == chunk.text, f"{what}: offsets of {chunk!r}"
        assert chunk.text.strip() == chunk.text != "", f"{what}: blanks around {chunk.text!r}"
        assert (chunk.doc_id, chunk.source) == (document.doc_id, document.source), what
        lost = text[end : chunk.start].strip()
        assert not lost, f"{what}: in no chunk: {lost!r:.100}"
        end = chunk.end
    assert not text[end:].strip(), f"{what}: in no chunk: {text[end:]!r:.100}"
    for one, other in pairwise(chunks):
        assert one.start < other.start, f"{what}: {other!r} does not begin behind {one!r}"
        assert one.end < other.end, f"{what}: {other!r} says nothing new after {one!r}"
        assert overlapping or one.end <= other.start, f"{what}: {other!r} overlaps {one!r}"
    counts = count_tokens(tokenizer, [chunk.text for chunk in chunks])
    for chunk, count in zip(chunks, counts, strict=True):
        fits = count <= chunk_tokens or chunk.end - chunk.start == 1
        assert fits, f"{what}: {count} tokens in {chunk.text!r:.200}"
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks), f"{what}: ids are not unique"
    _check_positions(chunks, what)


def _check_positions(chunks: Sequence[Chunk], what: str) -> None:
    lines: list[Any] = [chunk.metadata.get("line") for chunk in chunks]
    known = [line for line in lines if line is not None]
    assert known == sorted(known), f"{what}: lines go backwards: {known}"
