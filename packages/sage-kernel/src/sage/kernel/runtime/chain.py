"""Runs a chain in one subtask: batches through its segments, and on behind a record that fails.

Invariant: after ``process`` returns, every record of the batch has met its fate or is in an output
buffer; where an operator raised, the loop went on behind the failing record, inner loops first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import length_hint
from typing import Any

from sage.kernel.errors import JobFailedError, KeyRefusedError
from sage.kernel.operators.event_time import LiveEventTimeOperator
from sage.kernel.operators.map_batches import BatchFailed
from sage.kernel.operators.operator import Row
from sage.kernel.runtime.chain_compiler import CompiledLoop, Failure
from sage.kernel.runtime.channel import Batch, ChannelClosed
from sage.kernel.runtime.policies import (
    NO_RIDERS,
    DeadLetterHandler,
    Naming,
    refused_key_behind,
    set_aside,
)
from sage.kernel.runtime.segment import Node, Segment
from sage.kernel.time.watermark import END_OF_TIME, happening_at

__all__ = ["Chain"]


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
        self.segments = list(root.walk())
        self._final: Exception | None = None
        for segment in self.segments:
            segment.relieve = functools.partial(self._relieve, segment)
            for node in segment.nodes:
                if isinstance(node.live, LiveEventTimeOperator):
                    node.live.relieve = segment.relieve
                    node.live.most_waiting = segment.most_waiting
                    node.live.refuse = functools.partial(self._refuse_result, node)
                    node.live.tries_again = functools.partial(self._tries_again, node)
        self.edges = [e for s in self.segments for outlet in s.outlets for e in outlet.edges]
        self.nodes = [node for segment in self.segments for node in segment.nodes]
        # Whether event time goes through it.
        self.follows_time = any(
            "watermark" in layout
            for segment in self.segments
            for layout in (*segment.layouts, segment.layout_at(len(segment.nodes)))
        )

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
        riders: Mapping[str, Any] = NO_RIDERS,
    ) -> None:
        """Do what the operator's policy says with a record that failed for good."""
        set_aside(node, record, error, attempts, self._dead_letter, riders)

    def advance(self, watermark: float, *, idle: bool = False) -> None:
        """Let event time go on: what it completes is emitted, and the edges learn of it.

        Args:
            watermark: How far it has come for what enters the chain.
            idle: Whether the inputs say nothing at the moment.
        """
        self._advance(self.root, watermark, idle)

    def _advance(self, segment: Segment, watermark: float, idle: bool) -> None:
        behind: list[tuple[float, bool]] = []
        for node in segment.nodes:
            with Naming(node, "emitting results"):
                node.live.advance(watermark)
            watermark = node.live.forwarded(watermark)
            node.watermark_s = max(node.watermark_s, watermark)
            idle = node.live.is_idle(idle)
            behind.append((watermark, idle))
        self._deliver(segment)
        for outlet in segment.outlets:
            if behind:
                watermark, idle = behind[outlet.behind]
            for edge in outlet.edges:
                edge.watermark = max(edge.watermark, watermark)
                edge.idle = idle
            for child in outlet.children:
                self._advance(child, watermark, idle)

    def finish(self) -> None:
        """Let every operator say what it still holds, inputs before what reads them."""
        for segment in self.segments:
            for index, node in enumerate(segment.nodes):
                with Naming(node, "emitting results"):
                    node.live.advance(END_OF_TIME)
                self._emit_from(segment, index, node, node.live.finish, "finish()")
            self._deliver(segment)

    def tick(self) -> None:
        """Let operators emit what has waited long enough; called when there is nothing to do."""
        for segment in self.segments:
            for index, node in enumerate(segment.nodes):
                if node.live.due_s is not None:
                    self._emit_from(segment, index, node, node.live.on_due, "on_due()")
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
            with Naming(node, "flush()"):
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
            self.run_step(segment, batch, input_index, is_head=True)
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

    def _emit_from(
        self,
        segment: Segment,
        index: int,
        node: Node,
        method: Callable[[], Iterable[Any]],
        doing: str,
    ) -> None:
        """Send what a life-cycle method gives through the operators behind it."""
        iterator = _items_of(method)
        end = object()
        while True:
            try:
                with Naming(node, doing):
                    record = next(iterator, end)
            except BatchFailed as error:
                self._rescue_batch(segment, index, error)
                iterator = _items_of(method)  # the batch is settled; there may be more behind it
                continue
            if record is end:
                return
            self._emit_one(segment, index, node, record)
            main = segment.main
            if main is not None and len(main.columns.values) >= segment.most_waiting:
                self._relieve(segment)

    def _emit_one(self, segment: Segment, index: int, node: Node, record: Any) -> None:
        node.statistics.flushed += 1
        layout = segment.layout_at(index + 1)
        if type(record) is Row:
            row = _not_before(node.watermark_s, record, layout)
        else:  # without a timestamp of its own it happens now, so that it is not late
            now = {"time": happening_at(node.watermark_s), "watermark": node.watermark_s}
            row = (record, *map(now.get, layout))
        if index + 1 < len(segment.nodes):
            self._drive(segment, index + 1, 0, iter((row if layout else record,)))
        elif segment.main is not None:
            beside = dict(zip(layout, row[1:], strict=True))
            columns = segment.main.columns
            columns.append_row((row[0], *(beside.get(name) for name in columns.layout)))

    def _rescue_batch(self, segment: Segment, index: int, failed: BatchFailed) -> None:
        """Apply the policy to every record of a batch whose function raised."""
        node = segment.nodes[index]
        attempts = 1
        while self._tries_again(node, failed.cause, attempts):
            attempts += 1
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
            except ChannelClosed:
                raise
            except Exception as error:
                if error is self._final:
                    raise  # a loop behind this one has ended the job
                try:
                    self._handle(segment, start, input_index, loop, error)
                except Exception as final:
                    self._final = final
                    raise

    def _handle(
        self, segment: Segment, start: int, input_index: int, loop: CompiledLoop, error: Exception
    ) -> None:
        failure = loop.locate(error)
        if failure is None:
            raise error
        if isinstance(error, BatchFailed):
            self._rescue_batch(segment, start + failure.index, error)
        else:
            error = refused_key_behind(failure, error)
            self._apply_policy(segment, start + failure.index, input_index, failure, error)
        # The operator's own inner loops end with the exception; those around it go on.
        for inner, iterator, riders in failure.resumable:
            counted = _Counted(iterator)
            rows = ((item, *riders) for item in counted) if riders else counted
            self._drive(segment, start + inner + 1, input_index, rows)
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
        while last and self._tries_again(node, last, attempts):
            attempts += 1
            last = self._attempt(segment, index, input_index, failure)
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
        except ChannelClosed:
            raise
        except Exception as error:
            if error is self._final:
                raise  # a loop behind this one has ended the job
            again = loop.locate(error)
            if again is not None and again.index == 0:
                if not segment.nodes[index].live.operator.one_to_one and again.gave_nothing:
                    segment.nodes[index].statistics.empty -= 1
                return error
            self._handle(segment, index, input_index, loop, error)
        return None

    def _tries_again(self, node: Node, error: Exception, attempts: int) -> bool:
        retry = node.policy.retry
        if not retry or attempts >= retry.max_attempts or not isinstance(error, retry.retry_on):
            return False
        if self._interrupted(retry.pause_s(attempts)):
            return False
        node.statistics.retries += 1
        return True

    def _refuse_result(self, node: Node, record: Any, error: Exception, attempts: int = 1) -> None:
        """Apply the policy to a result that could not be made; it belongs to no single record."""
        if node.policy.action == "fail":
            name = node.transformation.name
            failed = JobFailedError(name, error, record=record, has_record=True, attempts=attempts)
            self._final = failed
            raise failed from error
        counts = node.statistics.custom
        counts["failed results"] = counts.get("failed results", 0) + 1
        if node.policy.action == "dead_letter":
            self._dead_letter(node, record, error, attempts, is_input=False)


def _not_before(watermark_s: float, row: Row, layout: tuple[str, ...]) -> Sequence[Any]:
    """Return a row that has waited with the watermark that has gone on meanwhile."""
    if "watermark" not in layout:
        return row
    at = layout.index("watermark") + 1
    return row if row[at] >= watermark_s else (*row[:at], watermark_s, *row[at + 1 :])


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


def _items_of(method: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """Call a method only when its first item is asked for, where what it raises is caught."""
    yield from method()


def _rows(values: Iterator[Any], batch: Batch) -> Iterable[Any]:
    """Return what a loop iterates; ``values`` is kept apart so that what is left can be counted."""
    return zip(values, *batch.riders, strict=False) if batch.riders else values


def _gives_keys(node: Node) -> bool:
    return node.live.operator.kind == "key_by"
