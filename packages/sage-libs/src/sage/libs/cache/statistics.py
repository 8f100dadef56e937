"""How often a cache helped."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["CacheStatistics"]


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Counts since a cache was made; every query is counted once.

    Attributes:
        hits: Answered from what was kept.
        misses: Worked out, or tried to.
        deduplicated: Answered by the computation of an equal query that was under way.
        evicted: Values that had to make room; in Redis the server knows, and this is 0.

    Example:
        >>> CacheStatistics(hits=3, misses=1).hit_rate
        0.75
    """

    hits: int = 0
    misses: int = 0
    deduplicated: int = 0
    evicted: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of the queries that were answered from what was kept, 0 to 1."""
        queries = self.hits + self.misses + self.deduplicated
        return self.hits / queries if queries else 0.0

    def to_dict(self) -> dict[str, float]:
        """Return the counts and the hit rate, ready for JSON."""
        return {**asdict(self), "hit_rate": self.hit_rate}
