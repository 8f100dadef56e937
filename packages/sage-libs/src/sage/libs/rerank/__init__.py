"""Reads the passages that a search has found once more, together with the question.

A first stage compares vectors that were made before the question was known; a reranker looks at
question and passage at once, which costs too much for all passages and pays for the best ones.

Layout::

    reranker.py           the Reranker protocol, `rerank`: join its scores with the first stage's
    late_interaction.py   LateInteractionReranker: MaxSim over the embedder's token vectors, offline
    token_cache.py        token vectors of passages, bounded in memory
    cross_encoder.py      CrossEncoderReranker: a cross-encoder of your choice, needs torch
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.libs.rerank.cross_encoder import CrossEncoderReranker
    from sage.libs.rerank.late_interaction import LateInteractionReranker
    from sage.libs.rerank.reranker import Reranker, load_reranker, rerank
    from sage.libs.rerank.token_cache import TokenCache

__all__ = [
    "CrossEncoderReranker",
    "LateInteractionReranker",
    "Reranker",
    "TokenCache",
    "load_reranker",
    "rerank",
]

_HOME = {
    "CrossEncoderReranker": "cross_encoder",
    "LateInteractionReranker": "late_interaction",
    "Reranker": "reranker",
    "TokenCache": "token_cache",
    "load_reranker": "reranker",
    "rerank": "reranker",
}


def __getattr__(name: str) -> Any:
    """Import a re-export on first use: numpy and the rest load only when they are needed."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
