"""Medians and their spread, and ratios of runs that were made side by side."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

__all__ = ["Summary", "paired_ratios", "percentile", "summary"]


@dataclass(frozen=True)
class Summary:
    """A sample of repeated measurements.

    Attributes:
        median: The middle.
        low: The smallest.
        high: The largest.
        iqr: Distance between the quartiles: the noise.
        count: How many there were.
    """

    median: float
    low: float
    high: float
    iqr: float
    count: int

    def to_dict(self) -> dict[str, float]:
        """Return the fields, ready for JSON."""
        return asdict(self)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of the values lie, by linear interpolation.

    Example:
        >>> percentile([1, 2, 3, 4], 0.5), percentile([5], 0.99)
        (2.5, 5)

    Raises:
        ValueError: if there are no values or the share is out of range.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError(f"no percentile {share} of {len(values)} values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    if below + 1 >= len(ordered):
        return ordered[below]
    return ordered[below] + (ordered[below + 1] - ordered[below]) * (place - below)


def summary(values: Sequence[float]) -> Summary:
    """Summarize repeated measurements.

    Example:
        >>> summary([3.0, 1.0, 2.0])
        Summary(median=2.0, low=1.0, high=3.0, iqr=1.0, count=3)

    Raises:
        ValueError: if there are none.
    """
    if not values:
        raise ValueError("nothing was measured")
    spread = percentile(values, 0.75) - percentile(values, 0.25)
    return Summary(statistics.median(values), min(values), max(values), spread, len(values))


def paired_ratios(reference: Sequence[float], measured: Sequence[float]) -> list[float]:
    """Return reference / measured, round by round.

    Both ran next to each other in each round, so a machine that slows down for a while changes both
    sides of a pair and not their ratio. Rounds that only one of them ran are left out.

    Example:
        >>> paired_ratios([1.0, 2.0, 3.0], [2.0, 2.0])
        [0.5, 1.0]
    """
    return [r / m for r, m in zip(reference, measured, strict=False) if m > 0]
