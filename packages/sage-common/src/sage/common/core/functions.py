"""The functions that users write, one class for each shape.

A function takes a record and gives a record; ``None`` means "no output". The runtime calls, on
each parallel instance and in this order::

    attach(context) → open(context) → map/filter/... for each record → finish() → close()

``close`` is called exactly once, also after a failure; ``finish`` only when the input ended. A
subclass need not call ``super().__init__()``, and may assign ``self.context`` and ``self.logger``
itself: both are plain attributes.

This module knows nothing of the engine, so that libraries can implement functions without it.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from sage.common.core.context import FunctionContext
from sage.common.errors import ServiceError

__all__ = [
    "AggregateFunction",
    "AsyncMapFunction",
    "BatchFunction",
    "CoMapFunction",
    "CompositeFunction",
    "FilterFunction",
    "FlatMapFunction",
    "Function",
    "JoinFunction",
    "KeyByFunction",
    "MapFunction",
    "ProcessFunction",
    "ProcessWindowFunction",
    "ReduceFunction",
    "ReplayableSource",
    "SinkFunction",
    "SourceFunction",
    "StopSignal",
    "TransactionalSink",
]

T = TypeVar("T")
U = TypeVar("U")
L = TypeVar("L")
R = TypeVar("R")
A = TypeVar("A")
K = TypeVar("K")
T_contra = TypeVar("T_contra", contravariant=True)
U_co = TypeVar("U_co", covariant=True)


class StopSignal:
    """What a ``BatchFunction`` may return to say that it has ended.

    It never reaches a user function; the runtime turns it into the end of the source.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"StopSignal({self.name!r})"


class Function:
    """What all functions share: a life cycle, a logger, a context and services."""

    context: FunctionContext | None = None
    logger: logging.Logger = logging.getLogger("sage.function")

    def attach(self, context: FunctionContext) -> None:
        """Take the context and its logger; the runtime calls this just before ``open``."""
        object.__setattr__(self, "context", context)
        object.__setattr__(self, "logger", context.logger)

    def open(self, context: Any) -> None:
        """Acquire resources; called once for each parallel instance, before any record."""

    def close(self) -> None:
        """Release resources; called once for each parallel instance, also after a failure."""

    def finish(self) -> Iterable[Any] | None:
        """Return what is still buffered at the end of the input, or None."""
        return None

    def snapshot_state(self) -> object:
        """Return this function's own state for a checkpoint, or None if it has none."""
        return None

    def restore_state(self, state: Any) -> None:
        """Take back what ``snapshot_state`` returned."""

    def call_service(
        self, name: str, *args: Any, method: str = "process", timeout_s: float | None = None
    ) -> Any:
        """Call a method of a registered service.

        Args:
            name: The name given to ``register_service``.
            args: Positional arguments of the method.
            method: Name of the method.
            timeout_s: Seconds to wait for the answer; None waits for ever.

        Raises:
            ServiceError: if the function does not run in a job, the service is unknown, or the
                answer does not come in time.
        """
        if self.context is None:
            raise ServiceError(
                f"{type(self).__name__} called service {name!r} outside a running job",
                hint="services are there between open() and close()",
                service=name,
            )
        return self.context.call_service(name, *args, method=method, timeout_s=timeout_s)


class SourceFunction(Function, ABC, Generic[T]):
    """Where records come from, read in batches.

    A source that also has ``snapshot_position`` and ``seek`` (see `ReplayableSource`) can be
    replayed after a failure.
    """

    @abstractmethod
    def read(self, max_records: int) -> Sequence[T] | None:
        """Return what is there now: at most ``max_records``, maybe nothing.

        Returns:
            The records, an empty sequence if none is there yet, or None when the source has ended
            for good. A call must not block longer than ``poll_timeout_s``.
        """

    poll_timeout_s: float = 0.1

    def splits(self) -> Sequence[object] | None:
        """Return the parts that can be read in parallel, or None if it cannot be split."""
        return None


@runtime_checkable
class ReplayableSource(Protocol):
    """A source that can say where it is and go back there."""

    def snapshot_position(self) -> object:
        """Return the position after the last record that ``read`` returned."""

    def seek(self, position: Any) -> None:
        """Go to a position that ``snapshot_position`` returned; called before the first read."""


class BatchFunction(Function, ABC, Generic[T]):
    """A source that gives one record a call, until it returns None or a `StopSignal`."""

    @abstractmethod
    def execute(self) -> T | StopSignal | None:
        """Return the next record; None or a `StopSignal` ends the source."""


class MapFunction(Function, ABC, Generic[T_contra, U_co]):
    """One record in, one record or nothing out.

    Example:
        >>> class Double(MapFunction[int, int]):
        ...     def map(self, record):
        ...         return 2 * record
        >>> Double().map(4)
        8
    """

    @abstractmethod
    def map(self, record: T_contra) -> U_co | None:
        """Return the record that replaces ``record``, or None for no output."""


class CompositeFunction(MapFunction[T_contra, U_co]):
    """A map function that a stream puts on as several operators (Beam's composite transform).

    ``stream.map(function)`` calls ``expand`` once, while the pipeline is built, instead of ``map``
    for each record; so a function that works record by record when it is called by itself can work
    in batches, or on what several branches made of one record, when it is on a stream.
    """

    @abstractmethod
    def expand(self, stream: Any, **options: Any) -> Any:
        """Return the stream of results.

        Args:
            stream: What ``map`` was called on.
            options: ``name``, which no other operator has, and what else every verb takes and this
                one was given: ``uid``, ``parallelism``...
        """


class FilterFunction(Function, ABC, Generic[T_contra]):
    """Keeps the records for which it says yes."""

    @abstractmethod
    def filter(self, record: T_contra) -> bool:
        """Return something true to keep the record."""


class FlatMapFunction(Function, ABC, Generic[T_contra, U_co]):
    """One record in, any number out."""

    @abstractmethod
    def flat_map(self, record: T_contra) -> Iterable[U_co] | None:
        """Return the records that replace ``record``. A ``str`` is refused, not split."""


class KeyByFunction(Function, ABC, Generic[T_contra, U_co]):
    """Says which key a record belongs to."""

    @abstractmethod
    def get_key(self, record: T_contra) -> U_co:
        """Return the key: str, bytes, int, bool, float, date, UUID, Enum, or a tuple of these."""


class ReduceFunction(Function, ABC, Generic[T]):
    """Combines two records into one of the same type, for each key."""

    @abstractmethod
    def reduce(self, a: T, b: T) -> T:
        """Return the combination of the value so far (``a``) and the next record (``b``)."""


class AggregateFunction(Function, ABC, Generic[T, A, R]):
    """Folds records into an accumulator and turns that into a result."""

    @abstractmethod
    def create(self) -> A:
        """Return an empty accumulator."""

    @abstractmethod
    def add(self, acc: A, record: T) -> A:
        """Return the accumulator with ``record`` in it."""

    @abstractmethod
    def result(self, acc: A) -> R:
        """Return what the accumulator stands for."""

    @abstractmethod
    def merge(self, a: A, b: A) -> A:
        """Return one accumulator for both, the records of ``a`` first; windows need it.

        It may change and return ``a``, and must leave ``b`` as it is.
        """


class ProcessFunction(Function, ABC, Generic[T_contra, U_co]):
    """The general function: state, timers, timestamps and side outputs through ``ctx``."""

    @abstractmethod
    def process(self, record: T_contra, ctx: Any) -> Iterable[U_co] | None:
        """Return the records that come of ``record``; side outputs go to ``ctx.output``."""

    def on_timer(self, timestamp_s: float, ctx: Any) -> Iterable[U_co] | None:
        """Return the records that come of a timer that fired."""
        return None


class ProcessWindowFunction(Function, ABC, Generic[K, T_contra, U_co]):
    """Makes records of all records of a window, each time that it fires."""

    @abstractmethod
    def process(self, key: K, records: Sequence[T_contra], ctx: Any) -> Iterable[U_co] | None:
        """Return the records that come of a firing.

        Args:
            key: The key of the window's records.
            records: Those that the firing is about, in the order of their arrival.
            ctx: Has ``window`` with ``start_s`` and ``end_s``, ``pane`` with ``timing``, ``index``
                and ``is_last``, ``watermark``, and ``output(tag, record)`` for side outputs.
        """


class CoMapFunction(Function):
    """One method for each input of ``connect``: ``map0``, ``map1``, ... up to ``map4``."""


class JoinFunction(Function, ABC, Generic[L, R, U]):
    """Makes one record of a matching pair."""

    @abstractmethod
    def join(self, left: L | None, right: R | None) -> U | None:
        """Return the joined record, or None for no output; an absent side is None."""


class AsyncMapFunction(Function, ABC, Generic[T_contra, U_co]):
    """A map whose work is awaited, many records at a time."""

    @abstractmethod
    async def map(self, record: T_contra) -> U_co | None:
        """Return the record that replaces ``record``, or None for no output."""


class SinkFunction(Function, ABC, Generic[T_contra]):
    """Where records go."""

    @abstractmethod
    def write(self, record: T_contra) -> None:
        """Take one record."""

    def flush(self) -> None:
        """Make what was written visible; called before ``close`` when the input ended."""


@runtime_checkable
class TransactionalSink(Protocol):
    """A sink whose output appears with the checkpoint that covers it (two-phase commit).

    What it writes between two barriers is an *epoch*. The engine calls, never two at once::

        open(context) -> begin(e) -> write ... -> prepare(e) -> begin(e + 1) -> write ...

    and ``commit(e)`` when a checkpoint is complete that covers ``e``: with the next checkpoint, if
    that of ``e`` failed. After a restart, behind ``open``: ``commit`` for every epoch that the
    restored checkpoint covers, ``abort`` for every epoch that may have been begun after it, then
    ``begin``. At the end: ``prepare``, ``commit``, ``flush``, ``close``. In a job without
    checkpoints (``context.checkpoint_mode`` is None) none of these is called.

    ``commit`` and ``abort`` must be idempotent, also for an epoch that the sink knows nothing of.
    The number of subtasks may change in between: subtask ``i`` of ``p`` settles what the old
    subtasks ``i``, ``i + p``, ``i + 2p`` ... have prepared.

    A sink may have one more method, ``start_over()``: called behind ``open``, before any other,
    when a job starts over (``fresh=True``), it removes what the subtasks ``i``, ``i + p`` ... of
    earlier runs have written or left behind.
    """

    def begin(self, epoch: int) -> None:
        """Start collecting the writes of ``epoch``."""

    def prepare(self, epoch: int) -> object:
        """Make the writes of ``epoch`` durable but not yet visible; return what commit needs."""

    def commit(self, epoch: int) -> None:
        """Make the writes of ``epoch`` visible; calling it again changes nothing."""

    def abort(self, epoch: int) -> None:
        """Throw the writes of ``epoch`` away.

        What is committed stays. It is committed behind the checkpoint that the run begins with only
        where that is an older one than the newest (which was damaged, say): its records will come
        again, and no sink can tell which of them they are. Where exactly once is promised
        (``context.checkpoint_mode``) raise then, and say what is there.
        """
