"""Sampled traces: single records followed through the graph, with the time at each operator.

A source with ``config={"sample_trace": 0.01}`` picks one record in a hundred. Each travels alone,
in a batch that carries a `Mark`, and every task that works such a batch runs its operators one by
one and notes a `Hop` for each. All other records run as they always do; without sampling nothing
changes.

What follows a record is everything that came of it: a trace is a tree, where ``flat_map``, branches
and ``broadcast`` fork. It ends where an operator holds the record back (a batch, a join, a group);
the operator that lets it out again carries the trace of the record that filled the batch.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from sage.kernel.metrics.histogram import Histogram

__all__ = ["Hop", "Mark", "Trace", "Tracer"]


@dataclass(frozen=True)
class Hop:
    """What one operator did with a traced record.

    Attributes:
        parent: Index of the hop that it came from, or None at the source.
        operator: Name of the operator.
        subtask: Which of its subtasks.
        waited_s: Time on the way to the task: in a buffer, a channel, behind other records.
        elapsed_s: Time in the operator; with an async function, until its result was taken.
        outputs: How many records came out.
        fate: What became of it, as in `OperatorMetrics`.
        note: What the times do not tell, such as that a batch function ran elsewhere.
    """

    parent: int | None
    operator: str
    subtask: int
    waited_s: float
    elapsed_s: float
    outputs: int
    fate: str
    note: str = ""


class Trace:
    """The route of one record.

    Attributes:
        record: Its ``repr``, shortened.
        started_at: When the source gave it, in seconds since the epoch.
        hops: In the order in which they ended; a hop comes after the one that it came from.
        is_complete: Whether everything that came of it was followed to its end.

    ``str()`` of it draws the route, with the time in each operator and the wait before it::

        'the cat' 1.20 ms
        └─ collection[0] emitted
           └─ split[0] emitted 2 in 0.01 ms
              ├─ count[1] emitted in 0.01 ms after 0.35 ms
              │  └─ print[1] emitted in 0.04 ms
              └─ count[0] emitted in 0.01 ms after 0.41 ms
                 └─ print[0] emitted in 0.03 ms
    """

    # A record can go round a loop for ever; what is kept of it must not.
    MOST_HOPS = 1000

    def __init__(self, record: Any, source: str, subtask: int) -> None:
        self.record = _shortened(record)
        self.started_at = time.time()
        self.hops = [Hop(None, source, subtask, 0.0, 0.0, 1, "emitted")]
        self.is_complete = True
        self._started_s = time.monotonic()
        self._ended_s = self._started_s
        self._open = 1
        self._lock = threading.Lock()

    @property
    def elapsed_s(self) -> float:
        """Time from the source to the end of the last branch, in seconds."""
        return self._ended_s - self._started_s

    def add(self, hop: Hop) -> int | None:
        """Note a hop and return its index, or None if the trace has become too long."""
        with self._lock:
            self._ended_s = max(self._ended_s, time.monotonic())
            if len(self.hops) >= self.MOST_HOPS:
                self.is_complete = False
                return None
            self.hops.append(hop)
            return len(self.hops) - 1

    def fork(self, branches: int) -> bool:
        """Count branches that begin (or, with a negative number, end); say whether all ended."""
        with self._lock:
            self._open += branches
            return not self._open

    def since_start_s(self) -> float:
        """Return how long ago the source gave the record, in seconds."""
        return time.monotonic() - self._started_s

    def to_dict(self) -> dict[str, Any]:
        """Return the route as plain data; ``hops[i].parent`` is an index into ``hops``."""
        return {
            "record": self.record,
            "started_at": self.started_at,
            "elapsed_s": self.elapsed_s,
            "complete": self.is_complete,
            "hops": [
                {name: getattr(hop, name) for name in Hop.__dataclass_fields__} for hop in self.hops
            ],
        }

    def __str__(self) -> str:
        children: dict[int | None, list[int]] = {}
        for index, hop in enumerate(self.hops):
            children.setdefault(hop.parent, []).append(index)
        unfinished = "" if self.is_complete else ", not followed to its end"
        head = f"{self.record} {_milliseconds(self.elapsed_s)}{unfinished}"
        return "\n".join([head, *self._drawn(children)])

    def _drawn(self, children: dict[int | None, list[int]]) -> Iterator[str]:
        # Not recursive: a record that goes round a loop makes a route as deep as it has hops.
        waiting = [(index, "") for index in reversed(children.get(None, []))]
        while waiting:
            index, indent = waiting.pop()
            siblings = children[self.hops[index].parent]
            is_last = index == siblings[-1]
            yield f"{indent}{'└─' if is_last else '├─'} {_described(self.hops[index])}"
            below = indent + ("   " if is_last else "│  ")
            waiting += [(child, below) for child in reversed(children.get(index, []))]


class Mark(NamedTuple):
    """What a traced batch carries.

    Attributes:
        trace: The trace.
        hop: The hop that the batch came out of.
        sent_s: When it did, on the monotonic clock.
        fed_s: When a host took it over, which runs the function elsewhere.
    """

    trace: Trace
    hop: int
    sent_s: float
    fed_s: float = 0.0


class Tracer:
    """Picks the records of a job that are followed, and keeps the newest finished traces.

    Args:
        share: How many records are followed: 0.01 is one in a hundred, 1 is every record.
        keep: Most finished traces kept; older ones make room.
        seed: The same seed picks the same records of a source.
    """

    def __init__(self, share: float, *, keep: int = 1000, seed: int = 0) -> None:
        self._share = share
        self._seed = seed
        self._lock = threading.Lock()
        self._open: set[Trace] = set()
        self._finished: deque[Trace] = deque(maxlen=keep)
        self.dropped = 0
        self.latency = Histogram()

    def sampler(self, source: str, subtask: int) -> Sampler:
        """Return what picks the records of one subtask of a source."""
        return Sampler(self._share, f"{self._seed}/{source}/{subtask}")

    def begin(self, record: Any, source: str, subtask: int) -> Mark:
        """Start to follow a record that a source has just given."""
        trace = Trace(record, source, subtask)
        with self._lock:
            self._open.add(trace)
        return Mark(trace, 0, time.monotonic())

    def arrived(self, trace: Trace) -> None:
        """Count the time from source to sink of a branch that has reached a sink."""
        with self._lock:
            self.latency.add(trace.since_start_s())

    def branched(self, trace: Trace, branches: int) -> None:
        """Count branches that begin or end, and keep the trace when the last one has ended."""
        if trace.fork(branches):
            self._keep(trace)

    def close(self) -> None:
        """Keep what was not followed to its end too, and say so: the job was stopped."""
        for trace in list(self._open):
            trace.is_complete = False
            self._keep(trace)

    def _keep(self, trace: Trace) -> None:
        with self._lock:
            if trace not in self._open:
                return
            self._open.remove(trace)
            self.dropped += len(self._finished) == self._finished.maxlen
            self._finished.append(trace)

    def finished(self) -> list[Trace]:
        """Return the finished traces that are kept, oldest first."""
        with self._lock:
            return list(self._finished)


class Sampler:
    """Says which records to follow, drawing once for each that is picked and not for each record.

    Args:
        share: Expected share of records.
        seed: The same seed picks the same records, however they fall into batches.
    """

    def __init__(self, share: float, seed: str) -> None:
        self._share = share
        self._random = random.Random(seed)
        self._skip = self._gap()

    def picked(self, count: int) -> list[int]:
        """Return the positions to follow among the next ``count`` records, ascending."""
        positions = []
        at = self._skip
        while at < count:
            positions.append(at)
            at += 1 + self._gap()
        self._skip = at - count
        return positions

    def _gap(self) -> int:
        """Return how many records to pass over: geometrically distributed, hence memoryless."""
        if self._share >= 1:
            return 0
        return int(math.log(1.0 - self._random.random()) / math.log1p(-self._share))


def _shortened(record: Any) -> str:
    try:
        text = repr(record)
    except Exception as error:  # a user's __repr__ must not end a job that only watches it
        text = f"<{type(record).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= 200 else f"{text[:199]}…"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _described(hop: Hop) -> str:
    where = f"{hop.operator}[{hop.subtask}] {hop.fate}"
    if hop.parent is None:
        return where
    count = f" {hop.outputs}" if hop.outputs > 1 else ""
    waited = f" after {_milliseconds(hop.waited_s)}" if hop.waited_s >= 1e-5 else ""
    note = f" ({hop.note})" if hop.note else ""
    return f"{where}{count} in {_milliseconds(hop.elapsed_s)}{waited}{note}"
