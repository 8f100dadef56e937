"""Timers: what waits for a point in time, for each key.

A heap in the order of time, with lazy deletion: a timer that is deleted stays in the heap until its
turn comes and is passed over then (or is swept out when such ones are the majority). One queue
serves one time domain; which one is its owner's business.

Invariant: a timer that was set and not deleted comes out exactly once, timers come out in the order
of time, and those of one time in the order in which they were set.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

from sage.kernel.errors import TimestampError

__all__ = ["Timer", "TimerQueue"]

_SWEEP_FROM = 64  # entries; below, sweeping is not worth it


class Timer(NamedTuple):
    """A timer that waits.

    Attributes:
        key: Whose it is.
        timestamp_s: When it is due, in seconds since the epoch.
    """

    key: Any
    timestamp_s: float


class TimerQueue:
    """The timers of one operator in one subtask, in one time domain.

    Example:
        >>> timers = TimerQueue()
        >>> timers.set("a", 20.0)
        >>> timers.set("b", 10.0)
        >>> timers.set("b", 10.0)
        >>> timers.due_s
        10.0
        >>> [(timer.key, timer.timestamp_s) for timer in timers.pop_due(20.0)]
        [('b', 10.0), ('a', 20.0)]
        >>> timers.due_s is None
        True
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Any]] = []
        self._waiting: dict[tuple[Any, float], int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def set(self, key: Any, timestamp_s: float) -> None:
        """Set a timer; one that is set already for that key and time stays as it is.

        Raises:
            TimestampError: if the time is no finite number of seconds.
        """
        if type(timestamp_s) not in (float, int) or not math.isfinite(timestamp_s):
            raise TimestampError(timestamp_s, what="the time of a timer")
        if (key, timestamp_s) in self._waiting:
            return
        self._waiting[key, timestamp_s] = self._next
        heappush(self._heap, (timestamp_s, self._next, key))
        self._next += 1

    def delete(self, key: Any, timestamp_s: float) -> None:
        """Delete a timer, if it is set."""
        if self._waiting.pop((key, timestamp_s), None) is not None:
            self._pass_over_deleted()

    def delete_all(self, key: Any) -> None:
        """Delete every timer of a key. This looks at every timer of the queue."""
        for waiting in [timer for timer in self._waiting if timer[0] == key]:
            del self._waiting[waiting]
        self._pass_over_deleted()

    def _pass_over_deleted(self) -> None:
        """Keep a timer that waits at the head, and the heap at most twice as long as need be."""
        heap, waiting = self._heap, self._waiting
        if len(heap) > _SWEEP_FROM and len(heap) > 2 * len(waiting):
            heap[:] = [entry for entry in heap if waiting.get((entry[2], entry[0])) == entry[1]]
            heapify(heap)
        while heap and waiting.get((heap[0][2], heap[0][0])) != heap[0][1]:
            heappop(heap)

    @property
    def due_s(self) -> float | None:
        """When the first timer is due, in seconds since the epoch; None if none waits."""
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now_s: float) -> Iterator[Timer]:
        """Yield the timers that are due at ``now_s`` or before, and take each out first.

        Timers that are set or deleted while this is gone through count: one that is set for a time
        that has come comes out as well.
        """
        heap = self._heap
        while heap and heap[0][0] <= now_s:
            timestamp_s, _, key = heappop(heap)
            del self._waiting[key, timestamp_s]
            self._pass_over_deleted()
            yield Timer(key, timestamp_s)

    def snapshot(self) -> list[tuple[Any, float]]:
        """Return key and time of the timers that wait, in the order in which they were set."""
        return list(self._waiting)  # one that is set again comes to the end of it

    def restore(self, timers: Iterable[tuple[Any, float]]) -> None:
        """Set the timers of a snapshot, or of several, beside those that are set."""
        for key, timestamp_s in timers:
            self.set(key, timestamp_s)
