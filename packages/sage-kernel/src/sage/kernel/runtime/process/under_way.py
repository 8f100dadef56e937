"""The records that a worker has, so that what it says of a number can be told of a record."""

from __future__ import annotations

from bisect import bisect_right
from itertools import chain
from typing import Any

from sage.kernel.runtime.channel import Batch

__all__ = ["UnderWay"]


class UnderWay:
    """Records that the worker has and may still mention, by their number."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self._starts: list[int] = []
        self._fed = 0
        self._decided = 0

    @property
    def undecided(self) -> int:
        """How many records the worker has not reported on."""
        return self._fed - self._decided

    @property
    def first(self) -> Any:
        """The oldest of them."""
        return self.at(self._decided)[0]

    def add(self, batch: Batch) -> None:
        """The worker gets these."""
        self._batches.append(batch)
        self._starts.append(self._fed)
        self._fed += len(batch.values)

    def at(self, row: int) -> tuple[Any, tuple[Any, ...]]:
        """Return a record and its riders by its number."""
        at = bisect_right(self._starts, row) - 1
        batch, within = self._batches[at], row - self._starts[at]
        return batch.values[within], tuple(column[within] for column in batch.riders)

    def decide(self, count: int, held: int) -> None:
        """The next ``count`` are decided; the last ``held`` of all those may be mentioned again."""
        self._decided += count
        known = bisect_right(self._starts, self._decided - held) - 1
        if known > 0:
            del self._batches[:known], self._starts[:known]

    def rest(self, held: int) -> Batch:
        """Return those that are undecided, behind the last ``held`` of the others."""
        first = self._decided - held
        parts = [
            batch.sliced(max(0, first - start), len(batch.values))
            for start, batch in zip(self._starts, self._batches, strict=True)
        ]
        columns = zip(*((part.values, *part.riders) for part in parts), strict=True)
        values, *riders = [list(chain.from_iterable(column)) for column in columns] or [[]]
        return Batch(values, tuple(riders))
