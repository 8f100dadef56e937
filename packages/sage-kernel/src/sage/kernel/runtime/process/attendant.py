"""The worker's second thread: it reads the socket while the main thread calls the user's function.

It ends the process when the parent is gone, says that the process is alive when the parent asks,
and lets out what has gathered while the main thread is stuck in a slow call, so that no result
waits for the next one.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from queue import SimpleQueue

from sage.kernel.runtime.process.protocol import (
    CLOSE,
    CLOSING,
    PING,
    PONG,
    SNAPSHOT,
    Frames,
    framed,
    wait_for,
)

__all__ = ["Attendant"]


class Attendant(threading.Thread):
    """Stands between the socket and the main thread.

    Args:
        connection: The worker's end of the socket.

    Attributes:
        inbox: Frames that have arrived, kind and payload.
        stop: Set when the parent wants the worker to end.
        asked: Set when the parent wants to know the functions' state.
        worked: How many frames the main thread has worked off; it counts them.
        let_out: Called every ``rest_s`` while the main thread works.
        rest_s: Half the longest time that a result may wait.
    """

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(name="sage-attendant", daemon=True)
        self.inbox: SimpleQueue[tuple[int, bytes]] = SimpleQueue()
        self.stop = threading.Event()
        self.asked = threading.Event()
        self.worked = 0
        self.let_out: Callable[[], None] = lambda: None
        self.rest_s = 0.0025
        self._connection = connection
        self._arrived = 0
        self._leaving = False
        self._sending = threading.Lock()

    def run(self) -> None:
        """Read until the parent is gone."""
        frames = Frames()
        while True:
            timeout_s = self.rest_s if self._arrived != self.worked else None
            if not wait_for(self._connection, select.POLLIN, timeout_s):
                self.let_out()
                continue
            data = self._read()
            if not data:
                if self._leaving:
                    return
                os._exit(1)  # the parent is gone, and nobody wants what is under way
            for kind, payload in frames.feed(data):
                if kind == PING:
                    self.send(PONG)
                    continue
                if kind == CLOSE:
                    self.stop.set()
                elif kind == SNAPSHOT:
                    self.asked.set()
                self._arrived += 1
                self.inbox.put((kind, payload))

    def leave(self) -> None:
        """Tell the parent that the user's function is not being called any more."""
        self._leaving = True
        self.send(CLOSING)

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Send a frame; if nobody is there any more the process ends."""
        with self._sending:
            try:
                self._connection.sendall(framed(kind, payload))
            except OSError:
                os._exit(1)

    def _read(self) -> bytes:
        try:
            return self._connection.recv(1 << 18)
        except OSError:
            return b""
