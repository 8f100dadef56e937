"""Where the tokens of a text begin, counted by any tokenizer, in time linear in the text."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

__all__ = ["CharacterTokenizer", "TokenMap", "Tokenizer", "WordTokenizer", "count_tokens"]

_WINDOW = 1 << 15
_WINDOWS_AT_ONCE = 16


class Tokenizer(Protocol):
    """What counts tokens: a ``tokenizers.Tokenizer``, or anything with its ``encode``."""

    def encode(self, sequence: str, *, add_special_tokens: bool = True) -> Any:
        """Return an object whose ``offsets`` are the ``(start, end)`` of the tokens."""


class _Encoding(NamedTuple):
    offsets: list[tuple[int, int]]


class WordTokenizer:
    """Counts words, punctuation marks and Chinese characters; for tests and models without one.

    Example:
        >>> len(WordTokenizer().encode("Water boils. 水沸").offsets)
        5
    """

    _TOKEN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W\u3400-\u9fff\uf900-\ufaff]+|[^\w\s]")

    def encode(self, sequence: str, *, add_special_tokens: bool = True) -> _Encoding:
        """Return the spans of the words; there are no special tokens."""
        return _Encoding([match.span() for match in self._TOKEN.finditer(sequence)])


class CharacterTokenizer:
    """Counts characters: to a chunker that is given it, a limit in tokens is one in characters.

    Example:
        >>> len(CharacterTokenizer().encode("水 boils").offsets)
        7
    """

    def encode(self, sequence: str, *, add_special_tokens: bool = True) -> _Encoding:
        """Return the spans of the characters."""
        return _Encoding([(start, start + 1) for start in range(len(sequence))])


class TokenMap:
    """The tokens of one text.

    It is encoded in windows that end at blanks, because tokenizers need memory for every token of
    what they are given.

    Args:
        tokenizer: What counts.
        text: The text.
    """

    def __init__(self, tokenizer: Tokenizer, text: str) -> None:
        self.starts = array("q")
        self.ends = array("q")
        group: list[tuple[int, int]] = []
        for window in _windows(text):
            group.append(window)
            if len(group) == _WINDOWS_AT_ONCE:
                self._add(tokenizer, text, group)
                group = []
        self._add(tokenizer, text, group)

    def _add(self, tokenizer: Tokenizer, text: str, windows: list[tuple[int, int]]) -> None:
        encoded = _encoded(tokenizer, [text[start:end] for start, end in windows])
        for (start, _), offsets in zip(windows, encoded, strict=True):
            self.starts.extend(start + token[0] for token in offsets)
            self.ends.extend(start + token[1] for token in offsets)

    def index(self, offset: int) -> int:
        """Return how many tokens begin before an offset."""
        return bisect_left(self.starts, offset)

    def count(self, start: int, end: int) -> int:
        """Return how many tokens begin in ``text[start:end]``."""
        return self.index(end) - self.index(start)


def count_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Return how many tokens each text has when it is encoded by itself."""
    return [len(offsets) for offsets in _encoded(tokenizer, texts)]


def _encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Sequence[tuple[int, int]]]:
    if not texts:
        return []
    batch = getattr(tokenizer, "encode_batch", None)
    if batch is None:
        encoded = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    else:
        encoded = batch(list(texts), add_special_tokens=False)
    return [encoding.offsets for encoding in encoded]


def _windows(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = start + _WINDOW
        if end < len(text):
            earliest = start + _WINDOW // 2
            cut = max(text.rfind("\n", earliest, end), text.rfind(" ", earliest, end))
            end = cut + 1 if cut > 0 else end
        yield start, min(end, len(text))
        start = end
