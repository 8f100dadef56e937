"""Finds texts by their words: BM25 with English stemming and CJK bigrams.

Layout: ``bm25.py`` the index, ``terms.py`` what counts as a word.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.libs.lexical.bm25 import Bm25Index
    from sage.libs.lexical.terms import Terms

__all__ = ["Bm25Index", "Terms"]

_HOME = {"Bm25Index": "bm25", "Terms": "terms"}


def __getattr__(name: str) -> Any:
    """Import a re-export on first use: bm25s brings numpy."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
