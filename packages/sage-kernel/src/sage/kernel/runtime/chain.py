"""A chain in one subtask: live operators, compiled into loops, with what happens on errors.

A chain is a tree. Where an operator has one consumer, both are in the same loop; where it has
several, or side outputs, results are collected for the batch and each branch runs over them. Such a
stretch without branches is a *segment*, and compiles to one loop.

Invariant: after ``process`` returns, every record of the batch has met its fate or is in an output
buffer; where an operator raised, the loop went on behind the failing record, inner loops first.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import length_hint
from types import MappingProxyType
from typing import Any

from sage.kernel.config import ErrorPolicy
from sage.kernel.errors import JobFailedError, KeyRefusedError
from sage.kernel.graph.transformation import Transformation
from sage.kernel.metrics.fates import OperatorStatistics
from sage.kernel.operators.map_batches import BatchFailed
from sage.kernel.operators.operator import LiveOperator, Row
from sage.kernel.runtime.chain_compiler import CompiledLoop, Failure, compile_loop
from sage.kernel.runtime.channel import Batch
from sage.kernel.runtime.output import Columns, OutputEdge
from sage.kernel.state.key_group import check_key

__all__ = ["Chain", "DeadLetterHandler", "Node", "Outlet", "Segment", "set_aside"]


@dataclass
class Node:
    """An operator of a chain, in one subtask."""

    transformation: Transformation
    live: LiveOperator
    policy: ErrorPolicy
    statistics: OperatorStatistics = field(default_factory=OperatorStatistics)

    def __post_init__(self) -> None:
        self.live.statistics = self.statistics


@dataclass
class Outlet:
    """Where results of a segment go: into other tasks, into further segments, or both.

    Attributes:
        columns: Where they are collected. With a single edge these are the edge's own.
        edges: Edges to other tasks.
        children: Segments of this chain.
    """

    columns: Columns
    edges: list[OutputEdge] = field(default_factory=list)
    children: list[Segment] = field(default_factory=list)
    _for_children: list[Batch] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_direct(self) -> bool:
        """Whether the loop writes straight into the buffer of the only edge."""
        return len(self.edges) == 1 and not self.children

    def spread(self) -> None:
        """Move what was collected to the buffers of the edges, and keep it for the children.

        The linger thread calls this too, while the task is stuck in a user's function; the lock
        keeps the order that records have.
        """
        if self.is_direct or not self.columns.values:
            return
        with self._lock:
            batch = self.columns.take()
            for edge in self.edges:
                edge.columns.extend(batch)
            if self.children and batch.values:
                self._for_children.append(batch)

    def take_for_children(self) -> list[Batch]:
        """Remove and return what the children have not worked on yet."""
        with self._lock:
            batches, self._for_children = self._for_children, []
        return batches


@dataclass
class Segment:
    """A stretch of operators without branches.

    Attributes:
        nodes: The operators; only a source's segment has none.
        layouts: For each input of the first operator, the riders that come in.
        main: Where results go, or None after a sink.
        sides: Where side outputs go.
        relieve: Sends on what waits in the outlets, in the middle of a batch; set by the chain.
    """

    nodes: list[Node]
    layouts: tuple[tuple[str, ...], ...] = ((),)
    main: Outlet | None = None
    sides: list[Outlet] = field(default_factory=list)
    relieve: Callable[[], None] | None = None
    _loops: dict[tuple[int, int], CompiledLoop] = field(default_factory=dict)

    def loop(self, start: int = 0, input_index: int = 0) -> CompiledLoop:
        """Return the loop over the operators from ``start`` on, compiled when first needed."""
        loop = self._loops.get((start, input_index))
        if loop is None:
            nodes = self.nodes[start:]
            loop = self._loops[start, input_index] = compile_loop(
                [n.live for n in nodes],
                [n.statistics for n in nodes],
                layout=self.layout_at(start, input_index),
                input_index=input_index,
                out=self.main.columns if self.main is not None else None,
                relieve=self.relieve,
                most_waiting=self.most_waiting,
            )
        return loop

    def layout_at(self, start: int, input_index: int = 0) -> tuple[str, ...]:
        """Return the riders that come in at operator ``start``."""
        layout = self.layouts[input_index]
        for node in self.nodes[:start]:
            layout = node.live.operator.layout_after(layout)
        return layout

    @property
    def most_waiting(self) -> int:
        """How many results may wait before they are sent on, also in the middle of a batch."""
        edges = self.main.edges if self.main is not None else []
        return max(256, *(edge.batch_size for edge in edges)) if edges else 1024

    @property
    def outlets(self) -> list[Outlet]:
        """Every way out."""
        return [self.main, *self.sides] if self.main is not None else self.sides


DeadLetterHandler = Callable[[Node, Any, BaseException, int], None]


class Chain:
    """The segments of one subtask, and the policies for records that fail.

    Args:
        root: The segment that records enter.
        dead_letter: Called with node, record, error and attempts for a record that is set aside.
        interrupted: Waits for so many seconds; returns True if the job is being cancelled.
    """

    def __init__(
        self,
        root: Segment,
        *,
        dead_letter: DeadLetterHandler,
        interrupted: Callable[[float], bool],
    ) -> None:
        self.root = root
        self._dead_letter = dead_letter
        self._interrupted = interrupted
        self.segments = list(_walk(root))
        for segment in self.segments:
            segment.relieve = functools.partial(self._relieve, segment)
        self.edges = [e for s in self.segments for outlet in s.outlets for e in outlet.edges]
        self.nodes = [node for segment in self.segments for node in segment.nodes]

    def process(self, batch: Batch, input_index: int = 0) -> None:
        """Run a batch through the chain.

        Args:
            batch: With the riders of that input's layout.
            input_index: Which input of the first operator it came in by.
        """
        self._run(self.root, batch, input_index)

    def emit(self, batch: Batch) -> None:
        """Pass on results of the first operator that were computed and counted elsewhere."""
        root = self.root
        if len(root.nodes) > 1:
            self._drive(root, 1, 0, _rows(iter(batch.values), batch))
        elif root.main is not None:
            root.main.columns.extend(batch)
        self._deliver(root)

    def set_aside(
        self,
        node: Node,
        record: Any,
        error: Exception,
        attempts: int,
        riders: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Do what the operator's policy says with a record that failed for good.

        A record that belongs to a caller's request fails that request, and never the job.
        """
        request = riders.get("request")
        if request is not None:
            node.statistics.skipped += 1
            request.fail(_failure(node, record, error, attempts))
        else:
            set_aside(node, record, error, attempts, self._dead_letter)

    def finish(self) -> None:
        """Let every operator say what it still holds, inputs before what reads them."""
        for segment in self.segments:
            for index, node in enumerate(segment.nodes):
                self._finish_node(segment, index, node)
            self._deliver(segment)

    def tick(self) -> None:
        """Let operators emit what has waited long enough; called when there is nothing to do."""
        for segment in self.segments:
            for index, node in enumerate(segment.nodes):
                if node.live.due_s is not None:
                    self._emit_from(segment, index, node, node.live.on_due(), "on_due()")
            self._deliver(segment)

    def due_s(self) -> float | None:
        """Return the earliest time at which `tick` has something to do, or None."""
        times = [node.live.due_s for node in self.nodes if node.live.due_s is not None]
        return min(times, default=None)

    def flush_what_waits(self) -> None:
        """Send results on while the task is stuck in a user's function; for the linger thread."""
        for segment in self.segments:
            for outlet in segment.outlets:
                if outlet.edges:
                    outlet.spread()
        for edge in self.edges:
            edge.try_flush()

    def flush_sinks(self) -> None:
        """Make what sinks were given visible."""
        for node in self.nodes:
            with _Naming(node, "flush()"):
                node.live.flush()

    def run_step(self, step: Segment, batch: Batch, input_index: int, *, is_head: bool) -> None:
        """Run a batch through a segment and leave what comes of it in the segment's columns.

        Args:
            step: The segment.
            batch: With the riders of that input's layout.
            input_index: Which input of the first operator it came in by.
            is_head: Whether the first operator counts what comes in, or that before it did.
        """
        statistics = step.nodes[0].statistics
        values = iter(batch.values)
        rows = _rows(values, batch) if step.layouts[input_index] else values
        try:
            self._drive(step, 0, input_index, rows)
        finally:
            left = length_hint(values)
            if is_head:
                statistics.entered += len(batch.values) - left
                statistics.pending += left
            else:
                statistics.failed += left  # the job has failed: they are held, not worked off

    def _run(self, segment: Segment, batch: Batch, input_index: int = 0) -> None:
        if segment.nodes:
            statistics = segment.nodes[0].statistics
            values = iter(batch.values)
            rows = _rows(values, batch) if segment.layouts[input_index] else values
            try:
                self._drive(segment, 0, input_index, rows)
            finally:
                left = length_hint(values)
                statistics.entered += len(batch.values) - left
                statistics.pending += left
        elif segment.main is not None:  # a source whose records go several ways, or to another task
            segment.main.columns.extend(batch)
        self._deliver(segment)

    def _deliver(self, segment: Segment) -> None:
        for outlet in segment.outlets:
            outlet.spread()
            for batch in outlet.take_for_children() if outlet.children else ():
                for child in outlet.children:
                    self._run(child, batch)

    def _relieve(self, segment: Segment) -> None:
        """Send on what waits before its batch has ended, so that one record cannot fill memory."""
        self._deliver(segment)
        for edge in self.edges:
            if edge.waiting >= edge.batch_size:
                edge.flush()

    def _finish_node(self, segment: Segment, index: int, node: Node) -> None:
        with _Naming(node, "finish()"):
            results = node.live.finish()
        self._emit_from(segment, index, node, results, "finish()")

    def _emit_from(
        self, segment: Segment, index: int, node: Node, results: Iterable[Any], doing: str
    ) -> None:
        """Send what a life-cycle method gives through the operators behind it."""
        iterator = iter(results)
        end = object()
        while True:
            try:
                with _Naming(node, doing):
                    record = next(iterator, end)
            except BatchFailed as error:
                self._rescue_batch(segment, index, error)
                return
            if record is end:
                return
            self._emit_one(segment, index, node, record)
            main = segment.main
            if main is not None and len(main.columns.values) >= segment.most_waiting:
                self._relieve(segment)

    def _emit_one(self, segment: Segment, index: int, node: Node, record: Any) -> None:
        node.statistics.flushed += 1
        layout = segment.layout_at(index + 1)
        row = record if type(record) is Row else (record, *(None for _ in layout))
        if index + 1 < len(segment.nodes):
            self._drive(segment, index + 1, 0, iter((row if layout else record,)))
        elif segment.main is not None:
            beside = dict(zip(layout, row[1:], strict=True))
            columns = segment.main.columns
            columns.append_row((row[0], *(beside.get(name) for name in columns.layout)))

    def _rescue_batch(self, segment: Segment, index: int, failed: BatchFailed) -> None:
        """Apply the policy to every record of a batch whose function raised."""
        node = segment.nodes[index]
        retry = node.policy.retry
        attempts = 1
        while retry and attempts < retry.max_attempts and isinstance(failed.cause, retry.retry_on):
            if self._interrupted(retry.pause_s(attempts)):
                break
            attempts += 1
            node.statistics.retries += 1
            try:
                results = list(failed.again())
            except BatchFailed as again:
                failed = again
                continue
            for record in results:
                self._emit_one(segment, index, node, record)
            return
        layout = segment.layout_at(index)
        if node.policy.action == "fail" and "request" not in layout:
            node.statistics.failed += len(failed.records)
            raise JobFailedError(
                node.transformation.name,
                failed.cause,
                record=failed.records,
                has_record=True,
                attempts=attempts,
            ) from failed.cause
        beside = failed.riders or [()] * len(failed.records)
        for record, row in zip(failed.records, beside, strict=True):
            riders = dict(zip(layout, row, strict=False))
            self.set_aside(node, record, failed.cause, attempts, riders)

    def _drive(
        self, segment: Segment, start: int, input_index: int, records: Iterable[Any]
    ) -> None:
        """Run a loop to the end of ``records``, going on behind each record that fails."""
        loop = segment.loop(start, input_index)
        while True:
            try:
                loop.run(records)
                return
            except Exception as error:
                self._handle(segment, start, input_index, loop, error)

    def _handle(
        self, segment: Segment, start: int, input_index: int, loop: CompiledLoop, error: Exception
    ) -> None:
        failure = loop.locate(error)
        if failure is None:
            raise error
        if isinstance(error, BatchFailed):
            self._rescue_batch(segment, start + failure.index, error)
        else:
            error = _refused_key_behind(failure, error)
            self._apply_policy(segment, start + failure.index, input_index, failure, error)
        # The operator's own inner loops end with the exception; those around it go on.
        for inner, iterator, riders in failure.resumable:
            counted = _Counted(iterator)
            rows = ((item, *riders) for item in counted) if riders else counted
            self._drive(segment, start + inner + 1, 0, rows)
            segment.nodes[start + inner].statistics.produced += counted.count

    def _apply_policy(
        self, segment: Segment, index: int, input_index: int, failure: Failure, error: Exception
    ) -> None:
        node = segment.nodes[index]
        if isinstance(error, KeyRefusedError) and index and _gives_keys(segment.nodes[index - 1]):
            # The key is at fault, not the operator that looks at it: as at an exchange.
            index, node = index - 1, segment.nodes[index - 1]
        elif not node.live.operator.one_to_one and failure.gave_nothing:
            node.statistics.empty -= 1
        last: Exception | None = error
        attempts = 1
        retry = node.policy.retry
        while retry and last and attempts < retry.max_attempts and isinstance(last, retry.retry_on):
            if self._interrupted(retry.pause_s(attempts)):
                break
            attempts += 1
            node.statistics.retries += 1
            last = self._attempt(segment, index, input_index if index == 0 else 0, failure)
        if last is not None:
            riders = dict(zip(failure.layout, failure.riders, strict=True))
            self.set_aside(node, failure.value, last, attempts, riders)

    def _attempt(
        self, segment: Segment, index: int, input_index: int, failure: Failure
    ) -> Exception | None:
        """Run one record again from the operator that failed; return its next error, if any."""
        loop = segment.loop(index, input_index)
        row = (failure.value, *failure.riders) if failure.riders else failure.value
        try:
            loop.run(iter((row,)))
        except Exception as error:
            again = loop.locate(error)
            if again is not None and again.index == 0:
                if not segment.nodes[index].live.operator.one_to_one and again.gave_nothing:
                    segment.nodes[index].statistics.empty -= 1
                return error
            self._handle(segment, index, input_index, loop, error)
        return None


def set_aside(
    node: Node, record: Any, error: Exception, attempts: int, dead_letter: DeadLetterHandler
) -> None:
    """Do what the operator's policy says with a record that failed for good.

    Raises:
        JobFailedError: if the policy is to fail.
    """
    if node.policy.action == "skip":
        node.statistics.skipped += 1
    elif node.policy.action == "dead_letter":
        node.statistics.dead_lettered += 1
        dead_letter(node, record, error, attempts)
    else:
        node.statistics.failed += 1
        raise _failure(node, record, error, attempts) from error


def _failure(node: Node, record: Any, error: Exception, attempts: int) -> JobFailedError:
    return JobFailedError(
        node.transformation.name, error, record=record, has_record=True, attempts=attempts
    )


def _refused_key_behind(failure: Failure, error: Exception) -> Exception:
    """Where a keyed operator could not even hash its key, say that it is no key, and why."""
    if isinstance(error, TypeError) and "key" in failure.layout:
        try:
            check_key(failure.riders[failure.layout.index("key")])
        except KeyRefusedError as refused:
            return refused
    return error


class _Counted:
    """Counts what is taken from an iterator."""

    def __init__(self, iterator: Iterable[Any]) -> None:
        self._iterator = iter(iterator)
        self.count = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        item = next(self._iterator)
        self.count += 1
        return item


class _Naming:
    """Names the operator in an error that a life-cycle method raised."""

    def __init__(self, node: Node, doing: str) -> None:
        self._node, self._doing = node, doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, (JobFailedError, BatchFailed)):
            raise JobFailedError(
                self._node.transformation.name, error, doing=self._doing
            ) from error


def _rows(values: Iterator[Any], batch: Batch) -> Iterable[Any]:
    """Return what a loop iterates; ``values`` is kept apart so that what is left can be counted."""
    return zip(values, *batch.riders, strict=False) if batch.riders else values


def _gives_keys(node: Node) -> bool:
    return node.live.operator.kind == "key_by"


def _walk(segment: Segment) -> Iterator[Segment]:
    yield segment
    for outlet in segment.outlets:
        for child in outlet.children:
            yield from _walk(child)
