"""Cuts a text into the terms that BM25 counts.

Words are lower-cased and stemmed (Snowball English), frequent English words are left out. Chinese,
Japanese and Korean are written without (or with other) spaces: each pair of neighbouring
characters is a term there, which needs no dictionary.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["STOPWORDS", "Terms"]

# The 33 words that Lucene leaves out of English.
STOPWORDS: Final = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then "  # noqa: SIM905
    "there these they this to was will with".split()
)
_CJK: Final = (
    "\u3040-\u30ff"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\uac00-\ud7af"  # Hangul syllables
    "\U00020000-\U0003ffff"  # Han, rare
)
_RUN: Final = re.compile(rf"([{_CJK}]+)|(?:(?![{_CJK}])\w)+")


class Terms:
    """Makes terms of texts; remembers the stem of each word it has seen.

    Example:
        >>> terms = Terms()
        >>> terms("The running of 3 streams, 水在沸腾")
        ['run', '3', 'stream', '水在', '在沸', '沸腾']
    """

    def __init__(self) -> None:
        import Stemmer

        self._stem = Stemmer.Stemmer("english", 0).stemWord  # our dict is the faster cache
        self._stems: dict[str, str] = {}

    def __call__(self, text: str) -> list[str]:
        """Return the terms of a text, in order, with repetitions."""
        terms: list[str] = []
        for run in _RUN.finditer(unicodedata.normalize("NFKC", text).lower()):
            if run[1]:
                terms.extend(_bigrams(run[1]))
            elif run[0] not in STOPWORDS:
                terms.append(self._stems.get(run[0]) or self._stemmed(run[0]))
        return terms

    def _stemmed(self, word: str) -> str:
        stem = self._stems[word] = self._stem(word) or word
        return stem


def _bigrams(run: str) -> list[str]:
    return [run[n : n + 2] for n in range(len(run) - 1)] or [run]
