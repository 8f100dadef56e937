"""Which scripts an embedder can read, told by the vocabulary of its tokenizer.

An English model maps every Chinese text to nearly the same vector, and cosines between such vectors
look like any others. The vocabulary gives it away: that of BERT (uncased) has 27,762 pieces in
Latin letters, 488 in Chinese characters and 86 in Cyrillic ones, just enough to spell; a model that
was trained on a script has thousands. Whoever joins cosines with something else weighs them by
`readable_share`.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from typing import Any

from sage.libs.embedding.tokenizer import load_tokenizer

__all__ = ["known_scripts", "readable_share", "share_in"]

_ENOUGH_PIECES = 1000
_WRITTEN_TOGETHER = {"HIRAGANA": "CJK", "KATAKANA": "CJK"}


def readable_share(embedder: Any, text: str) -> float:
    """Return the share of the letters of ``text`` that the embedder was made to read, 0 to 1.

    It is what the embedder's own ``reads(text)`` says, and 1 for one that has no such method.

    Example:
        >>> class EnglishEmbedder:
        ...     def reads(self, text: str) -> float:
        ...         return 1.0 if text.isascii() else 0.0
        >>> readable_share(EnglishEmbedder(), "水"), readable_share(object(), "水")
        (0.0, 1.0)
    """
    reads = getattr(embedder, "reads", None)
    return float(reads(text)) if callable(reads) else 1.0


def share_in(scripts: frozenset[str], text: str) -> float:
    """Return the share of the letters of ``text`` in one of the scripts; 1 if it has no letter.

    Example:
        >>> share_in(frozenset({"LATIN"}), "HTTP 状态")
        0.6666666666666666
    """
    found = [script for letter in text if (script := _script(letter)) is not None]
    return sum(script in scripts for script in found) / len(found) if found else 1.0


@functools.lru_cache(maxsize=8)
def known_scripts(model: str) -> frozenset[str]:
    """Return the scripts of which the model's vocabulary has a thousand pieces or more."""
    pieces = Counter(
        next((script for letter in piece if (script := _script(letter)) is not None), "")
        for piece in load_tokenizer(model).get_vocab()
    )
    return frozenset(
        script for script, count in pieces.items() if script and count >= _ENOUGH_PIECES
    )


@functools.lru_cache(maxsize=1 << 16)
def _script(letter: str) -> str | None:
    """Return the script of a letter as Unicode's name for it begins, None for anything else."""
    if not letter.isalpha():
        return None
    script = unicodedata.name(letter, "").partition(" ")[0]
    return _WRITTEN_TOGETHER.get(script, script)
