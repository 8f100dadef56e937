"""Counts durations in buckets, so that percentiles cost the same for ten and for ten million.

Twelve buckets to the decade from one microsecond to a thousand seconds: a percentile is exact to
about a tenth of its value, and a histogram is a list of a hundred numbers, which can be added up
over subtasks and sent between processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import accumulate

__all__ = ["Histogram"]

_PER_DECADE = 12
_DECADES = 9
_SHORTEST_S = 1e-6
_BOUNDS_S = tuple(_SHORTEST_S * 10 ** (k / _PER_DECADE) for k in range(_DECADES * _PER_DECADE + 1))


class Histogram:
    """Durations in seconds, counted in buckets of equal ratio.

    One thread adds; others may read meanwhile and see a moment of it.

    Example:
        >>> latency = Histogram()
        >>> for ms in range(1, 101):
        ...     latency.add(ms / 1000)
        >>> latency.count, round(latency.mean_s, 4), 0.045 < latency.percentile(50) < 0.055
        (100, 0.0505, True)
    """

    __slots__ = ("_counts", "count", "longest_s", "total_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS_S) + 1)
        self.count = 0
        self.total_s = 0.0
        self.longest_s = 0.0

    def __repr__(self) -> str:
        return f"Histogram(count={self.count}, p50={self.percentile(50):.3g} s)"

    def add(self, duration_s: float) -> None:
        """Count a duration, in seconds."""
        self._counts[_bucket(duration_s)] += 1
        self.count += 1
        self.total_s += duration_s
        self.longest_s = max(self.longest_s, duration_s)

    @property
    def mean_s(self) -> float:
        """The mean, in seconds; 0 without durations."""
        return self.total_s / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """Return the duration that ``percent`` of all do not exceed, in seconds; 0 without any.

        Args:
            percent: From 0 to 100.
        """
        wanted = self.count * percent / 100
        below = 0
        for bucket, count in enumerate(self._counts):
            if count and below + count >= wanted:
                return min(_inside(bucket, (wanted - below) / count), self.longest_s)
            below += count
        return self.longest_s

    def cumulative(self, step: int = 4) -> Iterator[tuple[float, int]]:
        """Yield (bound in seconds, durations up to it), the last bound being infinite.

        Args:
            step: Every how many buckets; 4 are three bounds to the decade.
        """
        sums = list(accumulate(self._counts))
        for bucket in range(0, len(_BOUNDS_S), step):
            yield _BOUNDS_S[bucket], sums[bucket]
        yield math.inf, sums[-1]

    def to_dict(self) -> dict[str, float]:
        """Return count, mean and percentiles."""
        return {
            "count": self.count,
            "mean_s": self.mean_s,
            "p50_s": self.percentile(50),
            "p95_s": self.percentile(95),
            "p99_s": self.percentile(99),
            "max_s": self.longest_s,
        }

    @classmethod
    def sum(cls, parts: Iterable[Histogram]) -> Histogram:
        """Return one histogram with the durations of all."""
        total = cls()
        for part in parts:
            total._counts = [a + b for a, b in zip(total._counts, part._counts, strict=True)]
            total.count += part.count
            total.total_s += part.total_s
            total.longest_s = max(total.longest_s, part.longest_s)
        return total


def _bucket(duration_s: float) -> int:
    """Return the first bucket whose bound is not below the duration."""
    if duration_s <= _SHORTEST_S:
        return 0
    bucket = math.ceil(math.log10(duration_s / _SHORTEST_S) * _PER_DECADE - 1e-9)
    return min(bucket, len(_BOUNDS_S))


def _inside(bucket: int, share: float) -> float:
    """Return the duration at a share of a bucket, on the logarithmic scale."""
    if bucket == 0:
        return _SHORTEST_S * share
    if bucket == len(_BOUNDS_S):
        return math.inf
    return _BOUNDS_S[bucket - 1] * 10 ** (share / _PER_DECADE)
