"""Requests: records that callers wait for, and how their answers find back.

``env.serve()`` runs a pipeline on requests instead of its source. A request rides beside its record
as a column, through every operator and exchange, so an answer needs no id in the user's records.

A pipeline may drop a record, and then nobody would answer. No operator has to know: the column is
what keeps a request alive, so when the last record that came of it is gone, the request is gone
too, and its last act is to answer "nothing". (This leans on CPython's reference counting: a request
is finalized the moment that nothing refers to it.)
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from threading import Semaphore
from typing import TYPE_CHECKING, Any

from sage.common.core.functions import SourceFunction
from sage.kernel.operators.operator import LiveOperator, Operator, with_rider

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop

__all__ = ["REQUESTS", "AnswerOperator", "Request", "RequestQueue", "RequestsOperator"]

REQUESTS = "requests"


class Request:
    """A caller's record under way; it resolves the caller's future exactly once.

    Args:
        future: What the caller waits for.
        every: Whether the answer is the list of all outputs, instead of the first one.
    """

    __slots__ = ("_every", "_future", "_outputs")

    def __init__(self, future: Future[Any], every: bool) -> None:
        self._future = future
        self._every = every
        self._outputs: list[Any] = []

    def answer(self, value: Any) -> None:
        """Take an output of the pipeline."""
        if self._every:
            self._outputs.append(value)
        else:
            self._resolve(value)

    def fail(self, error: BaseException) -> None:
        """Let the caller have an error."""
        with contextlib.suppress(InvalidStateError):  # it has an answer already
            self._future.set_exception(error)

    def __del__(self) -> None:
        self._resolve(self._outputs if self._every else None)

    def _resolve(self, value: Any) -> None:
        with contextlib.suppress(InvalidStateError):  # another output was faster
            self._future.set_result(value)


class RequestQueue(SourceFunction[Any]):
    """The source of a served pipeline: rows of record and request, from any thread."""

    bounded = False

    def __init__(self) -> None:
        self._waiting: deque[tuple[Any, Request]] = deque()
        self._arrived = Semaphore(0)

    def __deepcopy__(self, memo: object) -> RequestQueue:
        return self  # callers and the job share it

    def put(self, record: Any, request: Request) -> None:
        """Add a request."""
        self._waiting.append((record, request))
        self._arrived.release()

    def read(self, max_records: int) -> Sequence[Any] | None:
        """Return the requests that wait, or wait a moment for the first one."""
        if not self._waiting and not self._arrived.acquire(timeout=self.poll_timeout_s / 2):
            return ()
        count = min(max_records, len(self._waiting))
        return [self._waiting.popleft() for _ in range(count)]


@dataclass(frozen=True)
class RequestsOperator(Operator):
    """Takes rows of record and request apart."""

    kind = REQUESTS

    def layout_after(self, layout: tuple[str, ...]) -> tuple[str, ...]:
        """Behind it every record has a request."""
        return with_rider(layout, "request")

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``v1, request = v``."""
        value, request = loop.fresh(), loop.fresh("r")
        loop.line(f"{value}, {request} = {loop.value}")
        loop.value = value
        loop.riders["request"] = request


@dataclass(frozen=True)
class AnswerOperator(Operator):
    """Gives each record to its caller."""

    kind = "answer"
    terminal = True

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``request.answer(v)``; a record of another source has no request and goes nowhere."""
        request = loop.riders["request"]
        loop.block(f"if {request} is None:", [f"{loop.count('filtered')} += 1", "continue"])
        loop.line(f"{request}.answer({loop.value})")
