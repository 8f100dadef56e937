"""The worker's side: the operator's own chain of one, run in a process of its own.

What happens to a record, to an error, to a buffer at the end is the code that also runs in a task's
thread; here is only what carries records in and results out. The main thread calls the user's
functions, as users expect of a process; the attendant stands at the socket.
"""

from __future__ import annotations

import io
import pickle
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import Empty
from typing import Any

from sage.common.errors import ServiceError
from sage.kernel.errors import JobFailedError
from sage.kernel.graph.transformation import Transformation
from sage.kernel.operators.operator import LiveOperator
from sage.kernel.runtime.chain import Chain
from sage.kernel.runtime.channel import Batch
from sage.kernel.runtime.context import RuntimeContext
from sage.kernel.runtime.policies import NO_RIDERS
from sage.kernel.runtime.process.attendant import Attendant
from sage.kernel.runtime.process.protocol import (
    CLOSE,
    CLOSED,
    NO_MORE,
    RECORDS,
    REPORT,
    Codec,
    Failure,
    Setup,
)
from sage.kernel.runtime.process.reporter import Reporter
from sage.kernel.runtime.segment import Node, Outlet, Segment
from sage.kernel.runtime.services import Services
from sage.kernel.time.clock import system_clock

__all__ = ["main"]

_FULL = 1024


def main(fd: int) -> None:
    """Serve the parent at the other end of a socket until it says that it is over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what Ctrl-C means is the parent's decision
    _die_with_parent()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what is printed is seen, also if it is killed
    attendant = Attendant(socket.socket(fileno=fd))
    attendant.start()
    work = _Work(Setup(*pickle.loads(attendant.inbox.get()[1])), attendant)
    try:
        work.run()
    finally:
        attendant.leave()
        attendant.send(CLOSED, work.codec.dumps(work.close()))


def _die_with_parent() -> None:
    """Ask Linux to kill this process with its parent, also while a C function does not give way."""
    if sys.platform == "linux":
        import ctypes

        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


class _Work:
    """One subtask of an operator."""

    def __init__(self, setup: Setup, attendant: Attendant) -> None:
        self.codec = Codec()
        self._setup = setup
        self._attendant = attendant
        self._reporter = Reporter(
            self.codec,
            lambda payload: attendant.send(REPORT, payload),
            with_rows=setup.with_rows,
        )
        self._row = 0
        self._unsent_since: float | None = None
        self._opened: LiveOperator | None = None

    def run(self) -> None:
        """Work until the parent says that it is over, or until a record ends the job."""
        try:
            if not self._attendant.stop.is_set():
                self._serve(self._open())
        except Exception as error:  # told to the parent, which ends the job
            self._reporter.report(failure=self._reporter.failure(error))

    def close(self) -> Failure | None:
        """Close the function if it was opened; return what went wrong."""
        if self._opened is None:
            return None
        try:
            self._opened.close()
        except Exception as error:
            return self._reporter.failure(error)
        return None

    def _open(self) -> Chain:
        setup, reporter = self._setup, self._reporter
        with _naming(setup.name, "starting its worker process"):
            travelling = self.codec.loads(setup.travelling)
            live = travelling.operator.live()
        transformation = Transformation(setup.uid, setup.name, travelling.operator)
        node = Node(transformation, live, travelling.policy)
        reporter.live = live
        root = Segment([node], (reporter.columns.layout,), _WayHome(reporter.columns))
        chain = _WorkerChain(root, reporter, self._attendant.stop.wait)
        context = RuntimeContext(
            name=setup.name,
            uid=setup.uid,
            parallel_index=setup.parallel_index,
            parallelism=setup.parallelism,
            attempt=setup.attempt,
            checkpoint_mode=setup.checkpoint_mode,
            job_name=setup.job_name,
            statistics=node.statistics,
            services=_services(travelling.services),
        )
        self._opened = live
        with _naming(setup.name, "open()"):
            live.open(context)
        if setup.restored:
            with _naming(setup.name, "restore_state()"):
                self._restore(live, self.codec.loads(setup.restored))
        return chain

    @staticmethod
    def _restore(live: LiveOperator, restored: Mapping[int, Any]) -> None:
        for number, own in restored.items():
            owner = live.functions[number].owner
            if owner is not None:
                owner.restore_state(own)

    def _serve(self, chain: Chain) -> None:
        attendant = self._attendant
        attendant.rest_s = max(self._setup.linger_s / 2, 0.001)
        attendant.let_out = self._reporter.let_out
        attendant.worked += 1
        while True:
            kind, payload = self._next(chain)
            if kind == CLOSE or attendant.stop.is_set():
                return
            if attendant.asked.is_set():  # answered before the parts that wait
                attendant.asked.clear()
                self._report(with_state=True)
            if kind == RECORDS:
                self._work(chain, payload)
            elif kind == NO_MORE:
                chain.finish()
                self._report(finished=True, with_state=self._setup.keeps_state)
            attendant.worked += 1

    def _next(self, chain: Chain) -> tuple[int, bytes]:
        """Return the next frame, letting the operator emit what has waited long enough."""
        while True:
            due_s = chain.due_s()
            timeout_s = None if due_s is None else max(0.0, due_s - system_clock())
            try:
                return self._attendant.inbox.get(timeout=timeout_s)
            except Empty:
                chain.tick()
                self._report()

    def _work(self, chain: Chain, payload: bytes) -> None:
        values = self.codec.loads(payload)
        first, self._row = self._row, self._row + len(values)
        rows = (list(range(first, self._row)),) if self._setup.with_rows else ()
        started = time.monotonic()
        try:
            chain.process(Batch(values, rows))
        finally:
            ended = time.monotonic()
            self._reporter.work_s += ended - started
        if self._unsent_since is None:
            self._unsent_since = started
        if (
            self._attendant.inbox.empty()
            or ended - self._unsent_since >= self._setup.linger_s / 2
            or self._reporter.waiting >= _FULL
        ):
            self._report()
        else:
            self._reporter.settle()

    def _report(self, *, finished: bool = False, with_state: bool = False) -> None:
        self._unsent_since = None
        state = self._state() if with_state else None
        if not self._reporter.report(finished=finished, state=state):
            self._attendant.stop.set()

    def _state(self) -> dict[int, Any]:
        """Return what the functions keep for themselves, by number."""
        assert self._opened is not None
        with _naming(self._setup.name, "snapshot_state()"):
            return {
                number: function.owner.snapshot_state()
                for number, function in enumerate(self._opened.functions)
                if function.owner is not None
            }


class _WayHome(Outlet):
    """Where the only operator's results stay until they are reported."""

    @property
    def is_direct(self) -> bool:
        """The loop writes into the columns, and nobody but the reporter takes from them."""
        return True


class _WorkerChain(Chain):
    """A chain whose dead letters are for the parent, with the numbers of their records."""

    def __init__(
        self, root: Segment, reporter: Reporter, interrupted: Callable[[float], bool]
    ) -> None:
        super().__init__(root, dead_letter=_unused, interrupted=interrupted)
        self._reporter = reporter

    def set_aside(
        self,
        node: Node,
        record: Any,
        error: Exception,
        attempts: int,
        riders: Mapping[str, Any] = NO_RIDERS,
    ) -> None:
        """Send dead letters home uncounted; the parent counts them as it keeps them."""
        if node.policy.action == "dead_letter":
            self._reporter.set_aside(record, error, attempts, riders.get("row"))
        else:
            super().set_aside(node, record, error, attempts, riders)

    def _relieve(self, segment: Segment) -> None:
        """Report in the middle of a batch, and wait while the parent has enough to pass on."""
        if not self._reporter.report(whole=False):
            # The report told the parent why; this only ends the loop.
            name = segment.nodes[0].transformation.name
            raise JobFailedError(name, TypeError("a result cannot be sent"))


def _unused(
    node: Node, record: Any, error: BaseException, attempts: int, *, is_input: bool = True
) -> None:
    raise AssertionError("dead letters go home")


@contextmanager
def _naming(name: str, doing: str) -> Iterator[None]:
    """Name the operator, and what it was doing, in an error."""
    try:
        yield
    except Exception as error:
        raise JobFailedError(name, error, doing=doing) from error


def _services(travelling: Mapping[str, Any]) -> Services:
    def refusing(name: str) -> Callable[[], Any]:
        def refuse() -> Any:
            raise ServiceError(
                f"service {name!r} is an object of the parent process, which a worker cannot call",
                hint="register the class with its arguments, so that each process makes its own",
                service=name,
            )

        return refuse

    return Services({name: make or refusing(name) for name, make in travelling.items()})
