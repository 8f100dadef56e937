"""Brings the records of ``collect()`` home, in chunks, never more than a few of them waiting."""

from __future__ import annotations

import queue
from typing import Any

from sage.common.core.functions import SinkFunction

__all__ = ["ResultSink"]


class ResultSink(SinkFunction[Any]):
    """A sink in an actor whose records are fetched by the driver.

    The instance that the driver has holds the list that they go to; what travels to the actor, or
    is copied there, is an empty one.

    Args:
        records: Where records go in the driver.
    """

    CHUNK = 4096
    MOST_CHUNKS = 4

    def __init__(self, records: list[Any] | None = None) -> None:
        self.records = records
        self._chunk: list[Any] = []
        self._full: queue.Queue[list[Any]] = queue.Queue(self.MOST_CHUNKS)
        self._ended = False
        self._abandoned = False

    def __reduce__(self) -> tuple[Any, ...]:
        return ResultSink, ()

    def write(self, record: Any) -> None:
        """Add a record; wait while the driver is behind."""
        self._chunk.append(record)
        if len(self._chunk) >= self.CHUNK:
            self.flush()

    def flush(self) -> None:
        """Let the driver have what is there."""
        while self._chunk and not self._abandoned:
            try:
                self._full.put(self._chunk, timeout=0.1)
                self._chunk = []
            except queue.Full:
                continue

    def close(self) -> None:
        """Nothing more will come."""
        self._ended = True

    def abandon(self) -> None:
        """Wait for the driver no longer."""
        self._abandoned = True

    def fetch(self, wait_s: float = 0.2) -> tuple[list[Any], bool]:
        """Return what is there, waiting a moment if nothing is, and whether that was all."""
        ended = self._ended or self._abandoned  # before looking: what came last is still fetched
        records: list[Any] = []
        try:
            records += self._full.get_nowait() if ended else self._full.get(timeout=wait_s)
            for _ in range(self.MOST_CHUNKS):
                records += self._full.get_nowait()
        except queue.Empty:
            return records, ended
        return records, False
