"""Windows of several slices, without merging each slice again for every window it is part of.

Two stacks, as a queue is made of them (Tangwongsan, Hirzel and Schneider, "Low-latency
sliding-window aggregation in worst-case constant time", 2017, section 2): the *front* has, for each
of the earlier slices, everything from it up to a turning point; the *back* has everything behind
that point. A window is one entry of the front merged with the back. When the front is used up, the
slices of one window become the new front. So a slice is merged about three times, however many
windows it is in.

The front has a key in up to as many entries as a window has slices. Where keys are in few of the
slices, that would take far more memory than the slices do and save little: then each window is put
together from its slices, one after the other.

Invariant: front and back say what the slices say; a slice that changes after it was merged makes
them stale, and they are made again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

# So many times the entries of the slices the front may have; else it is not made.
_MOST_ENTRIES = 8


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
        self._keys = 0  # of the window before
        self._some_unmerged = False
        self.stale = True

    def cells_of(self, number: int) -> Cells:
        """Return the accumulators of a window, or `Unmerged`, by key; first slices come first.

        Args:
            number: The window's first slice; higher than in the call before.
        """
        if self.stale or number >= self._turn:
            cells = self._from_slices(number)
        else:
            self._grow_back(number + self._steps)
            cells = self._merged(self._front.pop(number), self._back)
        self._keys = len(cells)
        return cells

    def _from_slices(self, number: int) -> Cells:
        """Return the accumulators of a window, and make the front if it is worth its memory."""
        parts = [self._slices.get(at, {}) for at in range(number, number + self._steps)]
        if 0 < self._keys * self._steps <= _MOST_ENTRIES * sum(map(len, parts)):
            self._make_front(number, number + self._steps)
            return self._front.pop(number)
        self._front, self._back, self.stale = {}, {}, True
        together: Cells = {}
        for cells in parts:
            self._merge_into(together, cells)
        return together

    @property
    def progress(self) -> tuple[int, ...]:
        """How far it is: keys of the window before, and where front and back end if they are."""
        return (self._keys,) if self.stale else (self._keys, self._turn, self._next)

    def resume(self, number: int, progress: Sequence[int]) -> None:
        """Put together again what was, from the window of that number on, after a restore."""
        self._keys, *ends = progress
        if ends and number < ends[0]:
            self._make_front(number, ends[0])
            self._grow_back(ends[1])

    def _make_front(self, number: int, turn: int) -> None:
        self._turn = self._next = turn
        self._front, self._back, self.stale = {}, {}, False
        behind: Cells = {}
        for at in range(self._turn - 1, number - 1, -1):
            self._front[at] = behind = self._merged(self._slices.get(at, {}), behind)

    def _grow_back(self, end: int) -> None:
        for at in range(self._next, end):
            self._back = self._merged(self._back, self._slices.get(at, {}))
        self._next = end

    def _merged(self, earlier: Cells, later: Cells) -> Cells:
        """Return new cells; those of one side alone are shared with it."""
        if not later:
            return earlier
        if not earlier:
            return later
        together = dict(earlier)
        self._merge_into(together, later)
        return together

    def _merge_into(self, together: Cells, later: Cells) -> None:
        merge, begin = self._merging.merge, self._merging.begin
        for key, accumulator in later.items():
            if key not in together:
                together[key] = accumulator
            elif self._some_unmerged:
                together[key] = self._put_together(together[key], accumulator)
            else:
                try:
                    together[key] = merge(begin(together[key]), begin(accumulator))
                except Exception as error:
                    together[key] = Unmerged(error)
                    self._some_unmerged = True

    def _put_together(self, earlier: Any, later: Any) -> Any:
        for one in (earlier, later):
            if type(one) is Unmerged:
                return one
        merging = self._merging
        try:
            return merging.merge(merging.begin(earlier), merging.begin(later))
        except Exception as error:
            return Unmerged(error)
