"""What the records of a window come to: how it begins, grows, is put together, and what it says.

Invariant: a method that raises leaves every content that it was given as it was, as far as the
user's functions do; so a record whose function raised is in no window.
"""

from __future__ import annotations

import copy
from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from heapq import merge
from typing import Any, Protocol

from sage.common.core.functions import AggregateFunction

__all__ = [
    "AggregateContents",
    "Contents",
    "CountContents",
    "ListContents",
    "ReduceContents",
    "TopContents",
]

_IMMUTABLE = frozenset({int, float, complex, bool, str, bytes, type(None)})


class Contents(Protocol):
    """How contents of windows are made; one object serves all windows of a subtask."""

    def first(self, record: Any) -> Any:
        """Return the content of a window with this record alone."""

    def add(self, content: Any, record: Any) -> Any:
        """Return the content with one more record; ``content`` may be changed and is not used."""

    def merge(self, earlier: Any, later: Any) -> Any:
        """Return the content of two sessions that became one; neither is used any more."""

    def value(self, content: Any, *, is_kept: bool) -> Any:
        """Return what a content stands for.

        Args:
            content: The content.
            is_kept: Whether records may be added to it later, which must not change the value.
        """


class ReduceContents:
    """The reduced record."""

    def __init__(self, reduce: Callable[[Any, Any], Any]) -> None:
        self.add = self.merge = reduce

    def first(self, record: Any) -> Any:
        """Return the record as it is."""
        return record

    def value(self, content: Any, *, is_kept: bool) -> Any:
        """Return the reduced record."""
        return content


class AggregateContents:
    """The accumulator of an `AggregateFunction`."""

    def __init__(self, function: AggregateFunction[Any, Any, Any]) -> None:
        self._create, self._result = function.create, function.result
        self.add, self.merge = function.add, function.merge

    def first(self, record: Any) -> Any:
        """Return a new accumulator with the record in it."""
        return self.add(self._create(), record)

    def value(self, content: Any, *, is_kept: bool) -> Any:
        """Return the accumulator's result; a copy, if that is the accumulator and still grows."""
        value = self._result(content)
        if is_kept and value is content and type(value) not in _IMMUTABLE:
            return copy.deepcopy(value)
        return value


class CountContents:
    """The number of records."""

    def first(self, record: Any) -> int:
        """Return 1."""
        return 1

    def add(self, content: int, record: Any) -> int:
        """Return one more."""
        return content + 1

    def merge(self, earlier: int, later: int) -> int:
        """Return the sum."""
        return earlier + later

    def value(self, content: int, *, is_kept: bool) -> int:
        """Return the number."""
        return content


class TopContents:
    """The largest records, in ascending order; of equal ones those that came first.

    Args:
        count: How many.
        by: What they are compared by.
    """

    def __init__(self, count: int, by: Callable[[Any], Any]) -> None:
        self._count = count
        self._by = by
        self._arrived = 0

    def resume(self, contents: Iterable[list[tuple[Any, int, Any]]]) -> None:
        """Number entries on from those that are there after a restore."""
        self._arrived = min((n for content in contents for _, n, _ in content), default=0)

    def first(self, record: Any) -> list[tuple[Any, int, Any]]:
        """Return a list of one."""
        return [self._entry(record)]

    def add(self, content: list[tuple[Any, int, Any]], record: Any) -> list[tuple[Any, int, Any]]:
        """Put the record in its place, and drop the smallest if that makes too many."""
        insort(content, self._entry(record))
        if len(content) > self._count:
            del content[0]
        return content

    def merge(
        self, earlier: list[tuple[Any, int, Any]], later: list[tuple[Any, int, Any]]
    ) -> list[tuple[Any, int, Any]]:
        """Return the largest of both."""
        return list(merge(earlier, later))[-self._count :]

    def value(self, content: list[tuple[Any, int, Any]], *, is_kept: bool) -> list[Any]:
        """Return the records, the largest first."""
        return [record for _, _, record in reversed(content)]

    def _entry(self, record: Any) -> tuple[Any, int, Any]:
        """Number entries downwards: that settles ties, and records are never compared."""
        by = self._by(record)
        if by != by:
            raise ValueError(f"top cannot order NaN, got it for {record!r:.80}")
        self._arrived -= 1
        return (by, self._arrived, record)


class ListContents:
    """All records in the order of arrival; of merged sessions, the earlier one's come first."""

    def first(self, record: Any) -> list[Any]:
        """Return a list of one."""
        return [record]

    def add(self, content: list[Any], record: Any) -> list[Any]:
        """Append it."""
        content.append(record)
        return content

    def merge(self, earlier: list[Any], later: list[Any]) -> list[Any]:
        """Return both."""
        earlier += later
        return earlier

    def value(self, content: list[Any], *, is_kept: bool) -> Sequence[Any]:
        """Return the list; a copy, if more may be added to it."""
        return list(content) if is_kept else content
