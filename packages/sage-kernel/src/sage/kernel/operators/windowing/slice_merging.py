"""Windows of several slices, without merging each slice again for every window it is part of.

Two stacks, as a queue is made of them (Tangwongsan, Hirzel and Schneider, "Low-latency
sliding-window aggregation in worst-case constant time", 2017, section 2): the *front* has, for each
of the earlier slices, everything from it up to a turning point; the *back* has everything behind
that point. A window is one entry of the front merged with the back. When the front is used up, the
slices of one window become the new front. So a slice is merged about three times, however many
windows it is in.

Invariant: front and back say what the slices say; a slice that changes after it was merged makes
them stale, and they are made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Merging", "SliceMerger", "Unmerged"]


class Merging(Protocol):
    """How accumulators are put together."""

    def merge(self, accumulator: Any, other: Any) -> Any:
        """Return both put together; both may be changed or returned."""

    def begin(self, accumulator: Any) -> Any:
        """Return an accumulator to merge, leaving this one as it is."""


Cells = dict[Any, Any]


@dataclass(frozen=True)
class Unmerged:
    """Stands for slices of a key that could not be merged, so that other keys have their results.

    Args:
        error: What was raised.
    """

    error: Exception


class SliceMerger:
    """Puts the slices of consecutive windows together.

    Args:
        slices: The cells of each slice by its number; slices without records are not there.
        steps: How many slices a window has.
        merging: How accumulators are put together.
    """

    def __init__(self, slices: Mapping[int, Cells], steps: int, merging: Merging) -> None:
        self._slices = slices
        self._steps = steps
        self._merging = merging
        self._front: dict[int, Cells] = {}
        self._turn = 0  # the first slice behind the front
        self._back: Cells = {}
        self._next = 0  # the first slice behind the back
        self.stale = True

    def cells_of(self, number: int) -> Cells:
        """Return the accumulators of a window, or `Unmerged`, by key; first slices come first.

        Args:
            number: The window's first slice; higher than in the call before.
        """
        if self.stale or number >= self._turn:
            self._make_front(number)
            return self._front.get(number) or {}
        end = number + self._steps
        for at in range(self._next, end):
            self._back = self._merged(self._back, self._slices.get(at, {}))
        self._next = end
        return self._merged(self._front.pop(number), self._back)

    def _make_front(self, number: int) -> None:
        self._turn = self._next = number + self._steps
        self._front, self._back, self.stale = {}, {}, False
        behind: Cells = {}
        for at in range(self._turn - 1, number - 1, -1):
            self._front[at] = behind = self._merged(self._slices.get(at, {}), behind)

    def _merged(self, earlier: Cells, later: Cells) -> Cells:
        """Return new cells; those of one side alone are shared with it."""
        if not later:
            return earlier
        if not earlier:
            return later
        together = dict(earlier)
        for key, accumulator in later.items():
            if key in together:
                together[key] = self._put_together(together[key], accumulator)
            else:
                together[key] = accumulator
        return together

    def _put_together(self, earlier: Any, later: Any) -> Any:
        for one in (earlier, later):
            if type(one) is Unmerged:
                return one
        merging = self._merging
        try:
            return merging.merge(merging.begin(earlier), merging.begin(later))
        except Exception as error:
            return Unmerged(error)
