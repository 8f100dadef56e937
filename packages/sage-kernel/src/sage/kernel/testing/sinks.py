"""A sink that a test can wait at."""

from __future__ import annotations

import threading
from typing import Any

from sage.common.core.functions import SinkFunction

__all__ = ["CollectingSink"]


class CollectingSink(SinkFunction[Any]):
    """Keeps what is written, in one list for all its subtasks.

    Attributes:
        records: What was written, in the order of arrival.
        opened: How often it was opened, over all subtasks.
        closed: How often it was closed.
        flushed: How often it was flushed.

    Example:
        >>> from sage.kernel import LocalEnvironment
        >>> sink = CollectingSink()
        >>> env = LocalEnvironment()
        >>> _ = env.from_collection([1, 2]).sink(sink)
        >>> _ = env.execute()
        >>> sink.records, sink.opened, sink.closed
        ([1, 2], 1, 1)
    """

    def __init__(self, timeout_s: float = 30.0) -> None:
        self.records: list[Any] = []
        self.opened = self.closed = self.flushed = 0
        self._timeout_s = timeout_s
        self._condition = threading.Condition()

    def __deepcopy__(self, memo: dict[int, Any]) -> CollectingSink:
        return self

    def open(self, context: Any) -> None:
        """Count it."""
        with self._condition:
            self.opened += 1

    def write(self, record: Any) -> None:
        """Keep the record and wake the test."""
        with self._condition:
            self.records.append(record)
            self._condition.notify_all()

    def flush(self) -> None:
        """Count it."""
        with self._condition:
            self.flushed += 1

    def close(self) -> None:
        """Count it."""
        with self._condition:
            self.closed += 1

    def wait_for(self, count: int) -> list[Any]:
        """Wait until so many records have arrived, and return what is there.

        Raises:
            TimeoutError: if they do not come in time.
        """
        with self._condition:
            if not self._condition.wait_for(lambda: len(self.records) >= count, self._timeout_s):
                raise TimeoutError(
                    f"{len(self.records)} of {count} records came within {self._timeout_s} s"
                )
            return list(self.records)
