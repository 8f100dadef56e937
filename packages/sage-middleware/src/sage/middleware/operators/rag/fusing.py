"""Joins rankings of passages."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Literal

from sage.common.records import Passage
from sage.libs.fusion import reciprocal_rank, weighted

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
    passages: dict[Hashable, Passage] = {}
    for ranking in rankings:
        for passage in ranking:
            passages.setdefault(_identity(passage), passage)
    if method == "rrf":
        places = [[_identity(p) for p in ranking] for ranking in rankings]
        joined = reciprocal_rank(places, weights=weights)
    else:
        scores = [{_identity(p): p.score for p in ranking} for ranking in rankings]
        joined = weighted(scores, weights=weights)
    return [replace(passages[identity], score=score) for identity, score in joined]


def _identity(passage: Passage) -> Hashable:
    """What makes two passages the same: the id where there is one, else document and text."""
    return passage.passage_id or (passage.doc_id, passage.text)
