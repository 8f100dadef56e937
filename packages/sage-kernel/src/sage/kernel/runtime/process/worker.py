"""The worker's side: the operator's own chain of one, run in a process of its own.

What happens to a record, to an error, to a buffer at the end is the code that also runs in a task's
thread; here is only what carries records in and results out. Two threads:

* the main thread calls the user's functions, as users expect of a process;
* the attendant reads the socket. It ends the process when the parent is gone, and sends what has
  gathered while the main thread is stuck in a slow call, so that no result waits for the next one.

Invariant: a report is taken and sent under one lock, so results arrive in the order in which the
operator gave them.
"""

from __future__ import annotations

import logging
import os
import pickle
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Any

from sage.common.errors import ServiceError
from sage.kernel.errors import JobFailedError, RemoteError
from sage.kernel.graph.transformation import Transformation
from sage.kernel.metrics.fates import OperatorStatistics
from sage.kernel.runtime.chain import Chain, Node, Outlet, Segment
from sage.kernel.runtime.channel import Batch
from sage.kernel.runtime.context import RuntimeContext
from sage.kernel.runtime.output import Columns
from sage.kernel.runtime.process.protocol import (
    CLOSE,
    CLOSED,
    CLOSING,
    NO_MORE,
    RECORDS,
    REPORT,
    Codec,
    Failure,
    Frames,
    Letter,
    Report,
    Setup,
    framed,
)
from sage.kernel.runtime.services import Services

__all__ = ["main"]

_COUNTED = [
    name
    for name in OperatorStatistics.__slots__
    if name != "pending" and isinstance(getattr(OperatorStatistics(), name), int)
]
_FULL = 1024


def main(fd: int) -> None:
    """Serve the parent at the other end of a socket until it says that it is over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what Ctrl-C means is the parent's decision
    _die_with_parent()
    connection = socket.socket(fileno=fd)
    attendant = _Attendant(connection)
    attendant.start()
    work = _Work(Setup(*pickle.loads(attendant.inbox.get()[1])), attendant)
    try:
        work.run()
    finally:
        attendant.leave()
        failure = work.close()
        attendant.send(CLOSED, work.codec.dumps(failure))


def _die_with_parent() -> None:
    """Ask Linux to kill this process with its parent, also when a C function never gives way."""
    if sys.platform == "linux":
        import ctypes

        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


class _Attendant(threading.Thread):
    """Reads the socket, and lets out what waits while the main thread is busy."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(name="sage-attendant", daemon=True)
        self.inbox: SimpleQueue[tuple[int, bytes]] = SimpleQueue()
        self.stop = threading.Event()
        self.worked = 0
        self.let_out: Callable[[], None] = lambda: None
        self.rest_s = 0.0025
        self._connection = connection
        self._arrived = 0
        self._leaving = False
        self._sending = threading.Lock()

    def run(self) -> None:
        frames = Frames()
        while True:
            busy = self._arrived != self.worked
            readable, _, _ = select.select(
                [self._connection], [], [], self.rest_s if busy else None
            )
            if not readable:
                self.let_out()
                continue
            try:
                data = self._connection.recv(1 << 18)
            except OSError:
                data = b""
            if not data:
                if self._leaving:
                    return
                os._exit(1)  # the parent is gone, and nobody wants what is under way
            for kind, payload in frames.feed(data):
                if kind == CLOSE:
                    self.stop.set()
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


class _Work:
    """One subtask of an operator."""

    def __init__(self, setup: Setup, attendant: _Attendant) -> None:
        self.codec = Codec()
        self._setup = setup
        self._attendant = attendant
        self._columns = Columns(("row",) if setup.with_rows else ())
        self._letters: list[Letter] = []
        self._row = 0
        self._work_s = 0.0
        self._reported = dict.fromkeys(_COUNTED, 0)
        self._reported_custom: dict[str, int] = {}
        self._unsent_since: float | None = None
        self._reporting = threading.Lock()
        self._opened = False
        self._node: Node | None = None
        self._chain: Chain | None = None

    def run(self) -> None:
        """Work until the parent says that it is over, or until a record ends the job."""
        try:
            chain = self._open()
            attendant = self._attendant
            attendant.rest_s = max(self._setup.linger_s / 2, 0.001)
            attendant.let_out = self._let_out
            attendant.worked += 1
            while True:
                frame = self._next(chain)
                if frame is None:
                    continue
                kind, payload = frame
                if kind == CLOSE or attendant.stop.is_set():
                    return
                if kind == RECORDS:
                    self._work(chain, payload)
                elif kind == NO_MORE:
                    chain.finish()
                    self._report(finished=True)
                attendant.worked += 1
        except JobFailedError as error:
            cause = error.__cause__ or error
            assert isinstance(cause, Exception)
            self._report(failure=self._failure(cause, error))
        except Exception as error:  # told to the parent, which ends the job
            self._report(failure=self._failure(error, None))

    def close(self) -> Failure | None:
        """Close the function if it was opened; return what went wrong."""
        if self._node is None or not self._opened:
            return None
        try:
            self._node.live.close()
        except Exception as error:
            return self._failure(error, None)
        return None

    def _open(self) -> Chain:
        setup = self._setup
        with _Doing(setup.name, "starting its worker process"):
            travelling = self.codec.loads(setup.travelling)
            live = travelling.operator.live()
        transformation = Transformation(setup.uid, setup.name, travelling.operator)
        node = Node(transformation, live, travelling.policy)
        root = Segment([node], (self._columns.layout,), _WayHome(self._columns))
        self._node = node
        self._chain = chain = _WorkerChain(root, self._set_aside, self._attendant.stop.wait)
        context = RuntimeContext(
            name=setup.name,
            uid=setup.uid,
            parallel_index=setup.parallel_index,
            parallelism=setup.parallelism,
            attempt=setup.attempt,
            statistics=node.statistics,
            services=_services(travelling.services),
        )
        self._opened = True
        with _Doing(setup.name, "open()"):
            live.open(context)
        return chain

    def _next(self, chain: Chain) -> tuple[int, bytes] | None:
        """Return the next frame, or None after letting the operator emit what has waited."""
        due_s = chain.due_s()
        timeout_s = None if due_s is None else max(0.0, due_s - time.monotonic())
        try:
            return self._attendant.inbox.get(timeout=timeout_s)
        except Empty:
            chain.tick()
            self._report()
            return None

    def _work(self, chain: Chain, payload: bytes) -> None:
        values = self.codec.loads(payload)
        first, self._row = self._row, self._row + len(values)
        rows = (list(range(first, self._row)),) if self._setup.with_rows else ()
        started = time.monotonic()
        try:
            chain.process(Batch(values, rows))
        finally:
            ended = time.monotonic()
            self._work_s += ended - started
        if self._unsent_since is None:
            self._unsent_since = started
        if (
            self._attendant.inbox.empty()
            or ended - self._unsent_since >= self._setup.linger_s / 2
            or len(self._columns.values) >= _FULL
        ):
            self._report()

    def _set_aside(self, record: Any, error: Exception, attempts: int, row: int | None) -> None:
        error, trace = _portable(error, self.codec)
        if row is not None:
            record = None  # the parent has it
        else:
            try:
                self.codec.check(record)
            except Exception:  # the function changed it into something that cannot travel
                record = repr(record)
        self._letters.append(Letter(row, record, error, trace, attempts))

    def _let_out(self) -> None:
        """On the attendant's thread: send results while the main thread is in a slow call."""
        if not self._columns.values or not self._reporting.acquire(blocking=False):
            return
        try:
            batch = self._columns.take()
            try:
                payload = self.codec.dumps(Report(batch.values, self._rows(batch)))
            except Exception:  # the main thread meets the same, and tells it
                for column, taken in zip(
                    (self._columns.values, *self._columns.riders),
                    (batch.values, *batch.riders),
                    strict=True,
                ):
                    column[:0] = taken
                return
            self._attendant.send(REPORT, payload)
        finally:
            self._reporting.release()

    def _report(self, *, failure: Failure | None = None, finished: bool = False) -> None:
        with self._reporting:
            batch = self._columns.take()
            letters, self._letters = self._letters, []
            report = Report(
                batch.values,
                self._rows(batch),
                *self._new_counts(),
                letters,
                self._node.live.held if self._node is not None else 0,
                self._work_s,
                failure,
                finished,
            )
            self._work_s, self._unsent_since = 0.0, None
            unsendable = None
            try:
                payload = self.codec.dumps(report)
            except Exception as error:
                report, unsendable = self._without_unsendable(report, error)
                payload = self.codec.dumps(report)
            self._attendant.send(REPORT, payload)
        if unsendable is not None:
            self._attendant.stop.set()

    def _rows(self, batch: Batch) -> list[Any] | None:
        return batch.riders[0] if batch.riders else None

    def _new_counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return what was counted since the last time."""
        if self._node is None:
            return {}, {}
        statistics = self._node.statistics
        now = {name: getattr(statistics, name) for name in _COUNTED}
        counts = {name: n - self._reported[name] for name, n in now.items()}
        self._reported = now
        custom = dict(statistics.custom)
        before = self._reported_custom
        more = {k: n - before.get(k, 0) for k, n in custom.items() if n != before.get(k)}
        self._reported_custom = custom
        return {name: n for name, n in counts.items() if n}, more

    def _without_unsendable(self, report: Report, error: Exception) -> tuple[Report, Exception]:
        """Cut a report before the first result that cannot travel, and let it end the job."""
        for at, value in enumerate(report.values):
            try:
                self.codec.check(value)
            except Exception as why:
                kind = type(value).__name__
                told = TypeError(
                    f"the function gave {value!r:.80} ({kind}), which cannot be sent back from a "
                    f"worker process: {type(why).__name__}: {why}"
                )
                rows = None if report.rows is None else report.rows[:at]
                failure = Failure(told, "")
                return report._replace(values=report.values[:at], rows=rows, failure=failure), why
        failure = Failure(RemoteError(type(error).__name__, str(error)), "")
        return Report([], failure=failure), error

    def _failure(self, cause: Exception, failed: JobFailedError | None) -> Failure:
        error, trace = _portable(cause, self.codec)
        if failed is None:
            return Failure(error, trace)
        record, has_record = failed.record, failed.has_record
        try:
            self.codec.check(record)
        except Exception:  # it is only told
            record = repr(record)
        return Failure(error, trace, record, has_record, failed.doing, failed.attempts)


class _WayHome(Outlet):
    """Where the only operator's results stay until they are reported."""

    @property
    def is_direct(self) -> bool:
        """The loop writes into the columns, and nobody but the report takes from them."""
        return True


class _WorkerChain(Chain):
    """A chain whose dead letters are for the parent, with the numbers of their records."""

    def __init__(
        self,
        root: Segment,
        set_aside: Callable[[Any, Exception, int, int | None], None],
        interrupted: Callable[[float], bool],
    ) -> None:
        super().__init__(root, dead_letter=_unused, interrupted=interrupted)
        self._send_home = set_aside

    def set_aside(
        self,
        node: Node,
        record: Any,
        error: Exception,
        attempts: int,
        riders: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Send dead letters home uncounted; the parent counts them as it keeps them."""
        if node.policy.action == "dead_letter":
            self._send_home(record, error, attempts, riders.get("row"))
        else:
            super().set_aside(node, record, error, attempts, riders)


def _unused(node: Node, record: Any, error: BaseException, attempts: int) -> None:
    raise AssertionError("dead letters go home")


class _Doing:
    """Names what an operator was doing in an error."""

    def __init__(self, name: str, doing: str) -> None:
        self._name, self._doing = name, doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            raise JobFailedError(self._name, error, doing=self._doing) from error


def _services(travelling: Mapping[str, Any]) -> Services:
    def refuse(name: str) -> Callable[[], Any]:
        def factory() -> Any:
            raise ServiceError(
                f"service {name!r} is an object of the parent process, which a worker cannot call",
                hint="register the class with its arguments, so that each process makes its own",
                service=name,
            )

        return factory

    return Services({name: make or refuse(name) for name, make in travelling.items()})


def _portable(error: Exception, codec: Codec) -> tuple[Exception, str]:
    """Return an exception as it can travel, and its traceback from the user's first line on."""
    step = start = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename.startswith("<sage chain"):
            start = step.tb_next or start
        step = step.tb_next
    trace = "".join(traceback.format_exception(type(error), error, start)).rstrip()
    try:
        codec.check(error)
    except Exception:  # such as one whose constructor wants other arguments than it kept
        logging.getLogger(__name__).debug("an exception cannot travel", exc_info=True)
        return RemoteError(type(error).__name__, str(error)), trace
    return error, trace
