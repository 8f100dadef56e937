"""The parent's end of a worker process: starts it, talks to it, and notices when it is gone.

A worker is gone when its end of the socket is closed, or when it has not answered for a time that
was given: its second thread answers whatever the first one does, so it was stopped, or a call holds
the interpreter. Then it is killed. Invariant: what a worker says is read from its own socket alone,
and no more of it once it counts as gone; so whatever a worker says late, that was stopped and goes
on, meets nobody, and cannot be mixed with what its replacement says.
"""

from __future__ import annotations

import select
import socket
import subprocess
import threading
import time
from collections import deque

from sage.kernel.runtime.channel import ChannelClosed, Mailbox, Wake
from sage.kernel.runtime.process.launch import how_it_ended, launch
from sage.kernel.runtime.process.protocol import (
    CLOSE,
    CLOSED,
    CLOSING,
    PING,
    PONG,
    Frames,
    framed,
    wait_for,
)

__all__ = ["Connection"]

# Reports that may wait to be passed on before the worker is left to wait at its end of the socket.
_MOST_REPORTS = 4
# How long a worker that is to stop may go on with the call that it is in, and then with close().
_GRACE_S = 1.0
_CLOSE_S = 10.0
_EXIT_S = 5.0
# How often a silent worker is looked at, and how long an interpreter may take to start.
_LOOK_S = 1.0
_STARTING_S = 60.0


class Connection:
    """A worker and the socket to it.

    Args:
        mailbox: The task's, to wake it.
        timeout_s: Seconds without an answer after which the worker is given up; None for never.

    Attributes:
        arrived: Reports that the task has not taken yet.
        gone: Set when nothing more will come.
    """

    def __init__(self, mailbox: Mailbox, timeout_s: float | None) -> None:
        self.arrived: deque[bytes] = deque()
        self.gone = threading.Event()
        self._mailbox = mailbox
        self._timeout_s = timeout_s
        self._woken = False
        self._taken = threading.Event()
        self._reads_on = False
        self._leaving = threading.Event()
        self._closed = threading.Event()
        self._last_words: bytes | None = None
        self._silent = False
        self._patience_s = (timeout_s or 0.0) + _STARTING_S
        self._sending = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Start the worker, and read what it says on a thread of its own."""
        self._process, self._socket = launch()
        name = f"sage-worker-{self._process.pid}"
        threading.Thread(target=self._listen, args=(self._socket,), name=name, daemon=True).start()

    @property
    def pid(self) -> int:
        """The worker's process; 0 if it was not started."""
        return self._process.pid if self._process is not None else 0

    @property
    def returncode(self) -> int | None:
        """Its exit status, once it has ended."""
        return self._process.returncode if self._process is not None else None

    def wake(self) -> None:
        """Have the task look what there is; once until it has looked."""
        if not self._woken:
            self._woken = True
            self._mailbox.put(None, Wake())

    def looking(self) -> None:
        """The task looks; what comes from now on wakes it again."""
        self._woken = False

    def taken(self) -> None:
        """The task has taken reports, so that there is room for more."""
        self._taken.set()

    def send(self, kind: int, payload: bytes = b"", patience_s: float | None = None) -> None:
        """Send a frame; give up when the job is being cancelled, or the worker is gone.

        Raises:
            ChannelClosed: if the job is being cancelled.
        """
        assert self._socket is not None
        data = memoryview(framed(kind, payload))
        until = None if patience_s is None else time.monotonic() + patience_s
        with self._sending:
            while data:
                try:
                    data = data[self._socket.send(data, socket.MSG_DONTWAIT) :]
                except BlockingIOError:
                    # The worker always reads, unless it was stopped, or waits for this side.
                    self._reads_on = True
                    self._taken.set()
                    wait_for(self._socket, select.POLLOUT, 0.1)
                    self._reads_on = until is not None
                    if until is not None and time.monotonic() >= until:
                        return
                    if until is None and self._mailbox.closed:
                        raise ChannelClosed from None
                except OSError:
                    return  # take() tells that it is gone

    def close(self, *, finished: bool) -> bytes | None:
        """End the worker: let it close its function, or kill it if it does not come to that.

        Args:
            finished: Whether it has worked everything off, so that it may take its time.

        Returns:
            Its last words, or None if it did not come to them.
        """
        if self._process is None or self._socket is None:
            return None
        self._reads_on = True
        self._taken.set()
        self.send(CLOSE, patience_s=0.1)
        if self._leaving.wait(None if finished else _GRACE_S):
            self._closed.wait(None if finished else _CLOSE_S)
        try:
            if not self._closed.is_set():
                self._process.kill()
            self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()
        return self._last_words

    def how_it_ended(self) -> str:
        """Say in words why the worker is gone."""
        assert self._process is not None
        try:
            ended = how_it_ended(self._process.wait(_EXIT_S))
        except subprocess.TimeoutExpired:
            return "closed its connection"
        if self._silent:
            return f"did not answer for {self._timeout_s:g} s and was killed"
        return ended

    # On the thread that listens.

    def _listen(self, connection: socket.socket) -> None:
        frames = Frames()
        try:
            while data := self._received(connection):
                for kind, payload in frames.feed(data):
                    if kind == CLOSING:
                        self._leaving.set()
                    elif kind == CLOSED:
                        self._last_words = payload
                        self._closed.set()
                    elif kind != PONG:
                        self.arrived.append(payload)
                        self.wake()
                        self._hold_back()
        except OSError:
            pass  # it died with something unread
        finally:
            for event in (self.gone, self._leaving, self._closed):
                event.set()
            self.wake()

    def _received(self, connection: socket.socket) -> bytes:
        """Return what has arrived, or nothing when the worker is gone."""
        assert self._process is not None
        # Counted in looks, not by a clock: while this process was stopped itself, nobody waited.
        silent_s, look_s = 0.0, min(_LOOK_S, (self._timeout_s or _LOOK_S) / 3)
        while not wait_for(connection, select.POLLIN, look_s):
            # A process that the user forked at the wrong moment keeps the worker's end open.
            if self._process.poll() is not None and not wait_for(connection, select.POLLIN, 0):
                return b""
            if self._timeout_s is None:
                continue
            silent_s += look_s
            if silent_s >= self._patience_s:
                self._silent = True
                self._process.kill()
                return b""
            self._ask(connection)
        self._patience_s = self._timeout_s or 0.0  # it has started
        return connection.recv(1 << 18)

    def _ask(self, connection: socket.socket) -> None:
        """Ask for a sign of life, unless the worker has yet to read what it was sent before."""
        if self._sending.acquire(blocking=False):
            try:
                if wait_for(connection, select.POLLOUT, 0):
                    connection.send(framed(PING), socket.MSG_DONTWAIT)
            finally:
                self._sending.release()

    def _hold_back(self) -> None:
        """Read no further while there is enough to pass on, so that the worker waits."""
        while len(self.arrived) >= _MOST_REPORTS and not self._reads_on:
            self._taken.clear()
            if len(self.arrived) >= _MOST_REPORTS and not self._reads_on:
                self._taken.wait()
