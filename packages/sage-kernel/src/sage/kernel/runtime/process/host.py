"""The parent's side of a worker process: what a task feeds and takes results from.

So many records are under way that the worker always has its next ones at hand: three parts, each of
about ``linger_ms`` of work, as measured. So a slow function gets one record at a time and a fast
one a thousand, and neither makes a result wait for strangers.

Invariant: a record counts as under way from ``feed`` until the worker reports it decided. A worker
that is gone with records under way ends the job with an error; it is never waited for.
"""

from __future__ import annotations

import pickle
import select
import socket
import subprocess
import threading
import time
from collections import deque
from typing import Any

from sage.kernel.errors import JobFailedError, WorkerDiedError
from sage.kernel.runtime.chain import Chain
from sage.kernel.runtime.channel import Batch, ChannelClosed, Mailbox, Wake
from sage.kernel.runtime.hosts import Outcome, Slice
from sage.kernel.runtime.process.launch import how_it_ended, launch
from sage.kernel.runtime.process.live import LiveInProcess
from sage.kernel.runtime.process.protocol import (
    CLOSE,
    CLOSED,
    CLOSING,
    NO_MORE,
    RECORDS,
    SETUP,
    Failure,
    Frames,
    Report,
    Setup,
    framed,
    wait_for,
)
from sage.kernel.runtime.process.under_way import UnderWay

__all__ = ["ProcessHost"]

# So that what is under way stays small also where single records are large.
_PART_BYTES = 1 << 20
# Reports that may wait to be passed on before the worker is left to wait at its end of the socket.
_MOST_REPORTS = 4
# How long a worker that is to stop may go on with the call that it is in, and then with close().
_GRACE_S = 1.0
_CLOSE_S = 10.0
_EXIT_S = 5.0


class ProcessHost:
    """Runs one subtask of an operator in a worker process.

    Args:
        chain: Whose first operator it is.
        mailbox: The task's, to wake it.
        linger_s: About how much work to hand over at once.
        batch_size: Most records to hand over at once.
    """

    def __init__(self, chain: Chain, mailbox: Mailbox, linger_s: float, batch_size: int) -> None:
        node = chain.root.nodes[0]
        assert isinstance(node.live, LiveInProcess)
        self._live = node.live
        self._name = node.transformation.name
        self._layout = chain.root.layouts[0]
        # A caller's request that fails is answered, and the others go on.
        goes_on = "request" in self._layout
        self._travelling = node.live.travelling(goes_on=goes_on)
        self._mailbox = mailbox
        self._linger_s = linger_s
        self._work_target_s = max(linger_s, 0.001)
        self._batch_size = batch_size
        self._size = 1
        self._record_bytes = 1.0
        self._under_way = UnderWay()
        self._outcomes: list[Outcome | Slice] = []
        self._arrived: deque[bytes] = deque()
        self._woken = False
        self._said_no_more = False
        self._finished = False
        self._taken = threading.Event()
        self._reads_on = False
        self._gone = threading.Event()
        self._leaving = threading.Event()
        self._closed = threading.Event()
        self._last_words: bytes | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Start the worker, and leave it to start up while the first records come."""
        self._process, self._socket = launch()
        context = self._live.context
        setup = Setup(
            self._travelling,
            context.name,
            context.uid,
            context.parallel_index,
            context.parallelism,
            context.attempt,
            self._linger_s,
            bool(self._layout),
        )
        self._travelling = b""  # it may hold a whole model
        name = f"sage-worker-{self._process.pid}"
        threading.Thread(target=self._listen, args=(self._socket,), name=name, daemon=True).start()
        self._send(SETUP, pickle.dumps(tuple(setup), protocol=5))

    def room(self) -> int:
        """Return how many records may be fed now."""
        return max(0, 3 * self._size - self._under_way.undecided)

    def feed(self, batch: Batch) -> None:
        """Send records to the worker, in parts that each take about the linger time."""
        for start in range(0, len(batch.values), self._size):
            part = batch.sliced(start, start + self._size)
            try:
                payload = self._live.codec.dumps(part.values)
            except Exception:  # found out one by one, as it concerns only some
                part, payload = self._without_unsendable(part)
            if part.values:
                self._record_bytes = len(payload) / len(part.values)
                self._under_way.add(part)
                self._send(RECORDS, payload)

    def take(self) -> list[Outcome | Slice]:
        """Return what has been reported, in order, and at last that the worker is gone."""
        self._woken = False
        gone = self._gone.is_set()  # before looking: what came last is still taken
        outcomes, self._outcomes = self._outcomes, []
        for _ in range(len(self._arrived)):
            outcomes.append(self._read(self._arrived.popleft()))
        self._taken.set()
        failed = any(isinstance(outcome, Slice) and outcome.failure for outcome in outcomes)
        if gone and not self._finished and not failed:
            outcomes.append(Slice(0, Batch([]), failure=self._death()))
        return outcomes

    @property
    def busy(self) -> bool:
        """Whether records were fed, or the end was told, whose outcome was not taken yet."""
        if self._outcomes or self._under_way.undecided:
            return True
        return self._said_no_more and not self._finished

    def no_more(self) -> None:
        """Tell the worker that its input has ended."""
        if not self._said_no_more:
            self._said_no_more = True
            self._send(NO_MORE)

    def close(self) -> None:
        """End the worker: let it close its function, or kill it if it does not come to that."""
        if self._process is None or self._socket is None:
            return
        self._reads_on = True
        self._taken.set()
        self._send(CLOSE, patience_s=0.1)
        if self._leaving.wait(None if self._finished else _GRACE_S):
            self._closed.wait(None if self._finished else _CLOSE_S)
        try:
            if not self._closed.is_set():
                self._process.kill()
            self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()
        if self._last_words is not None and self._finished:
            failure: Failure | None = self._live.codec.loads(self._last_words)
            if failure is not None:
                self._live.close_failure = self._told(failure)

    # Results.

    def _read(self, payload: bytes) -> Slice:
        try:
            report: Report = self._live.codec.loads(payload)
        except Exception as error:
            doing = "reading results of its worker process"
            return Slice(0, Batch([]), failure=JobFailedError(self._name, error, doing=doing))
        return self._slice(report, len(payload))

    def _slice(self, report: Report, size: int) -> Slice:
        counts = dict(report.counts)
        decided = counts.pop("entered", 0)
        self._resize(decided, report.work_s, size)
        held_before = self._live.held_there
        if report.held is not None:
            self._live.held_there = report.held
        self._finished = self._finished or report.finished
        values, riders = report.values, self._riders(report)
        letters = [self._letter(letter) for letter in report.letters]
        self._under_way.decide(decided, self._live.held_there)
        failure = report.failure
        return Slice(
            decided,
            Batch(values, riders),
            decided + held_before - self._live.held_there,
            counts,
            report.custom,
            letters,
            report.work_s,
            None if failure is None else self._job_failed(failure),
        )

    def _riders(self, report: Report) -> tuple[list[Any], ...]:
        if report.rows is None:
            return ()
        find, none = self._under_way.at, (None,) * len(self._layout)
        rows = [none if row is None else find(row)[1] for row in report.rows]
        return tuple([row[i] for row in rows] for i in range(len(self._layout)))

    def _letter(self, letter: Any) -> Outcome:
        record, riders = letter.record, ()
        if letter.row is not None:
            record, riders = self._under_way.at(letter.row)
        error = self._told(Failure(letter.error, letter.trace))
        return Outcome(record, riders, error=error, attempts=letter.attempts)

    def _told(self, failure: Failure) -> Exception:
        if failure.trace and self._process is not None:
            failure.error.add_note(f"in worker process {self._process.pid}:\n{failure.trace}")
        return failure.error

    def _job_failed(self, failure: Failure) -> JobFailedError:
        return JobFailedError(
            self._name,
            self._told(failure),
            record=failure.record,
            has_record=failure.has_record,
            doing=failure.doing,
            attempts=failure.attempts,
        )

    def _resize(self, decided: int, work_s: float, payload: int) -> None:
        """Choose how many records make a part: about the linger time's worth, growing gently."""
        if decided:
            in_time = int(self._work_target_s * decided / max(work_s, 1e-7))
            in_bytes = int(_PART_BYTES / max(payload / decided, self._record_bytes))
            self._size = max(1, min(in_time, in_bytes, 4 * self._size, self._batch_size))

    def _without_unsendable(self, part: Batch) -> tuple[Batch, bytes]:
        """Keep what can travel; the policy decides about the rest."""
        kept = []
        for row, value in enumerate(part.values):
            try:
                self._live.codec.attempt(value)
                kept.append(row)
            except Exception as error:
                riders = tuple(column[row] for column in part.riders)
                told = TypeError(
                    f"the record cannot be sent to a worker process: "
                    f"{type(error).__name__}: {error}"
                )
                self._outcomes.append(Outcome(value, riders, error=told))
        columns = [[column[row] for row in kept] for column in (part.values, *part.riders)]
        rest = Batch(columns[0], tuple(columns[1:]))
        self._wake()
        return rest, self._live.codec.dumps(rest.values)

    # The worker.

    def _listen(self, connection: socket.socket) -> None:
        """On a thread of its own: take what the worker sends, until it is gone."""
        frames = Frames()
        try:
            while data := self._received(connection):
                for kind, payload in frames.feed(data):
                    if kind == CLOSING:
                        self._leaving.set()
                    elif kind == CLOSED:
                        self._last_words = payload
                        self._closed.set()
                    else:
                        self._arrived.append(payload)
                        self._wake()
                        self._hold_back()
        except OSError:
            pass  # it died with something unread
        finally:
            for event in (self._gone, self._leaving, self._closed):
                event.set()
            self._wake()

    def _received(self, connection: socket.socket) -> bytes:
        """Return what has arrived, or nothing when the worker is gone."""
        assert self._process is not None
        while not wait_for(connection, select.POLLIN, _GRACE_S):
            # A process that the user forked at the wrong moment keeps the worker's end open.
            if self._process.poll() is not None and not wait_for(connection, select.POLLIN, 0):
                return b""
        return connection.recv(1 << 18)

    def _hold_back(self) -> None:
        """Read no further while there is enough to pass on, so that the worker waits."""
        while len(self._arrived) >= _MOST_REPORTS and not self._reads_on:
            self._taken.clear()
            if len(self._arrived) >= _MOST_REPORTS and not self._reads_on:
                self._taken.wait()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._mailbox.put(None, Wake())

    def _send(self, kind: int, payload: bytes = b"", patience_s: float | None = None) -> None:
        """Send a frame; give up when the job is being cancelled, or the worker is gone."""
        assert self._socket is not None
        data = memoryview(framed(kind, payload))
        until = None if patience_s is None else time.monotonic() + patience_s
        while data:
            try:
                data = data[self._socket.send(data, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                # The worker always reads, unless it was stopped, or waits for this side to read.
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

    def _death(self) -> JobFailedError:
        assert self._process is not None
        try:
            ended = how_it_ended(self._process.wait(_EXIT_S))
        except subprocess.TimeoutExpired:
            ended = "closed its connection"
        count = self._under_way.undecided
        first = f", the first of them {self._under_way.first!r:.200}" if count else ""
        error = WorkerDiedError(
            f"worker process {self._process.pid} {ended} with {count} "
            f"record{'' if count == 1 else 's'} under way{first}",
            pid=self._process.pid,
            exit_status=self._process.returncode,
            under_way=count,
        )
        return JobFailedError(self._name, error)
