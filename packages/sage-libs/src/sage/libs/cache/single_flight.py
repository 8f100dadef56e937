"""One computation for equal queries: the first one leads, the others wait for what it finds.

Go's ``singleflight`` for threads and event loops at once. What is different: a leader that is
cancelled or interrupted has no result, which is not a failure of the query; one of those who wait
leads in its place, with its own computation.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Hashable
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any, Final

__all__ = ["ABANDONED", "Flight", "Flights"]

ABANDONED: Final = object()
"""The outcome of a flight whose leader was cancelled."""

# Flights that the running code is part of, also in the tasks and threads it has started.
_leading: ContextVar[tuple[Flight, ...]] = ContextVar("sage_cache_leading", default=())


class Flight:
    """The computation of one key that is under way.

    Attributes:
        followers: How many have joined it so far.
    """

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.followers = 0
        self.outcome: Future[Any] = Future()
        # A running future cannot be cancelled: a waiter that goes away takes nobody along.
        self.outcome.set_running_or_notify_cancel()
        self._loop = _running_loop()
        self._pid = os.getpid()

    @property
    def is_lost(self) -> bool:
        """Whether it will never land: its event loop was closed, or it is in the parent process."""
        closed = self._loop is not None and self._loop.is_closed()
        return closed or self._pid != os.getpid()

    def lead(self) -> Any:
        """Note that the running code computes this; returns what `landed` wants back."""
        return _leading.set((*_leading.get(), self))

    @staticmethod
    def landed(token: Any) -> None:
        """Undo `lead`."""
        # A task that is destroyed with its loop ends in a context that is not its own.
        with contextlib.suppress(ValueError):
            _leading.reset(token)

    def waited(self) -> Any:
        """Return the outcome, once it is there; blocks the calling thread.

        Raises:
            Exception: what the computation raised.
            RuntimeError: if the wait could never end: if the computation asks for its own result,
                or if the caller would block the event loop that the computation runs on.
        """
        self._refuse_own()
        if self._loop is not None and self._loop is _running_loop():
            raise RuntimeError(
                f"the value of {self.key!r} is being computed on the event loop that get() would "
                "block; use aget() there"
            )
        return self.outcome.result()

    async def awaited(self) -> Any:
        """Return the outcome, as `waited`, without blocking the event loop."""
        self._refuse_own()
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            return await asyncio.wrap_future(self.outcome)
        # Computed on this very loop: no need to wake it from another thread, which takes longer
        # than all the rest.
        arrived: asyncio.Future[None] = loop.create_future()

        def arrive(_: Future[Any]) -> None:
            if not arrived.done():
                arrived.set_result(None)

        self.outcome.add_done_callback(arrive)
        await arrived
        return self.outcome.result()

    def _refuse_own(self) -> None:
        if self in _leading.get():
            raise RuntimeError(f"what computes the value of {self.key!r} asks the cache for it")


class Flights:
    """The flights that are under way, by key."""

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Flight] = {}
        self._lock = threading.Lock()

    def join(self, key: Hashable) -> tuple[Flight, bool]:
        """Return the flight of a key, and whether the caller is the one to lead it."""
        with self._lock:
            flight = self._by_key.get(key)
            if flight is not None and not flight.is_lost:
                flight.followers += 1
                return flight, False
            flight = self._by_key[key] = Flight(key)
            return flight, True

    def followers(self, key: Hashable) -> int:
        """Return how many wait for the flight of a key."""
        with self._lock:
            flight = self._by_key.get(key)
            return 0 if flight is None else flight.followers

    def leave(self, flight: Flight) -> None:
        """Take a flight out; whoever comes now starts a new one."""
        with self._lock:
            if self._by_key.get(flight.key) is flight:
                del self._by_key[flight.key]

    def detach(self, key: Hashable) -> None:
        """Let nobody join the flight of a key any more; those who wait for it still get it."""
        with self._lock:
            self._by_key.pop(key, None)

    def detach_all(self) -> None:
        """Let nobody join any flight that is under way now."""
        with self._lock:
            self._by_key.clear()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
