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
from collections.abc import Callable, Sequence

from sage.kernel.errors import JobFailedError
from sage.kernel.graph.job_graph import JobVertex
from sage.kernel.operators.source import LiveSource
from sage.kernel.runtime.chain import Chain, Node
from sage.kernel.runtime.channel import Batch, Channel, ChannelClosed, EndOfInput, Mailbox, Wake
from sage.kernel.runtime.context import RuntimeContext
from sage.kernel.runtime.readers import Reader, reader_of
from sage.kernel.runtime.services import Services

__all__ = ["Task", "TaskClock"]


class TaskClock:
    """Where a task's time goes, in seconds, counted once a batch."""

    __slots__ = ("busy_s", "idle_s")

    def __init__(self) -> None:
        self.busy_s = 0.0
        self.idle_s = 0.0


class Task:
    """One subtask of a vertex.

    Args:
        vertex: What it runs.
        subtask: Which of the vertex's subtasks it is.
        chain_of: Builds the chain, bound to this task's output edges, when the task starts.
        mailbox: Where its inputs arrive; a source has none.
        inputs: The channels into the mailbox.
        services: The job's services.
        batch_size: Most records that are read or worked off at once.
        linger_s: How long a slice of a batch may take before slices get smaller.
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
        batch_size: int,
        linger_s: float,
    ) -> None:
        self.vertex = vertex
        self.subtask = subtask
        self.chain = chain
        self.source = source
        self.mailbox = mailbox
        self.inputs = inputs
        self.clock = TaskClock()
        self.stuck_since: float | None = None
        self._services = services
        self._batch_size = batch_size
        self._linger_s = linger_s
        self._size = 1
        self._draining = threading.Event()
        self._closed = False

    @property
    def nodes(self) -> list[Node]:
        """All its operators, the source first."""
        return [self.source, *self.chain.nodes] if self.source else self.chain.nodes

    def drain(self) -> None:
        """Stop reading the source, and end as if it had ended."""
        self._draining.set()

    def close(self) -> None:
        """Give up: the job is being cancelled."""
        self._closed = True
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
        try:
            self._open(opened)
            if self.source is None:
                self._serve_mailbox()
            else:
                self._read_source(self.source)
            self.chain.finish()
            self.chain.flush_sinks()
            for edge in self.chain.edges:
                edge.end()
        finally:
            self._close(opened)

    def _open(self, opened: list[Node]) -> None:
        for node in self.nodes:
            opened.append(node)
            context = RuntimeContext(
                name=node.transformation.name,
                uid=node.transformation.uid,
                parallel_index=self.subtask,
                parallelism=self.vertex.parallelism,
                statistics=node.statistics,
                services=self._services,
            )
            self._guarded(node, "open()", functools.partial(node.live.open, context))

    def _close(self, opened: list[Node]) -> None:
        first: JobFailedError | None = None
        for node in reversed(opened):
            try:
                self._guarded(node, "close()", node.live.close)
            except JobFailedError as error:
                first = first or error
        if first is not None:
            raise first

    @staticmethod
    def _guarded(node: Node, doing: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            raise JobFailedError(node.transformation.name, error, doing=doing) from error

    def _read_source(self, node: Node) -> None:
        assert isinstance(node.live, LiveSource)
        reader = reader_of(node.live, self.subtask, self.vertex.parallelism)
        try:
            while not self._draining.is_set():
                if self._closed:
                    raise ChannelClosed
                if not self._read_once(node, reader):
                    return
        finally:
            reader.close()

    def _read_once(self, node: Node, reader: Reader) -> bool:
        asked = self._size
        try:
            records = reader.read(asked)
        except Exception as error:
            raise JobFailedError(node.transformation.name, error, doing="reading") from error
        if records is None:
            return False
        count = len(records)
        if count:
            node.statistics.produced += count
            self._work(Batch(records if type(records) is list else list(records)))
        self._pass_on(at_once=count < asked)
        return True

    def _serve_mailbox(self) -> None:
        assert self.mailbox is not None
        open_inputs = len(self.inputs)
        while open_inputs:
            got = self.mailbox.get(0) or self._rest()
            if got is None:
                continue
            channel, item = got
            if isinstance(item, Batch):
                assert channel is not None
                self._work(item)
                channel.done_with(item)
            elif isinstance(item, EndOfInput):
                open_inputs -= 1
            elif not isinstance(item, Wake):
                raise TypeError(f"unknown message {item!r}")
            self._pass_on(at_once=self.mailbox.empty)

    def _rest(self) -> tuple[Channel | None, object] | None:
        assert self.mailbox is not None
        started = time.monotonic()
        got = self.mailbox.get()
        self.clock.idle_s += time.monotonic() - started
        return got

    def _work(self, batch: Batch) -> None:
        """Run a batch in slices so small that none takes much longer than the linger time."""
        values = batch.values
        start = 0
        while start < len(values):
            if self._closed:
                raise ChannelClosed
            size = self._size
            whole = start == 0 and len(values) <= size
            piece = batch if whole else _slice(batch, start, start + size)
            started = self.stuck_since = time.monotonic()
            self.chain.process(piece)
            elapsed = time.monotonic() - started
            self.stuck_since = None
            self.clock.busy_s += elapsed
            start += len(piece.values)
            self._resize(len(piece.values), elapsed)
            if start < len(values):
                self._pass_on(at_once=elapsed > self._linger_s)

    def _resize(self, worked: int, elapsed: float) -> None:
        if elapsed > self._linger_s:
            self._size = max(1, self._size // 2)
        elif worked >= self._size and elapsed < self._linger_s / 2:
            self._size = min(self._size * 2, self._batch_size)

    def _pass_on(self, *, at_once: bool) -> None:
        for edge in self.chain.edges:
            if at_once or edge.waiting >= self._batch_size:
                edge.flush()


def _slice(batch: Batch, start: int, end: int) -> Batch:
    return Batch(batch.values[start:end], None if batch.keys is None else batch.keys[start:end])
