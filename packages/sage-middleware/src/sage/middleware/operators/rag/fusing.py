"""Joins rankings of passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from sage.common.records import Passage
from sage.libs.fusion import reciprocal_rank, weighted
from sage.middleware.operators.rag.retrieving import passage_key

__all__ = ["fused"]


def fused(
    rankings: Sequence[Sequence[Passage]],
    method: Literal["rrf", "weighted"],
    *,
    weights: Sequence[float] | None = None,
) -> list[Passage]:
    """Return the passages of all rankings, each once, best first, with their joined scores.

    Args:
        rankings: Passages, best first.
        method: ``rrf`` joins by reciprocal rank, ``weighted`` averages min-max scaled scores.
        weights: One for each ranking; equal ones by default.

    Example:
        >>> a, b, c = (Passage(text, text) for text in "abc")
        >>> [p.text for p in fused([[a, b, c], [c, b]], "rrf")]
        ['c', 'b', 'a']
    """
    passages: dict[str, Passage] = {}
    for ranking in rankings:
        for passage in ranking:
            passages.setdefault(passage_key(passage), passage)
    if method == "rrf":
        places = [[passage_key(p) for p in ranking] for ranking in rankings]
        joined = reciprocal_rank(places, weights=weights)
    else:
        scores = [{passage_key(p): p.score for p in ranking} for ranking in rankings]
        joined = weighted(scores, weights=weights)
    return [replace(passages[identity], score=score) for identity, score in joined]
