"""Runs traced records through a chain, one operator at a time, and notes what each did.

A chain is compiled into one loop, in which no operator can be timed by itself. A traced batch runs
through loops of a single operator instead: the same generated code on the same live functions and
statistics, so every count and every policy is the same for it.

Invariant: a batch and what follows of it counts as a branch of its trace until its task has worked
it off; each batch that goes on to another task is counted before it is sent. So a trace is finished
exactly when nothing of it is under way.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sage.kernel.metrics.fates import OperatorStatistics
from sage.kernel.metrics.trace import Hop, Mark, Trace, Tracer
from sage.kernel.runtime.chain import Chain
from sage.kernel.runtime.channel import Batch
from sage.kernel.runtime.output import Columns, OutputEdge
from sage.kernel.runtime.segment import Node, Outlet, Segment

if TYPE_CHECKING:
    from sage.kernel.runtime.hosts import Outcome

__all__ = ["TracedChain"]


class TracedChain:
    """A chain, for the batches that carry a `Mark`.

    Args:
        chain: The chain.
        subtask: Which subtask it is.
        tracer: Of the job.
    """

    def __init__(self, chain: Chain, subtask: int, tracer: Tracer) -> None:
        self.tracer = tracer
        self._chain = chain
        self._subtask = subtask
        self._steps: dict[tuple[int, int], list[Segment]] = {}

    def process(self, batch: Batch, input_index: int = 0) -> None:
        """Run a traced batch through the chain; the buffers of its edges must be empty."""
        mark = batch.trace
        assert mark is not None
        waited_s = time.monotonic() - mark.sent_s
        self._run(self._chain.root, batch, mark, waited_s, input_index)
        self.tracer.branched(mark.trace, -1)

    def fed(self, batch: Batch, *, followed: bool) -> Batch:
        """Return the batch as it goes to a host, which runs the first operator elsewhere.

        Args:
            batch: A traced batch.
            followed: Whether the host gives the mark back with each outcome. If not, the trace
                ends here.
        """
        mark = batch.trace
        assert mark is not None
        now = time.monotonic()
        if followed:
            self.tracer.branched(mark.trace, len(batch.values))
            return batch._replace(trace=mark._replace(fed_s=now))
        name = self._chain.root.nodes[0].transformation.name
        note = "runs in a worker process; not followed further"
        hop = Hop(mark.hop, name, self._subtask, now - mark.sent_s, 0.0, 0, "held", note)
        mark.trace.add(hop)
        mark.trace.is_complete = False
        return batch._replace(trace=None)

    def outcome(self, mark: Mark, outcome: Outcome) -> None:
        """Pass on what a host made of a traced record; its fate has been counted already."""
        root = self._chain.root
        node = root.nodes[0]
        node.statistics.produced += len(outcome.results)
        if outcome.error is not None:
            fate = _FATE_OF_ACTION[node.policy.action]
        else:
            fate = "emitted" if outcome.results else "no_output"
        elapsed_s = time.monotonic() - mark.fed_s
        note = f"{outcome.attempts} attempts" if outcome.attempts > 1 else ""
        hop = self._note(
            node, mark, mark.fed_s - mark.sent_s, elapsed_s, outcome.results, fate, note
        )
        count = len(outcome.results)
        results = Batch(list(outcome.results), tuple([r] * count for r in outcome.riders))
        steps = self._steps_of(root, 0)
        self._follow(root, steps[1:], results, mark.trace, hop)
        self.tracer.branched(mark.trace, -1)

    def _run(
        self, segment: Segment, batch: Batch, mark: Mark, waited_s: float, input_index: int = 0
    ) -> None:
        if not segment.nodes:  # a source whose records go several ways, or to another task
            assert segment.main is not None
            self._deliver(segment.main, batch, mark.trace, mark.hop)
            return
        steps = self._steps_of(segment, input_index)
        results, hop = self._step(steps[0], batch, mark, waited_s, input_index, is_head=True)
        self._follow(segment, steps[1:], results, mark.trace, hop)

    def _follow(
        self,
        segment: Segment,
        steps: list[Segment],
        batch: Batch,
        trace: Trace,
        hop: int | None,
    ) -> None:
        """Run what came out of one step through those behind it, and pass it on."""
        for step in steps:
            if not batch.values:
                return
            # A trace that has become too long has no further hops, but its record goes on.
            mark = Mark(trace, -1 if hop is None else hop, 0.0)
            batch, hop = self._step(step, batch, mark, 0.0)
        if segment.main is not None and batch.values:
            self._deliver(segment.main, batch, trace, hop)

    def _step(
        self,
        step: Segment,
        batch: Batch,
        mark: Mark,
        waited_s: float,
        input_index: int = 0,
        *,
        is_head: bool = False,
    ) -> tuple[Batch, int | None]:
        """Run one operator; return what it gave and the index of its hop."""
        node = step.nodes[0]
        step.loop(0, input_index)  # compiled before the clock starts
        before = _fates(node.statistics)
        started = time.monotonic()
        self._chain.run_step(step, batch, input_index, is_head=is_head)
        elapsed_s = time.monotonic() - started
        results = step.main.columns.take() if step.main is not None else Batch([])
        sides = [(outlet, outlet.columns.take()) for outlet in step.sides]
        outputs = len(results.values) + sum(len(side.values) for _, side in sides)
        fate = _fate(node, before, outputs)
        hop = self._note(node, mark, waited_s, elapsed_s, range(outputs), fate)
        if node.live.operator.terminal and fate == "emitted":
            self.tracer.arrived(mark.trace)
        for outlet, side in sides:
            if side.values:
                self._deliver(outlet, side, mark.trace, hop)
        return results, hop

    def _note(
        self,
        node: Node,
        mark: Mark,
        waited_s: float,
        elapsed_s: float,
        outputs: object,
        fate: str,
        note: str = "",
    ) -> int | None:
        node.statistics.timed(elapsed_s)
        count = len(outputs)  # type: ignore[arg-type]
        name = node.transformation.name
        hop = Hop(mark.hop, name, self._subtask, waited_s, elapsed_s, count, fate, note)
        return None if mark.hop < 0 else mark.trace.add(hop)

    def _deliver(self, outlet: Outlet, batch: Batch, trace: Trace, hop: int | None) -> None:
        for edge in outlet.edges:
            self._send(edge, batch, trace, hop)
        for child in outlet.children:
            mark = Mark(trace, -1 if hop is None else hop, 0.0)
            self._run(child, batch, mark, 0.0)

    def _send(self, edge: OutputEdge, batch: Batch, trace: Trace, hop: int | None) -> None:
        def marked(part: Batch) -> Batch:
            self.tracer.branched(trace, 1)
            return part._replace(trace=Mark(trace, hop or 0, time.monotonic()))

        edge.send_alone(batch, marked if hop is not None else None)

    def _steps_of(self, segment: Segment, input_index: int) -> list[Segment]:
        """Return a segment of one operator each, for the operators of ``segment``."""
        steps = self._steps.get((id(segment), input_index))
        if steps is None:
            last = len(segment.nodes) - 1
            steps = self._steps[id(segment), input_index] = [
                Segment(
                    [node],
                    segment.layouts if at == 0 else (segment.layout_at(at, input_index),),
                    _outlet(segment, at, input_index) if at < last else _collecting(segment.main),
                    _sides_of(segment, node),
                )
                for at, node in enumerate(segment.nodes)
            ]
        return steps


_FATE_OF_ACTION = {"skip": "skipped", "dead_letter": "dead_lettered", "fail": "held"}
_COUNTED = ("filtered", "late", "skipped", "dead_lettered", "no_output", "empty", "failed")


def _outlet(segment: Segment, at: int, input_index: int) -> Outlet:
    return Outlet(Columns(segment.layout_at(at + 1, input_index)))


def _collecting(outlet: Outlet | None) -> Outlet | None:
    """Return an outlet like the given one, whose records stay in its columns."""
    return None if outlet is None else Outlet(Columns(outlet.columns.layout))


def _sides_of(segment: Segment, node: Node) -> list[Outlet]:
    columns = [id(side) for side in node.live.sides.values()]
    return [outlet for outlet in segment.sides if id(outlet.columns) in columns]


def _fates(statistics: OperatorStatistics) -> tuple[int, ...]:
    return tuple(getattr(statistics, name) for name in _COUNTED)


def _fate(node: Node, before: tuple[int, ...], outputs: int) -> str:
    """Say what became of the records of a step, by what it gave and what has been counted."""
    if outputs:
        return "emitted"
    for name, earlier in zip(_COUNTED, before, strict=True):
        if getattr(node.statistics, name) > earlier:
            return "no_output" if name == "empty" else name
    # What went to a side output that nobody reads has been emitted, too.
    return "held" if node.live.held else "emitted"
