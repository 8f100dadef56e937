"""Watermarks: how far event time has come.

A watermark ``w`` says that no record with a timestamp below ``w`` is expected any more. A split's
watermark after each record is a running maximum; where several inputs meet, event time has come as
far as the slowest of them, leaving out those that are idle or have ended.

Invariant: a watermark never regresses. An input that wakes up behind the others does not turn time
back; its records are late. How far time has come depends on what the inputs said, not on the order
in which they fell idle or ended.

The model is that of Dataflow (Akidau et al., VLDB 2015) and of Flink.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import Any, Protocol

__all__ = [
    "END_OF_TIME",
    "START_OF_TIME",
    "InputWatermarks",
    "WatermarkGenerator",
    "happening_at",
]

START_OF_TIME = -math.inf  # nothing is known yet
END_OF_TIME = math.inf  # the input has ended


def happening_at(watermark: float) -> float:
    """Return the time of a result that has none of its own: it happens when event time is now."""
    return 0.0 if watermark == START_OF_TIME else watermark


class WatermarkGenerator(Protocol):
    """Says how far event time has come, from the records of one split."""

    def on_event(self, record: Any, timestamp_s: float) -> float | None:
        """Return the watermark after this record, or None if it says nothing new.

        Args:
            record: The record.
            timestamp_s: Its timestamp, in seconds.
        """


class InputWatermarks:
    """The watermarks of the inputs of one task, and what follows from all of them.

    Args:
        inputs: Whatever tells the inputs apart.

    Example:
        >>> watermarks = InputWatermarks(["a", "b"])
        >>> watermarks.advance("a", 5.0), watermarks.advance("b", 3.0)
        (-inf, 3.0)
        >>> watermarks.idle("b")
        5.0
        >>> watermarks.advance("b", 4.0)
        5.0
    """

    def __init__(self, inputs: Iterable[Hashable]) -> None:
        self._of = dict.fromkeys(inputs, START_OF_TIME)
        self._idle: set[Hashable] = set()
        self._ended: set[Hashable] = set()
        self.low = START_OF_TIME

    def advance(self, which: Hashable, watermark: float) -> float:
        """Take the watermark of one input, which is active with that; return that of all."""
        if watermark > self._of[which]:
            self._of[which] = watermark
        self._idle.discard(which)
        return self._renewed()

    def idle(self, which: Hashable) -> float:
        """Leave an input out until it says something again; return the watermark of all."""
        self._idle.add(which)
        return self._renewed()

    def end(self, which: Hashable) -> float:
        """Leave an input out for good; return the watermark of all."""
        self._idle.discard(which)
        self._ended.add(which)
        return self._renewed()

    @property
    def all_idle(self) -> bool:
        """Whether nobody says how far time has come, and somebody may do so again.

        With all inputs at their end nobody is idle: what they leave behind is about to be said.
        """
        return bool(self._idle) and not self._active()

    def cap(self, which: Hashable) -> float:
        """Return how far one input could bring all of them: the lowest of the others."""
        return min((self._of[i] for i in self._active() if i != which), default=END_OF_TIME)

    def beside(self, which: Hashable, column: list[float]) -> list[float]:
        """Return, for each record of one input, the watermark of all inputs when it came.

        Args:
            which: The input.
            column: The input's own watermark beside each record.
        """
        if not column:
            return column
        self._idle.discard(which)
        cap, low = self.cap(which), self.low
        if self._of[which] <= column[0] and low <= column[0] and column[-1] <= cap:
            self.low, self._of[which] = column[-1], column[-1]
            return column
        combined = []
        for own in column:
            together = own if own < cap else cap
            if together > low:
                low = together
            combined.append(low)
        self.low = low
        self._of[which] = max(self._of[which], column[-1])
        return combined

    def snapshot(self) -> list[float]:
        """Return how far each input has come, in their order, and behind them all together."""
        return [*self._of.values(), self.low]

    def restore(self, *snapshots: list[float]) -> None:
        """Go on where a snapshot was taken; of several, or of other inputs, the lowest counts."""
        *of_inputs, low = min(snapshots, key=lambda snapshot: snapshot[-1])
        if len(snapshots) > 1 or len(of_inputs) != len(self._of):
            of_inputs = [low] * len(self._of)
        self._of = dict(zip(self._of, of_inputs, strict=True))
        self.low = low

    def _renewed(self) -> float:
        # With all ended, the end of time comes with the task's end.
        active = [self._of[i] for i in self._active()]
        # With nobody left to wait for, time is where the one that had come furthest has left it.
        self.low = max(self.low, min(active) if active else max(self._of.values()))
        return self.low

    def _active(self) -> list[Hashable]:
        return [i for i in self._of if i not in self._idle and i not in self._ended]
