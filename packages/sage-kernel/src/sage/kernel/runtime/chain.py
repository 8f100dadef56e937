"""A chain in one subtask: live operators, compiled into loops, with what happens on errors.

A chain is a tree. Where an operator has one consumer, both are in the same loop; where it has
several, its results are collected for the batch and each branch runs over them. Such a stretch
without branches is a *segment*, and compiles to one loop.

Invariant: after ``process`` returns, every record of the batch has met its fate or is in an output
buffer; where an operator raised, the loop went on behind the failing record, inner loops first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import length_hint
from typing import Any

from sage.kernel.config import ErrorPolicy
from sage.kernel.errors import JobFailedError
from sage.kernel.graph.transformation import Transformation
from sage.kernel.metrics.fates import OperatorStatistics
from sage.kernel.operators.operator import LiveOperator
from sage.kernel.runtime.chain_compiler import CompiledLoop, Failure, compile_loop
from sage.kernel.runtime.channel import Batch
from sage.kernel.runtime.output import Columns, OutputEdge

__all__ = ["Chain", "DeadLetterHandler", "Node", "Segment", "set_aside"]


@dataclass
class Node:
    """An operator of a chain, in one subtask."""

    transformation: Transformation
    live: LiveOperator
    policy: ErrorPolicy
    statistics: OperatorStatistics = field(default_factory=OperatorStatistics)


@dataclass
class Segment:
    """A stretch of operators without branches.

    Attributes:
        nodes: The operators.
        keyed: Whether what comes in carries a key column.
        out: Where results are collected, or None after a sink.
        edges: Edges to other tasks that the results go to.
        children: Segments of this chain that the results go to.
    """

    nodes: list[Node]
    keyed: bool
    out: Columns | None = None
    edges: list[OutputEdge] = field(default_factory=list)
    children: list[Segment] = field(default_factory=list)
    loops: dict[int, CompiledLoop] = field(default_factory=dict)

    def loop(self, start: int = 0) -> CompiledLoop:
        """Return the loop over the operators from ``start`` on, compiled when first needed."""
        loop = self.loops.get(start)
        if loop is None:
            nodes = self.nodes[start:]
            loop = self.loops[start] = compile_loop(
                [n.live for n in nodes],
                [n.statistics for n in nodes],
                keyed=self.keyed if start == 0 else self._keyed_at(start),
                out=self.out,
            )
        return loop

    def _keyed_at(self, start: int) -> bool:
        return self.keyed or any(n.live.operator.kind == "key_by" for n in self.nodes[:start])


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
        self.edges = [edge for segment in self.segments for edge in segment.edges]
        self.nodes = [node for segment in self.segments for node in segment.nodes]

    def process(self, batch: Batch, segment: Segment | None = None) -> None:
        """Run a batch through the chain."""
        segment = segment or self.root
        if not segment.nodes:  # a source whose records go several ways at once
            assert segment.out is not None
            segment.out.extend(batch)
            self._deliver(segment)
            return
        statistics = segment.nodes[0].statistics
        values = iter(batch.values)
        try:
            self._drive(
                segment, 0, zip(values, batch.keys or (), strict=False) if segment.keyed else values
            )
        finally:
            left = length_hint(values)
            statistics.entered += len(batch.values) - left
            statistics.pending += left
        self._deliver(segment)

    def finish(self) -> None:
        """Let every operator say what it still holds, inputs before what reads them."""
        for segment in self.segments:
            for index, node in enumerate(segment.nodes):
                self._finish_node(segment, index, node)
            self._deliver(segment)

    def flush_sinks(self) -> None:
        """Make what sinks were given visible."""
        for node in self.nodes:
            with _Naming(node, "flush()"):
                node.live.flush()

    def _finish_node(self, segment: Segment, index: int, node: Node) -> None:
        with _Naming(node, "finish()"):
            for record in node.live.finish():
                node.statistics.flushed += 1
                if index + 1 < len(segment.nodes):
                    self._drive(segment, index + 1, iter((record,)))
                elif segment.out is not None:
                    segment.out.values.append(record)

    def _deliver(self, segment: Segment) -> None:
        out = segment.out
        if out is None or (not segment.children and len(segment.edges) == 1):
            return  # the loop writes straight into the edge's buffer
        batch = out.take()
        if not batch.values:
            return
        for edge in segment.edges:
            edge.columns.extend(batch)
        for child in segment.children:
            self.process(batch, child)

    def _drive(self, segment: Segment, start: int, records: Iterable[Any]) -> None:
        """Run a loop to the end of ``records``, going on behind each record that fails."""
        loop = segment.loop(start)
        while True:
            try:
                loop.run(records)
                return
            except Exception as error:
                self._handle(segment, start, loop, error)

    def _handle(self, segment: Segment, start: int, loop: CompiledLoop, error: Exception) -> None:
        if isinstance(error, JobFailedError):
            raise error
        failure = loop.locate(error)
        if failure is None:
            raise error
        index = start + failure.index
        self._apply_policy(segment, index, failure, error)
        # The operator's own inner loops end with the exception; those around it go on.
        for inner, iterator in failure.resumable:
            flat = segment.nodes[start + inner]
            counted = _Counted(iterator)
            self._drive(segment, start + inner + 1, counted)
            flat.statistics.produced += counted.count

    def _apply_policy(
        self, segment: Segment, index: int, failure: Failure, error: Exception
    ) -> None:
        node = segment.nodes[index]
        if not node.live.operator.one_to_one and failure.gave_nothing:
            node.statistics.empty -= 1
        last: Exception | None = error
        attempts = 1
        retry = node.policy.retry
        while retry and last and attempts < retry.max_attempts and isinstance(last, retry.retry_on):
            if self._interrupted(retry.pause_s(attempts)):
                break
            attempts += 1
            node.statistics.retries += 1
            last = self._attempt(segment, index, failure)
        if last is None:
            return
        set_aside(node, failure.value, last, attempts, self._dead_letter)

    def _attempt(self, segment: Segment, index: int, failure: Failure) -> Exception | None:
        """Run one record again from the operator that failed; return its next error, if any."""
        loop = segment.loop(index)
        keyed = segment._keyed_at(index) if index else segment.keyed
        record = (failure.value, failure.key) if keyed else failure.value
        try:
            loop.run(iter((record,)))
        except Exception as error:
            again = loop.locate(error)
            if again is not None and again.index == 0:
                if not segment.nodes[index].live.operator.one_to_one and again.gave_nothing:
                    segment.nodes[index].statistics.empty -= 1
                return error
            self._handle(segment, index, loop, error)
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
        raise JobFailedError(
            node.transformation.name, error, record=record, has_record=True, attempts=attempts
        ) from error


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
        if isinstance(error, Exception) and not isinstance(error, JobFailedError):
            raise JobFailedError(
                self._node.transformation.name, error, doing=self._doing
            ) from error


def _walk(segment: Segment) -> Iterator[Segment]:
    yield segment
    for child in segment.children:
        yield from _walk(child)
