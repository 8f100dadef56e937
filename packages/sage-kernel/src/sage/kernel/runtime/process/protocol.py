"""What a host and its worker process say to each other, over a socket pair that only they have.

A frame is a kind, a length and a pickle (protocol 5). Pickles are read here only because both ends
are one program of one user: the socket has no name, and is open in these two processes alone.

Classes that the worker cannot import (those of the main script) travel by value, as cloudpickle
does it. Each is sent once to each worker and named by its number from then on, in both directions:
so a record comes back as an instance of the very class that was sent, and that class is not
assembled anew, which would overwrite its attributes, for every batch.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NamedTuple

import cloudpickle
from cloudpickle import cloudpickle as trackers

from sage.kernel.config import ErrorPolicy
from sage.kernel.operators.operator import Operator

__all__ = [
    "CLOSE",
    "CLOSED",
    "CLOSING",
    "NO_MORE",
    "PING",
    "PONG",
    "RECORDS",
    "REPORT",
    "SETUP",
    "SNAPSHOT",
    "Codec",
    "Failure",
    "Frames",
    "Letter",
    "Report",
    "Setup",
    "Travelling",
    "framed",
    "wait_for",
]

# From the host.
SETUP, RECORDS, NO_MORE, CLOSE, SNAPSHOT, PING = range(6)
# From the worker.
REPORT, CLOSING, CLOSED, PONG = range(6, 10)

_HEADER = struct.Struct("!BQ")
_ID_LENGTH = 32


def framed(kind: int, payload: bytes = b"") -> bytes:
    """Return a frame, ready to be sent."""
    return _HEADER.pack(kind, len(payload)) + payload


def wait_for(connection: socket.socket, event: int, timeout_s: float | None) -> bool:
    """Wait until a socket can be read or written (``POLLIN``, ``POLLOUT``); say whether it can.

    Unlike ``select``, this also works for a process that has more than a thousand files open.
    """
    poll = select.poll()
    poll.register(connection, event)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))


class Frames:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Add what arrived; yield kind and payload of every frame that is complete."""
        self._data += data
        while len(self._data) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._data)
            end = _HEADER.size + length
            if len(self._data) < end:
                return
            payload = bytes(memoryview(self._data)[_HEADER.size : end])
            del self._data[:end]
            yield kind, payload


@dataclass(frozen=True)
class Travelling:
    """What cannot be made in the worker and is checked at submit.

    Attributes:
        operator: With the user's functions.
        policy: What happens to a record at which it raises.
        services: How to make each service; None for one that exists in the parent only.
    """

    operator: Operator
    policy: ErrorPolicy
    services: dict[str, Any]


class Setup(NamedTuple):
    """What a worker is told first.

    Attributes:
        travelling: A `Travelling`, encoded at submit.
        name: Of the operator.
        uid: Of the operator.
        parallel_index: Which subtask this is.
        parallelism: How many there are.
        attempt: How often the job was started again before.
        checkpoint_mode: "exactly_once" or "at_least_once"; None without checkpoints.
        job_name: Of the job.
        linger_s: Longest wait of a result for company.
        with_rows: Whether results are to name the record they came of.
        keeps_state: Whether the functions' own state is to be told at the end of the input.
        restored: The state that they had in a checkpoint, by number, encoded; empty if none.
    """

    travelling: bytes
    name: str
    uid: str
    parallel_index: int
    parallelism: int
    attempt: int
    checkpoint_mode: str | None
    job_name: str
    linger_s: float
    with_rows: bool
    keeps_state: bool = False
    restored: bytes = b""


class Letter(NamedTuple):
    """A record that failed for good and did not end the job.

    Attributes:
        row: The number of the record, if rows are named.
        record: The record, if they are not.
        error: The user's exception.
        trace: Its traceback, formatted in the worker.
        attempts: How often the function was called.
    """

    row: int | None
    record: Any
    error: Exception
    trace: str
    attempts: int


class Failure(NamedTuple):
    """Why the worker gave up; the parts of a ``JobFailedError``."""

    error: Exception
    trace: str
    record: Any = None
    has_record: bool = False
    doing: str = ""
    attempts: int = 1


class Report(NamedTuple):
    """What has come of records since the last report.

    Attributes:
        values: Results, in order.
        rows: For each the number of its record, if rows are named.
        counts: What to add to the operator's statistics, ``entered`` among it.
        custom: What to add to the counters of the user's function.
        letters: Records that failed.
        held: Records that are in the operator's buffer now; None if that is not said.
        work_s: Time in which the function worked.
        failure: Why nothing more will come.
        finished: Whether the operator has said all that it had at the end of the input.
        whole: Whether every result so far belongs to a record that is decided, so that a checkpoint
            may be taken behind it. A report from the middle of a slow call is not.
        state: What the functions keep for themselves, by number, if that was asked for.
    """

    values: list[Any]
    rows: list[int | None] | None = None
    counts: dict[str, int] = {}  # noqa: RUF012 -- a default that nobody writes to
    custom: dict[str, int] = {}  # noqa: RUF012
    letters: list[Letter] = []  # noqa: RUF012
    held: int | None = None
    work_s: float = 0.0
    failure: Failure | None = None
    finished: bool = False
    whole: bool = True
    state: dict[int, Any] | None = None


class Codec:
    """One side's pickling; it knows which classes the other side has."""

    def __init__(self) -> None:
        # Held, not only named: cloudpickle's own table lets go of a class that nobody uses.
        self._shared: dict[str, type] = {}
        self._reducers = {**cloudpickle.Pickler._dispatch_table, **copyreg.dispatch_table}

    def dumps(self, value: Any) -> bytes:
        """Encode a value that is sent for certain: from now on the other side has its classes."""
        pickler = self._dumped(value)
        self._shared.update(pickler.fresh)
        ids = "".join(pickler.fresh).encode()
        return struct.pack("!H", len(pickler.fresh)) + ids + pickler.buffer.getbuffer()

    def attempt(self, value: Any) -> None:
        """Raise what encoding a value raises."""
        self._dumped(value)

    def check(self, value: Any) -> None:
        """Raise what encoding a value raises, or decoding it."""
        pickle.loads(self._dumped(value).buffer.getbuffer())

    def loads(self, data: bytes) -> Any:
        """Decode a value."""
        (count,) = struct.unpack_from("!H", data)
        start = 2 + count * _ID_LENGTH
        value = pickle.loads(memoryview(data)[start:])
        ids = data[2:start].decode()
        for at in range(0, len(ids), _ID_LENGTH):
            tracker = ids[at : at + _ID_LENGTH]
            self._shared[tracker] = _class_called(tracker)
        return value

    def _dumped(self, value: Any) -> _Pickler:
        pickler = _Pickler(self._shared, self._reducers)
        pickler.dump(value)
        return pickler


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, shared: dict[str, type], reducers: dict[type, Any]) -> None:
        self.buffer = io.BytesIO()
        super().__init__(self.buffer, protocol=5)
        self.dispatch_table = reducers  # a plain dict, not cloudpickle's chain of two
        self.fresh: dict[str, type] = {}
        self._shared = shared

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is FunctionType:
            return super().reducer_override(obj)
        if not issubclass(kind, type):
            return NotImplemented  # most objects; the C pickler goes on
        tracker = trackers._DYNAMIC_CLASS_TRACKER_BY_CLASS.get(obj)
        if tracker in self._shared:
            return _class_called, (tracker,)
        reduced = super().reducer_override(obj)
        if reduced is not NotImplemented:
            tracker = trackers._DYNAMIC_CLASS_TRACKER_BY_CLASS.get(obj)
            if tracker is not None:
                self.fresh[tracker] = obj
        return reduced


def _class_called(tracker: str) -> type:
    cls: type = trackers._DYNAMIC_CLASS_TRACKER_BY_ID[tracker]
    return cls
