"""Joins rankings of the same things, such as a dense and a lexical one, into one.

What is ranked may be anything hashable; usually it is the ids of passages.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from sage.common.errors import ConfigError, Problem

__all__ = ["reciprocal_rank", "weighted"]

T = TypeVar("T", bound=Hashable)


def reciprocal_rank(
    rankings: Sequence[Sequence[T]], k: float = 60, *, weights: Sequence[float] | None = None
) -> list[tuple[T, float]]:
    """Join rankings by place alone: each place gives ``weight / (k + place)``, places from 1.

    Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion" (SIGIR 2009). Scores of different kinds
    need not be comparable.

    Args:
        rankings: Items, best first; what one ranking does not hold gets nothing from it.
        k: How little the first places stand out.
        weights: One for each ranking; all 1 by default.

    Returns:
        Items with their scores, best first; of equals, the one that was met first.

    Raises:
        ConfigError: if there are not as many weights as rankings.

    Example:
        >>> [item for item, score in reciprocal_rank([["a", "b", "c"], ["c", "b", "d"]])]
        ['c', 'b', 'a', 'd']
    """
    scores: dict[T, float] = {}
    for ranking, weight in zip(rankings, _weights(weights, len(rankings)), strict=True):
        for place, item in enumerate(dict.fromkeys(ranking), start=1):
            scores[item] = scores.get(item, 0.0) + weight / (k + place)
    return _best_first(scores)


def weighted(
    rankings: Sequence[Mapping[T, float]], *, weights: Sequence[float] | None = None
) -> list[tuple[T, float]]:
    """Join rankings by their scores, each brought to 0..1 by its own smallest and largest.

    Args:
        rankings: Scores by item, more is better; what one does not hold gets 0 from it.
        weights: One for each ranking; equal ones by default.

    Returns:
        Items with the weighted mean of their scores, best first.

    Raises:
        ConfigError: if there are not as many weights as rankings, or their sum is not positive.

    Example:
        >>> weighted([{"a": 9.0, "b": 5.0, "c": 1.0}, {"b": 0.8, "c": 0.4}], weights=[1, 3])
        [('b', 0.875), ('a', 0.25), ('c', 0.0)]
    """
    shares = _weights(weights, len(rankings))
    total = sum(shares)
    if rankings and total <= 0:
        raise ConfigError("fusion", [Problem("$.weights", f"must add up to more than 0: {shares}")])
    scores: dict[T, float] = {}
    for ranking, share in zip(rankings, shares, strict=True):
        low, high = min(ranking.values(), default=0.0), max(ranking.values(), default=0.0)
        for item, score in ranking.items():
            # A ranking in which all are equal tells nothing against any of them.
            place = (score - low) / (high - low) if high > low else 1.0
            scores[item] = scores.get(item, 0.0) + place * share / total
    return _best_first(scores)


def _weights(weights: Sequence[float] | None, rankings: int) -> list[float]:
    if weights is None:
        return [1.0] * rankings
    if len(weights) != rankings:
        message = f"expected {rankings}, one for each ranking, got {len(weights)}"
        raise ConfigError("fusion", [Problem("$.weights", message)])
    return list(weights)


def _best_first(scores: Mapping[T, float]) -> list[tuple[T, float]]:
    return sorted(scores.items(), key=lambda pair: -pair[1])
