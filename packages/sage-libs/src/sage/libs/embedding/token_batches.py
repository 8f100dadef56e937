"""Puts texts of many lengths into batches: few runs, and little computed for padding.

What a run costs beside its tokens is as much as eight more of them (MiniLM, one core: 1.6 ms and
0.27 ms for each token), so a batch may pad that much and no more: then another run is cheaper.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["batches"]

_RUN_COST_TOKENS: Final = 8


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield the positions of texts, longest first, so many that rows x longest <= budget.

    A text longer than the budget is a batch of its own. Longest first, so that the memory that the
    first batch asks for serves all the others, and the last ones to be done are short.

    Args:
        lengths: Of the texts, in tokens.
        budget: Most tokens in a batch, padding included.

    Example:
        >>> list(batches([9, 60, 8, 60, 60], budget=120))
        [[1, 3], [4], [0, 2]]
    """
    batch: list[int] = []
    padding = 0
    for row in sorted(range(len(lengths)), key=lambda r: -lengths[r]):
        if batch:
            longest = lengths[batch[0]]
            padding += longest - lengths[row]
            if (len(batch) + 1) * longest > budget or padding > _RUN_COST_TOKENS:
                yield batch
                batch, padding = [], 0
        batch.append(row)
    if batch:
        yield batch
