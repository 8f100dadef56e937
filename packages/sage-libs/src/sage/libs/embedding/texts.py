"""What every embedder asks of the texts it is given, asked in one place.

Afterwards a list of strings is one indeed, and each of them can be encoded as UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence

from sage.common.errors import DataError

__all__ = ["checked_texts"]


def checked_texts(texts: Sequence[str]) -> list[str]:
    """Return the texts as a list, with lone surrogates replaced by ``?``.

    A lone surrogate cannot be encoded as UTF-8, which tokenizers and endpoints do with every text.

    Raises:
        DataError: if it is one text in place of a list, or one of them is not a string.

    Example:
        >>> checked_texts(("whole", "half \\ud800"))
        ['whole', 'half ?']
    """
    if isinstance(texts, str | bytes):
        raise DataError("expected a list of texts, got one text", hint="embed([text])")
    for text in texts:
        if not isinstance(text, str):
            raise DataError(f"expected texts, got {type(text).__name__}: {text!r:.100}")
    return [t if t.isascii() else t.encode("utf-8", "replace").decode("utf-8") for t in texts]
