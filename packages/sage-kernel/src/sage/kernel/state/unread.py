"""Which snapshots of a table have not been read yet, so that what they share is left alone.

A snapshot of a large table is a second dict of the same objects, which takes milliseconds for a
million; the objects become bytes when it is read, on another thread. Until then nobody may change
one of them in place: whoever is about to hand one out hands out a copy.

Invariant: once a snapshot is taken, it is unread until it has been read to its end or nobody can
read it any more. All calls but the reading itself are made on the thread of the table's owner, and
the reader only ever says that it has ended; so no lock is needed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

__all__ = ["ReadOnce", "UnreadSnapshots"]

T = TypeVar("T")


class ReadOnce(Generic[T]):
    """An iterable that knows when it has been read; what it reads is let go of then.

    Args:
        read: Yields what is in it.
    """

    def __init__(self, read: Callable[[], Iterator[T]]) -> None:
        self._read: Callable[[], Iterator[T]] | None = read

    @property
    def is_read(self) -> bool:
        """Whether nobody looks at it any more."""
        return self._read is None

    def __iter__(self) -> Iterator[T]:
        if self._read is None:
            return
        try:
            yield from self._read()
        finally:
            self._read = None


class UnreadSnapshots:
    """The snapshots of one table that have not been read.

    Example:
        >>> unread = UnreadSnapshots()
        >>> snapshot = unread.added(ReadOnce(lambda: iter([1, 2])))
        >>> bool(unread), list(snapshot), bool(unread)
        (True, [1, 2], False)
    """

    def __init__(self) -> None:
        self._taken: list[weakref.ref[ReadOnce[Any]]] = []

    def added(self, snapshot: ReadOnce[T]) -> ReadOnce[T]:
        """Return a snapshot that was taken, and remember it until it has been read."""
        self._taken = [ref for ref in self._taken if _waits(ref)]
        self._taken.append(weakref.ref(snapshot))
        return snapshot

    def __bool__(self) -> bool:
        for ref in self._taken:
            if _waits(ref):
                return True
        self._taken.clear()
        return False


def _waits(ref: weakref.ref[ReadOnce[Any]]) -> bool:
    snapshot = ref()
    return snapshot is not None and not snapshot.is_read
