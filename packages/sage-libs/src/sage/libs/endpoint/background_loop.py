"""One event loop on a thread of its own, for asynchronous clients with a synchronous face.

Connections live as long as their loop does, so that a client called a thousand times from a
pipeline's thread connects once. The loop is made at first use and shared by the whole process; a
forked child makes its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

__all__ = ["close_before_exit", "run_in_background"]

T = TypeVar("T")

_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}
_clients: weakref.WeakSet[_Client] = weakref.WeakSet()


class _Client(Protocol):
    async def close(self) -> None: ...


def close_before_exit(client: _Client) -> None:
    """Have ``client`` closed on the shared loop before that stops, if it still exists then."""
    _clients.add(client)


def run_in_background(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the shared loop and wait for its result in the calling thread.

    An interrupt (Ctrl-C) of the waiting thread cancels the work.

    Raises:
        RuntimeError: if the interpreter is shutting down and the loop is gone.
    """
    try:
        future = asyncio.run_coroutine_threadsafe(work, _loop())
    except RuntimeError:
        work.close()
        raise
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="sage-client-loop", daemon=True)
            thread.start()
            atexit.register(_stop, loop, thread, os.getpid())
        return loop


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread, pid: int) -> None:
    if pid != os.getpid():
        return
    with contextlib.suppress(Exception):
        asyncio.run_coroutine_threadsafe(_close_clients(), loop).result(timeout=1.0)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=1.0)
    if not thread.is_alive():
        loop.close()


async def _close_clients() -> None:
    for client in list(_clients):
        await client.close()
    await asyncio.sleep(0)  # transports close in the loop's next round
