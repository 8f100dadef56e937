"""Measures of a ranking against what people judged relevant, for one query each.

The mean over queries is what is published; `bootstrap_interval` says how far it can be trusted.
All measures are 0 to 1, more is better, and agree with trec_eval on rankings without ties, which is
what BEIR and Anserini report: the gain of an item is its grade itself, and items that were not
judged count as not relevant.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sage.common.errors import ConfigError, DataError, Problem

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "Interval",
    "average_precision",
    "bootstrap_difference",
    "bootstrap_interval",
    "ndcg_at_k",
    "recall_at_k",
    "reciprocal_rank",
]

T = TypeVar("T", bound=Hashable)
Grades = Mapping[T, float]

# Drawn at once when resampling: bounds the memory whatever the number of queries.
_DRAWS_AT_ONCE: Final = 1 << 20


def ndcg_at_k(ranked: Sequence[T], grades: Grades[T], k: int = 10) -> float:
    """Return the normalised discounted cumulative gain of the first ``k`` places.

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (TOIS 2002), with
    the grade as gain and ``1 / log2(1 + place)`` as discount: trec_eval's ``ndcg_cut``.

    Args:
        ranked: Items, best first, none twice.
        grades: How relevant items are; 0 and below is not relevant.
        k: How many places count.

    Raises:
        DataError: if nothing is relevant, or an item is ranked twice.
        ConfigError: if ``k`` is less than 1.

    Example:
        >>> round(ndcg_at_k(["b", "a"], {"a": 1}), 3)
        0.631
    """
    relevant = _relevant(ranked, grades)
    gains = [relevant.get(item, 0.0) for item in ranked[: _places(k)]]
    return _discounted(gains) / _discounted(sorted(relevant.values(), reverse=True)[:k])


def recall_at_k(ranked: Sequence[T], grades: Grades[T], k: int) -> float:
    """Return the share of the relevant items that is among the first ``k``.

    Args:
        ranked: As for `ndcg_at_k`.
        grades: As for `ndcg_at_k`.
        k: How many places count.

    Raises:
        DataError: if nothing is relevant, or an item is ranked twice.
        ConfigError: if ``k`` is less than 1.

    Example:
        >>> recall_at_k(["a", "x", "b"], {"a": 1, "b": 1}, k=2)
        0.5
    """
    relevant = _relevant(ranked, grades)
    return sum(item in relevant for item in ranked[: _places(k)]) / len(relevant)


def reciprocal_rank(ranked: Sequence[T], grades: Grades[T], k: int | None = None) -> float:
    """Return 1 / place of the first relevant item, or 0 if there is none.

    Its mean over queries is the MRR of Voorhees, "The TREC-8 Question Answering Track Report"
    (1999).

    Args:
        ranked: As for `ndcg_at_k`.
        grades: As for `ndcg_at_k`.
        k: How many places count; None for all.

    Raises:
        DataError: if nothing is relevant, or an item is ranked twice.
        ConfigError: if ``k`` is less than 1.

    Example:
        >>> reciprocal_rank(["x", "a", "b"], {"a": 1, "b": 1})
        0.5
    """
    relevant = _relevant(ranked, grades)
    counted = ranked if k is None else ranked[: _places(k)]
    return next((1 / n for n, item in enumerate(counted, start=1) if item in relevant), 0.0)


def average_precision(ranked: Sequence[T], grades: Grades[T], k: int | None = None) -> float:
    """Return the mean of the precision at each relevant item; one that is missing counts 0.

    Its mean over queries is the MAP of Buckley and Voorhees, "Retrieval System Evaluation" (TREC,
    2005).

    Args:
        ranked: As for `ndcg_at_k`.
        grades: As for `ndcg_at_k`.
        k: How many places count; None for all.

    Raises:
        DataError: if nothing is relevant, or an item is ranked twice.
        ConfigError: if ``k`` is less than 1.

    Example:
        >>> average_precision(["a", "x", "b", "y"], {"a": 1, "b": 1})
        0.8333333333333333
    """
    relevant = _relevant(ranked, grades)
    counted = ranked if k is None else ranked[: _places(k)]
    places = [n for n, item in enumerate(counted, start=1) if item in relevant]
    return sum(found / place for found, place in enumerate(places, start=1)) / len(relevant)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over queries, and the interval that would hold it if other queries had been drawn.

    Attributes:
        mean: The mean of what was measured.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is outside: of a difference, that it is not mere luck of the queries."""
        return self.low > 0 or self.high < 0


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Return the mean of a measure over queries with its bootstrap interval.

    The percentile bootstrap of Efron and Tibshirani, "An Introduction to the Bootstrap" (1993),
    with queries as the units: as many queries are drawn again, with replacement, and the middle
    ``confidence`` of the means so found is the interval. The same seed gives the same interval.

    Args:
        values: The measure, one for each query.
        confidence: Share of the resampled means that the interval holds, between 0 and 1.
        resamples: How often to draw.
        seed: For the random draws.

    Raises:
        DataError: if there are no values, or one is not finite.
        ConfigError: if ``confidence`` or ``resamples`` is out of range.

    Example:
        >>> found = bootstrap_interval([0.0, 1.0] * 50)
        >>> found.mean, round(found.low, 1), round(found.high, 1)
        (0.5, 0.4, 0.6)
    """
    import numpy as np

    measured = np.asarray(values, dtype=np.float64)
    if measured.ndim != 1 or not len(measured) or not np.isfinite(measured).all():
        raise DataError(f"expected one finite value for each query, got {values!r:.100}")
    problems = []
    if not 0 < confidence < 1:
        problems.append(Problem("$.confidence", f"expected between 0 and 1, got {confidence!r}"))
    if resamples < 1:
        problems.append(Problem("$.resamples", f"must be at least 1, got {resamples!r}"))
    if problems:
        raise ConfigError("bootstrap", problems)
    means = _resampled_means(measured, resamples, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(measured.mean()), float(low), float(high))


def bootstrap_difference(
    first: Sequence[float],
    second: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the mean of ``second - first`` over the same queries, with its interval.

    The paired bootstrap of Sakai, "Evaluating Evaluation Metrics Based on the Bootstrap" (SIGIR
    2006): hard queries are hard for both sides and drop out of the difference, so that it is surer
    than the two means are.

    Args:
        first: A measure, one for each query.
        second: The same measure of another ranking, for the same queries in the same order.
        confidence: As for `bootstrap_interval`.
        resamples: As for `bootstrap_interval`.
        seed: As for `bootstrap_interval`.

    Raises:
        DataError: if they are not equally many, there are none, or one is not finite.
        ConfigError: if ``confidence`` or ``resamples`` is out of range.

    Example:
        >>> bootstrap_difference([0.1, 0.9, 0.5], [0.35, 1.15, 0.75]).excludes_zero
        True
    """
    if len(first) != len(second):
        raise DataError(f"expected pairs, got {len(first)} and {len(second)} values")
    differences = [b - a for a, b in zip(first, second, strict=True)]
    return bootstrap_interval(differences, confidence=confidence, resamples=resamples, seed=seed)


def _relevant(ranked: Sequence[T], grades: Grades[T]) -> dict[T, float]:
    relevant = {item: float(grade) for item, grade in grades.items() if grade > 0}
    if not relevant:
        raise DataError(
            "a ranking cannot be judged where nothing is relevant",
            hint="leave such queries out of the mean",
        )
    if len(set(ranked)) != len(ranked):
        seen: set[T] = set()
        twice = next(item for item in ranked if item in seen or seen.add(item))  # type: ignore[func-returns-value]
        raise DataError(f"{twice!r} is ranked twice", hint="keep the best place of each item")
    return relevant


def _places(k: int) -> int:
    if k < 1:
        raise ConfigError("evaluation", [Problem("$.k", f"must be at least 1, got {k!r}")])
    return k


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, start=1))


def _resampled_means(
    measured: npt.NDArray[np.float64], resamples: int, random: Any
) -> npt.NDArray[np.float64]:
    import numpy as np

    block = max(1, _DRAWS_AT_ONCE // len(measured))
    means = [
        measured[
            random.integers(0, len(measured), (min(block, resamples - at), len(measured)))
        ].mean(axis=1)
        for at in range(0, resamples, block)
    ]
    return np.concatenate(means)
