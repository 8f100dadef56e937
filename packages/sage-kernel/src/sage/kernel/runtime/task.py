"""A task: one subtask of a chain, and the loop that keeps it fed.

A task either reads a source or waits at its mailbox. Around every batch it does the same: run the
chain, then send what has come of it as soon as a batch is full or there is nothing else to do.
Costs (two clock reads, a few counters) are paid for each batch, never for each record.

Invariant: a task ends when all its inputs have ended and everything it took in has been passed on;
then its operators finish, its sinks are flushed, and only then do its outputs end. ``close`` is
called for every operator that was opened, also after a failure.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sage.kernel.config import EngineConfig
from sage.kernel.errors import JobFailedError
from sage.kernel.graph.job_graph import JobVertex
from sage.kernel.metrics.trace import Sampler, Tracer
from sage.kernel.operators.source import LiveSource
from sage.kernel.runtime.chain import Chain
from sage.kernel.runtime.channel import (
    Batch,
    Channel,
    ChannelClosed,
    EndOfInput,
    LoopTracker,
    Mailbox,
    Wake,
    WatermarkMark,
)
from sage.kernel.runtime.context import RuntimeContext
from sage.kernel.runtime.hosted import HostedHead
from sage.kernel.runtime.hosts import Host
from sage.kernel.runtime.loop_member import LoopMember
from sage.kernel.runtime.readers import IteratorReader, Reader, reader_of
from sage.kernel.runtime.segment import Node
from sage.kernel.runtime.services import Services
from sage.kernel.runtime.task_clock import TaskClock
from sage.kernel.runtime.tracing import TracedChain
from sage.kernel.time.clock import DrivenClock, system_clock
from sage.kernel.time.watermark import END_OF_TIME, START_OF_TIME, InputWatermarks

if TYPE_CHECKING:
    from sage.kernel.runtime.dead_letters import DeadLetters
    from sage.kernel.runtime.task_checkpoints import TaskCheckpoints

__all__ = ["Task"]

# Stands for the end of an input, in its place behind the last batch.
END_MARK = WatermarkMark(END_OF_TIME, idle=False)


class Task:
    """One subtask of a vertex.

    Args:
        vertex: What it runs.
        subtask: Which of the vertex's subtasks it is.
        chain: Its live operators, connected to its output edges.
        source: The source it reads, if it has one.
        mailbox: Where its inputs arrive; a source has none.
        inputs: The channels into the mailbox.
        services: The job's services.
        config: The environment's options.
        host: Runs the first operator elsewhere, or None.
        loop: Counts what is inside the loop that this task belongs to, or None.
        job_name: Name of the job.
    """

    def __init__(
        self,
        vertex: JobVertex,
        subtask: int,
        chain: Chain,
        *,
        source: Node | None,
        mailbox: Mailbox | None,
        inputs: Sequence[Channel],
        services: Services,
        config: EngineConfig,
        host: Host | None = None,
        loop: LoopTracker | None = None,
        job_name: str = "",
    ) -> None:
        self.vertex = vertex
        self.subtask = subtask
        self.chain = chain
        self.source = source
        self.mailbox = mailbox
        self.inputs = inputs
        self.clock = TaskClock()
        self._services = services
        self._job_name = job_name
        options = config.fault_tolerance
        self._checkpoint_mode = options.checkpoint_mode if options is not None else None
        self._batch_size = config.batch_size
        self._linger_s = config.linger_ms / 1000
        self.checkpoints: TaskCheckpoints | None = None  # set by the run, if it makes any
        self.dead_letters: DeadLetters | None = None  # likewise
        self.reader: Reader | None = None
        self.hosted: HostedHead | None = None
        if host is not None:
            send = functools.partial(self._pass_on, at_once=True)
            self.hosted = HostedHead(host, chain, self.clock, loop, send)
        self.loop: LoopMember | None = None
        if loop is not None and mailbox is not None:
            inside = [n for n in chain.nodes if n.transformation.loop == vertex.head.loop]
            most = 2 * config.channel_batches
            self.loop = LoopMember(loop, mailbox, inputs, inside, most)
        self._now = config.clock or system_clock
        # Nobody needs to wait for a time that somebody sets: who sets it wakes the task.
        self._is_driven = isinstance(self._now, DrivenClock)
        self.watermarks: InputWatermarks | None = None
        if chain.follows_time:
            outer = [c for c in inputs if not c.feeds_back]
            self.watermarks = InputWatermarks(outer)
        self._waiting_for = sum(not channel.feeds_back for channel in inputs)
        self._turned_s, self._turned_to = 0.0, 0  # when to the present batch, and its records
        self._left_over: Batch | None = None  # of a batch that a host had no room for
        self.held_back: deque[tuple[Channel, Batch | WatermarkMark]] = deque()
        self._size = 1
        self._tracing: TracedChain | None = None
        self._sampler: Sampler | None = None
        self._draining = threading.Event()
        self.closed = False

    @property
    def nodes(self) -> list[Node]:
        """All its operators, the source first."""
        return [self.source, *self.chain.nodes] if self.source else self.chain.nodes

    @property
    def label(self) -> str:
        """Its name among the tasks of the job."""
        return f"{self.vertex.head.uid}-{self.subtask}"

    def trace_with(self, tracer: Tracer) -> None:
        """Follow the records that the tracer picks; called before the task runs."""
        self._tracing = TracedChain(self.chain, self.subtask, tracer)
        if self.hosted is not None:
            self.hosted.tracing = self._tracing
        if self.source is not None:
            self._sampler = tracer.sampler(self.source.transformation.uid, self.subtask)

    def drain(self) -> None:
        """Stop reading the source, and end as if it had ended."""
        self._draining.set()

    def close(self) -> None:
        """Give up: the job is being cancelled."""
        self.closed = True
        if self.checkpoints is not None:
            self.checkpoints.wake()
        if self.mailbox is not None:
            self.mailbox.close()
        for edge in self.chain.edges:
            for channel in edge.channels:
                channel.close()

    def run(self) -> None:
        """Work until the inputs have ended.

        Raises:
            JobFailedError: if an operator raised.
            ChannelClosed: if the job is being cancelled.
        """
        opened: list[Node] = []
        failed: BaseException | None = None
        unwatch = self._watch_clock()
        try:
            if self.source is not None:
                assert isinstance(self.source.live, LiveSource)
                self.reader = reader_of(self.source.live, self.subtask, self.vertex.parallelism)
            if self.checkpoints is not None and self.checkpoints.is_finished:
                if self.loop is not None:
                    self.loop.leave()
                self._open(opened, self.checkpoints.unsettled)
                self.checkpoints.restore()
            else:
                self._open(opened, self.nodes)
                self._work_to_the_end()
            for edge in self.chain.edges:
                edge.end()
            if self.checkpoints is not None:
                self.checkpoints.finish()
        except BaseException as error:
            failed = error
            raise
        finally:
            unwatch()
            if self.hosted is not None:
                self.hosted.host.close()
            self._close(opened, failed)

    def _work_to_the_end(self) -> None:
        if self.checkpoints is not None:
            self.checkpoints.restore()
        if self.hosted is not None:
            self.hosted.host.start()  # with what its function had
        if self.checkpoints is not None:
            if self.loop is not None:
                self.loop.count_held()
            self._let_time_go_on()
        if self.source is None:
            self._serve_mailbox()
        else:
            self._read_source(self.source)
        self.chain.finish()
        self.chain.flush_sinks()

    def _watch_clock(self) -> Callable[[], None]:
        """Be woken when a clock that is driven by hand moves."""
        mailbox = self.mailbox
        if mailbox is None or not isinstance(self._now, DrivenClock):
            return lambda: None
        return self._now.watch(lambda: mailbox.put(None, Wake()))

    def _open(self, opened: list[Node], nodes: Sequence[Node]) -> None:
        for node in nodes:
            opened.append(node)
            context = RuntimeContext(
                name=node.transformation.name,
                uid=node.transformation.uid,
                parallel_index=self.subtask,
                parallelism=self.vertex.parallelism,
                statistics=node.statistics,
                services=self._services,
                keyed=node.live.keyed,
                attempt=self.checkpoints.attempt if self.checkpoints is not None else 0,
                checkpoint_mode=self._checkpoint_mode,
                job_name=self._job_name,
            )
            self._guarded(node, "open()", functools.partial(node.live.open, context))

    def _close(self, opened: list[Node], failed: BaseException | None) -> None:
        """Close every operator; what failed before is not hidden by what fails now."""
        first: JobFailedError | None = None
        for node in reversed(opened):
            try:
                self._guarded(node, "close()", node.live.close)
            except JobFailedError as error:
                first = first or error
        if first is not None and failed is None:
            raise first
        if first is not None and failed is not None:
            failed.add_note(f"then {first}")

    @staticmethod
    def _guarded(node: Node, doing: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            raise JobFailedError(node.transformation.name, error, doing=doing) from error

    # Reading a source.

    def _read_source(self, node: Node) -> None:
        reader = self.reader
        assert reader is not None
        try:
            while not self._draining.is_set():
                if self.closed:
                    raise ChannelClosed
                if self.checkpoints is not None:
                    self.checkpoints.look()
                    if self.checkpoints.stops:
                        self.checkpoints.wait_for_stop()
                if not self._read_once(node, reader):
                    return
        finally:
            reader.close()

    def _read_once(self, node: Node, reader: Reader) -> bool:
        asked = self._size
        for edge in self.chain.edges:  # what is read has to be sent before a barrier can be
            asked = min(asked, edge.batch_size * len(edge.channels))
        due_s = self._due_in()
        started = time.monotonic()
        try:
            records = reader.read(asked) if due_s is None else reader.read(asked, due_s)
        except Exception as error:
            raise JobFailedError(node.transformation.name, error, doing="reading") from error
        if records is None:
            return False
        count = len(records)
        if count and not isinstance(reader, IteratorReader):
            self.clock.busy_s += time.monotonic() - started
        else:  # a reader thread does the work, and the task waits for it
            self.clock.idle_s += time.monotonic() - started
        if count:
            node.statistics.produced += count
            batch = Batch(records if type(records) is list else list(records))
            if self._sampler is None:
                self._work(batch)
            else:
                self._work_sampled(node, batch, self._sampler)
        self._tick()
        if count:
            self._let_time_go_on()
        self._pass_on(at_once=count < asked)
        return True

    # Serving a mailbox.

    def _serve_mailbox(self) -> None:
        assert self.mailbox is not None
        while self._waiting_for or not self._all_worked_off():
            self._receive(self.mailbox.get(0) or self._rest())
            self._take_results()
            if self.checkpoints is not None:
                self._receive_all(self.checkpoints.look())
            self._admit()
            if self.loop is not None:
                self.loop.let_go(channel for channel, _ in self.held_back)
            self._tick()
            self._pass_on(at_once=self.mailbox.empty)

    def _receive(self, got: tuple[Channel | None, object] | None) -> None:
        """Put a batch among those to be worked off, or count an input that has ended."""
        channel, item = got or (None, None)
        if channel is None:
            return
        if self.checkpoints is not None:
            taken, freed = self.checkpoints.takes(channel, item)
            self._receive_all(freed)
            if taken:
                return
        if isinstance(item, (Batch, WatermarkMark)):
            self.held_back.append((channel, item))
        elif isinstance(item, EndOfInput):
            self._waiting_for -= not channel.feeds_back
            if self.watermarks is not None and not channel.feeds_back:
                self.held_back.append((channel, END_MARK))
            if self.loop is not None:
                self.loop.input_ended(channel)

    def _receive_all(self, items: Sequence[tuple[Channel, object]]) -> None:
        for item in items:
            self._receive(item)

    def _all_worked_off(self) -> bool:
        if self.held_back or (self.hosted is not None and not self.hosted.may_end):
            return False
        return self.loop is None or self.loop.may_end

    def _admit(self) -> None:
        """Work off what has arrived, as far as there is room for it."""
        for _ in range(len(self.held_back)):
            channel, batch = self.held_back.popleft()
            if isinstance(batch, WatermarkMark):
                self._take_mark(channel, batch)
                continue
            if self.loop is not None and not self._admits(self.loop, channel):
                self.held_back.append((channel, batch))
                continue
            rest = None
            if batch is not self._left_over:
                self._turned_s, self._turned_to = time.monotonic(), len(batch.values)
            batch = self._with_watermarks(channel, batch)
            if self.hosted is not None:
                rest = self.hosted.feed(batch)
            else:
                self._work(batch, channel.input_index)
            channel.took(len(batch.values) - (len(rest.values) if rest is not None else 0))
            self._left_over = rest
            if rest is not None:
                self.held_back.appendleft((channel, rest))
                return
            self._let_time_go_on()
            self._settle()  # what came of it counts in a loop before it stops counting
            channel.pace(self._turned_to, time.monotonic() - self._turned_s)
            channel.done_with()

    def _admits(self, loop: LoopMember, channel: Channel) -> bool:
        """Whether a batch may enter the loop now.

        Behind a barrier what goes round may be kept back until that of an input from outside has
        come, which no full loop must keep out.
        """
        awaits_barrier = self.checkpoints is not None and self.checkpoints.awaits_barrier
        return awaits_barrier or loop.admits(channel)

    # Event time.

    def _with_watermarks(self, channel: Channel, batch: Batch) -> Batch:
        """Return a batch with the watermarks of all inputs beside its records, not its own."""
        if self.watermarks is None or batch is self._left_over:
            return batch
        layout = self.chain.root.layouts[channel.input_index]
        if "watermark" not in layout or channel.feeds_back:
            return batch
        at = layout.index("watermark")
        riders = list(batch.riders)
        riders[at] = self.watermarks.beside(channel, riders[at])
        return batch._replace(riders=tuple(riders))

    def _take_mark(self, channel: Channel, mark: WatermarkMark) -> None:
        assert self.watermarks is not None
        mark.taken = True
        if mark is END_MARK:
            self.watermarks.end(channel)
        else:
            self.watermarks.advance(channel, mark.watermark)
            if mark.idle:
                self.watermarks.idle(channel)
        self._let_time_go_on()

    def _let_time_go_on(self) -> None:
        """Let the chain emit what has become complete, and its edges learn how far time is."""
        if not self.chain.follows_time:
            return
        low, idle = START_OF_TIME, False
        if self.watermarks is not None and self.inputs:
            low, idle = self.watermarks.low, self.watermarks.all_idle
        if self.hosted is not None:
            low = self.hosted.forwarded(low, self._left_over)
            idle = idle and self._left_over is None and not self.hosted.has_records
        started = time.monotonic()
        self.chain.advance(low, idle=idle)
        self.clock.busy_s += time.monotonic() - started

    def _take_results(self) -> None:
        if self.hosted is None:
            return
        decided = self.hosted.pass_results()
        if decided:
            self._let_time_go_on()
        if decided and self.loop is not None:
            self._settle()
            self.loop.tracker.remove(decided)

    def _settle(self) -> None:
        """In a loop: send everything on, and let the loop count what operators still hold."""
        if self.loop is not None:
            self._pass_on(at_once=True)
            self.loop.count_held()

    def _rest(self) -> tuple[Channel | None, object] | None:
        assert self.mailbox is not None
        started = time.monotonic()
        got = self.mailbox.get(self._due_in())
        self.clock.idle_s += time.monotonic() - started
        return got

    # Working.

    def _work(self, batch: Batch, input_index: int = 0) -> None:
        """Run a batch in slices so small that none takes much longer than the linger time."""
        if batch.trace is not None:
            self._work_traced(batch, input_index)
            return
        total = len(batch.values)
        start = 0
        while start < total:
            if self.closed:
                raise ChannelClosed
            size = self._size
            piece = batch if start == 0 and total <= size else batch.sliced(start, start + size)
            started = self.clock.working_since = time.monotonic()
            self.chain.process(piece, input_index)
            elapsed = time.monotonic() - started
            self.clock.working_since = None
            self.clock.busy_s += elapsed
            start += len(piece.values)
            self._resize(len(piece.values), elapsed)
            if start < total:
                self._pass_on(at_once=elapsed > self._linger_s)

    def _work_sampled(self, node: Node, batch: Batch, sampler: Sampler) -> None:
        """Work a source's batch in its order, each record that is picked in a batch of its own."""
        assert self._tracing is not None
        started, start = time.monotonic(), 0
        for at in sampler.picked(len(batch.values)):
            if at > start:
                self._work(batch.sliced(start, at))
            name = node.transformation.name
            mark = self._tracing.tracer.begin(batch.values[at], name, self.subtask)
            self._work_traced(batch.sliced(at, at + 1)._replace(trace=mark), 0)
            start = at + 1
        if start < len(batch.values):
            self._work(batch.sliced(start, len(batch.values)) if start else batch)
        # The parts are too small to say how large the next batch should be.
        self._resize(len(batch.values), time.monotonic() - started)

    def _work_traced(self, batch: Batch, input_index: int) -> None:
        assert self._tracing is not None
        if self.closed:
            raise ChannelClosed
        self._pass_on(at_once=True)  # what came before stays before
        started, blocked_s = time.monotonic(), self._blocked_s()
        self._tracing.process(batch, input_index)
        blocked_s = self._blocked_s() - blocked_s
        self.clock.blocked_s += blocked_s
        self.clock.busy_s += time.monotonic() - started - blocked_s

    def _blocked_s(self) -> float:
        return sum(edge.blocked_s for edge in self.chain.edges)

    def _resize(self, worked: int, elapsed: float) -> None:
        if elapsed > self._linger_s:
            self._size = max(1, self._size // 2)
        elif worked >= self._size and elapsed < self._linger_s / 2:
            self._size = min(self._size * 2, self._batch_size)

    def _pass_on(self, *, at_once: bool) -> None:
        for edge in self.chain.edges:
            if not edge.waiting:
                if edge.carries_time:
                    edge.mark()
                continue
            now = time.monotonic()
            if edge.waiting_since is None:
                edge.waiting_since = now
            late = now - edge.waiting_since > self._linger_s
            if at_once or late or edge.waiting >= edge.batch_size:
                blocked_s = edge.blocked_s
                edge.flush()
                blocked_s = edge.blocked_s - blocked_s
                self.clock.blocked_s += blocked_s
                self.clock.busy_s += time.monotonic() - now - blocked_s
                if edge.carries_time:
                    edge.mark()

    def _due_in(self) -> float | None:
        due_s = self.chain.due_s()
        if due_s is None or self._is_driven:
            return None
        return max(0.0, due_s - self._now())

    def _tick(self) -> None:
        due_s = self.chain.due_s()
        if due_s is not None and due_s <= self._now():
            self.chain.tick()
            self._let_time_go_on()
            self._settle()
