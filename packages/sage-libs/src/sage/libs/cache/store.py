"""What keeps cached values, whatever is under it.

Invariant: a value that was computed from data older than an invalidation is never kept. A look-up
that finds nothing therefore returns a ticket, every invalidation makes the tickets given out before
it worthless, and `CacheStore.keep` ignores a value with a worthless ticket.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple, Protocol

__all__ = ["CacheStore", "Miss"]


class Miss(NamedTuple):
    """Nothing was found; the ticket is for `CacheStore.keep`."""

    ticket: Any


class CacheStore(Protocol):
    """Keeps values by key, for a time. Safe to use from many threads.

    Attributes:
        waits: Whether its methods wait for a network, so that an event loop must not call them.
    """

    @property
    def waits(self) -> bool: ...

    def lookup(self, key: Hashable) -> Any | Miss:
        """Return the value that is kept for a key, or a `Miss`."""
        ...

    def keep(self, key: Hashable, value: Any, ticket: Any) -> None:
        """Keep a value, unless something was dropped since the look-up that gave the ticket."""
        ...

    def drop(self, key: Hashable) -> None:
        """Forget one value."""
        ...

    def clear(self) -> None:
        """Forget all values."""
        ...

    def close(self) -> None:
        """Let go of connections; what others may use stays."""
        ...
