"""The part that a task plays in checkpoints: it cuts, says what it has to remember, and commits.

The cut is made on the task's thread between two batches: every operator puts what it has to
remember into its `OperatorState`, the barrier goes on behind everything that was made of the
records before, and the task goes on. Encoding and writing happen on the writer's thread.

Besides its operators a task remembers what is *under way* in it: inputs of calls that have not
come back, batches for which there was no room yet, and in the head of a loop the records that come
round until the barrier has come round too (Carbone et al., Lightweight Asynchronous Snapshots,
2015). Counts are remembered as well, so that after a recovery they tell of the records that count.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.checkpoint.messages import Committed, Finished, Message, TaskName
from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState
from sage.kernel.checkpoint.own_attributes import OwnAttributes
from sage.kernel.checkpoint.steps import reached
from sage.kernel.errors import JobFailedError, StateMismatchError
from sage.kernel.graph.transformation import Partitioning
from sage.kernel.operators.journalled import journal_of
from sage.kernel.runtime.alignment import Alignment, Item
from sage.kernel.runtime.channel import Batch, Channel, ChannelClosed, EndOfInput, Wake
from sage.kernel.runtime.in_flight import InFlight
from sage.kernel.runtime.kept_letters import KeptLetters
from sage.kernel.runtime.restoration import Restoration
from sage.kernel.runtime.segment import Node
from sage.kernel.runtime.snapshot_writer import SnapshotWriter, TaskSnapshot
from sage.kernel.runtime.task_metrics import metrics_of
from sage.kernel.runtime.transactions import SinkTransactions
from sage.kernel.state.codec import StateCodec

if TYPE_CHECKING:
    from sage.kernel.checkpoint.journal import JournalFolder
    from sage.kernel.runtime.task import Task

__all__ = ["COUNTS", "TaskCheckpoints", "give_journals"]

_logger = logging.getLogger("sage.checkpoint")

COUNTS = "#counts"
PREPARED = "#prepared"
RECEIVED = "#received"
WATERMARKS = "#watermarks"


class TaskCheckpoints:
    """Checkpoints as one task sees them.

    Args:
        task: The task.
        writer: Writes its snapshots.
        report: Takes its messages.
        restoration: What this attempt begins with.
        is_exact: Whether what comes behind a barrier waits for the barriers of other inputs.
    """

    def __init__(
        self,
        task: Task,
        *,
        writer: SnapshotWriter,
        report: Callable[[Message], None],
        restoration: Restoration,
        is_exact: bool,
    ) -> None:
        self.name: TaskName = (task.vertex.id, task.subtask)
        self._task = task
        self._writer = writer
        self._report = report
        self._restoration = restoration
        self._alignment = Alignment(task.inputs, blocks=is_exact)
        self._asked: Barrier | None = None  # set by the coordinator's thread
        self._completed = 0  # likewise
        self._seen_completed = 0
        self._transactions: dict[str, SinkTransactions] = {}
        self._covered: dict[int, dict[str, list[int]]] = {}  # prepared epochs by checkpoint
        self._rounds: InFlight | None = None  # what comes round a loop while its cut is open
        self._open_cut: tuple[Barrier, list[tuple[str, OperatorState]]] | None = None
        self._coming_round: set[Channel] = set()
        self._received_before: dict[str, int] = {}
        self._watermarks_before: list[float] | None = None
        self._last_cut = 0
        self._stopping = False
        self._woken = threading.Event()
        self._watched: dict[str, list[OwnAttributes]] = {}  # until they were warned about
        self._codecs: dict[str, StateCodec] = {}
        self._letters = {
            n.transformation.uid: KeptLetters(
                n, self._codec(n.transformation.uid, n.transformation.name)
            )
            for n in task.nodes
        }
        for node in task.nodes:
            node.live.is_checkpointed = True
            transactions = SinkTransactions.of(node.live)
            if transactions is not None:
                self._transactions[node.transformation.uid] = transactions

    # What others call.

    def request(self, barrier: Barrier) -> None:
        """Ask for a cut; from the coordinator's thread."""
        self._asked = barrier
        self.wake()

    def complete(self, checkpoint: int) -> None:
        """Tell that a checkpoint is complete; from the coordinator's thread."""
        self._completed = max(self._completed, checkpoint)
        self.wake()

    def wake(self) -> None:
        """Let the task look around: something has been asked, or the job is over."""
        self._woken.set()
        if self._task.mailbox is not None:
            self._task.mailbox.put(None, Wake())

    # The beginning.

    @property
    def is_finished(self) -> bool:
        """Whether the task had come to its end in the checkpoint that this run begins with."""
        return self._restoration.is_finished(self._task.vertex, self._task.subtask)

    @property
    def unsettled(self) -> list[Node]:
        """The operators of a finished task that may still have to commit something."""
        return [n for n in self._task.nodes if n.transformation.uid in self._transactions]

    @property
    def attempt(self) -> int:
        """How often the job was started again in this process."""
        return self._restoration.attempt

    def restore(self) -> None:
        """Give every operator what it had; called behind ``open``, before the first record."""
        task = self._task
        for node in task.nodes:
            self._guarded(node, "restoring its state", partial(self._restore, node))
        head = self._restored_inputs()
        if head is not None:
            self._restore_inputs(head)
        elif task.inputs:  # it was inside of a chain, where nothing came by a channel
            came = task.chain.nodes[0].statistics.entered
            task.inputs[0].sent += came
            task.inputs[0].received += came
        if task.subtask == 0 and not self.is_finished:  # one of them says it for all
            self._watched = {
                node.transformation.name: [
                    OwnAttributes(f.owner) for f in node.live.functions if f.owner is not None
                ]
                for node in task.nodes
            }
        reached("recovery.restored")

    def _restore(self, node: Node) -> None:
        uid = node.transformation.uid
        state = self._restoration.of(uid, self._task.subtask, self._task.vertex.parallelism)
        transactions = self._transactions.get(uid)
        if state is not None:
            _restore_counts(node, state)
            if self._task.dead_letters is not None:
                self._letters[uid].restore(state, self._task.dead_letters.add)
            if not self.is_finished:
                node.live.restore(state)
                state.refuse_leftovers(node.transformation.name)
            if node is self._task.source:
                assert self._task.reader is not None
                self._task.reader.restore(state, node.transformation.name, ended=self.is_finished)
        if transactions is not None:
            prepared = (
                [epoch for epochs in state.whole(PREPARED) for epoch in epochs] if state else []
            )
            restoration = self._restoration
            if restoration.starts_over:
                transactions.start_over()
            transactions.settle_old(prepared, restoration.checkpoint, restoration.highest_begun)
            if not self.is_finished:
                transactions.begin(restoration.highest_begun + 1)

    def _restored_inputs(self) -> RestoredState | None:
        if not self._task.inputs:
            return None
        uid = self._inputs_uid
        return self._restoration.of(uid, self._task.subtask, self._task.vertex.parallelism)

    @property
    def _inputs_uid(self) -> str:
        return f"@{self._task.vertex.head.uid}"

    def _restore_inputs(self, state: RestoredState) -> None:
        task = self._task
        watermarks = state.whole(WATERMARKS)
        if task.watermarks is not None and watermarks:
            task.watermarks.restore(*watermarks)
        first_of: dict[str, Channel] = {}
        for channel in task.inputs:
            first_of.setdefault(_input_name(channel), channel)
        if task.subtask == 0 or not state.is_rescaled:
            for counts in state.whole(RECEIVED):
                for name, received in counts.items():
                    if (counted := first_of.get(name)) is not None:
                        counted.sent += received
                        counted.received += received
        for name, channel in first_of.items():
            layout, operator = self._layout(channel), task.vertex.head.name
            for batch in InFlight.restored(state, name, layout, operator):
                if state.is_rescaled and self._is_broadcast(channel):
                    why = "records under way to all of its subtasks cannot be divided"
                    raise state.refuse_rescale(operator, why)
                channel.readmit(batch)
                task.held_back.append((channel, batch))
        state.refuse_leftovers(task.vertex.head.name)

    def _is_broadcast(self, channel: Channel) -> bool:
        edges = self._task.vertex.head.inputs
        return any(
            edge.partitioning is Partitioning.BROADCAST and edge.input_index == channel.input_index
            for edge in edges
        )

    # What the task calls.

    def look(self) -> list[Item]:
        """Do what is due, between two batches; return what was kept back and is free now."""
        freed: list[Item] = []
        if self._completed > self._seen_completed:
            self._commit()
        asked = self._asked
        if asked is not None:
            self._asked = None
            freed = self._alignment.ask(asked)
        if self._alignment.is_due and self._may_cut():
            if self._open_cut is not None:  # given up: its barrier may never come round
                self._close_cut()
            freed += self._cut()
        return freed

    def _may_cut(self) -> bool:
        return self._task.hosted is None or self._task.hosted.host.cut()

    def takes(self, channel: Channel, item: Any) -> tuple[bool, list[Item]]:
        """Take an item that concerns checkpoints, or that has to wait behind a barrier.

        Returns:
            Whether the task has nothing to do with it, and what was kept back and is free now.
        """
        if isinstance(item, Barrier):
            if channel.feeds_back:
                self._came_round(channel, item)
                return True, []
            return True, self._alignment.deliver(channel, item)
        if channel.feeds_back:
            if (
                self._rounds is not None
                and channel in self._coming_round
                and isinstance(item, Batch)
            ):
                self._rounds.add(_input_name(channel), self._layout(channel), item)
            return False, []
        if self._alignment.keeps(channel, item):
            return True, []
        if isinstance(item, EndOfInput):
            self._alignment.end(channel)
        return False, []

    @property
    def awaits_barrier(self) -> bool:
        """Whether a checkpoint has begun here and some input has not delivered its barrier."""
        return self._alignment.barrier is not None and not self._alignment.is_due

    @property
    def stops(self) -> bool:
        """Whether the source is to read no further."""
        return self._stopping

    def wait_for_stop(self) -> None:
        """Stay until the checkpoint that stops the job is complete and committed, and longer."""
        while not self._task.closed:
            self.look()
            self._woken.wait(0.1)
            self._woken.clear()
        raise ChannelClosed

    def finish(self) -> None:
        """Say what is to be remembered for good, and wait until sinks may commit it."""
        if self._open_cut is not None:
            self._close_cut()
        operators = [(n.transformation.uid, self._last_words(n)) for n in self._task.nodes]
        if self._task.inputs:
            inputs = OperatorState(self._codec(self._inputs_uid, self._task.vertex.head.name))
            inputs.put_whole(RECEIVED, self._received(None))
            operators.append((self._inputs_uid, tuple(inputs.sections())))
        self._writer.submit_finished(self._report, Finished(self.name, tuple(operators)))
        waiting = [t for t in self._transactions.values() if t.prepared]
        while any(t.prepared for t in waiting):
            if self._completed > self._seen_completed:  # also if the job stops behind it
                self._commit(at_end=True)
                continue
            if self._task.closed:
                raise ChannelClosed
            self._woken.wait(0.1)
            self._woken.clear()

    # The cut.

    def _cut(self) -> list[Item]:
        reached("task.snapshot")
        task = self._task
        barrier, freed = self._alignment.take()
        self._last_cut = barrier.checkpoint
        for node in task.nodes:
            if node.live.journal is not None:
                self._guarded(
                    node, "journalling", partial(node.live.journal.roll, barrier.checkpoint)
                )
        operators = []
        covered: dict[str, list[int]] = {}
        full = self._writer.wants_full(self.name)
        for node in task.nodes:
            state = OperatorState(self._codec(node.transformation.uid, node.transformation.name))
            self._guarded(node, "taking its snapshot", partial(self._put, node, state, full))
            operators.append((node.transformation.uid, state))
        self._warn_of_own_attributes()  # sinks have flushed: what they buffer is no state
        for uid, transactions in self._transactions.items():
            covered[uid] = list(transactions.prepared)
        self._covered[barrier.checkpoint] = covered
        self._open_cut = (barrier, operators)
        self._rounds = self._under_way()
        self._coming_round = {channel for channel in task.inputs if channel.feeds_back}
        if task.loop is not None:
            task.loop.open_cut()
        if not self._coming_round:
            self._close_cut()
        for edge in task.chain.edges:
            edge.cut(barrier)
        reached("barrier.injected")
        for transactions in self._transactions.values():
            transactions.begin(barrier.checkpoint + 1)
        if barrier.stops and task.source is not None:
            self._stopping = True
        return freed

    def _warn_of_own_attributes(self) -> None:
        """Name each function that keeps state where no checkpoint finds it, once."""
        for name, watched in list(self._watched.items()):
            changed = [attribute for each in watched for attribute in each.changed()]
            if changed:
                del self._watched[name]
                _logger.warning(
                    "the function of operator %r keeps state in %s, which no checkpoint remembers:"
                    " use self.context.state(...) on a keyed stream, or define snapshot_state()"
                    " and restore_state()",
                    name,
                    ", ".join(f"self.{attribute}" for attribute in changed),
                )

    def _put(self, node: Node, state: OperatorState, full: bool) -> None:
        live = node.live
        transactions = self._transactions.get(node.transformation.uid)
        if transactions is not None:
            state.put_whole(PREPARED, transactions.prepare())
        else:
            live.flush()
        live.snapshot(state, full=full)
        state.put_whole(COUNTS, _counts(self._task, node))
        self._letters[node.transformation.uid].put_into(state, full=full)
        if node is self._task.source:
            assert self._task.reader is not None
            self._task.reader.snapshot(state)

    def _under_way(self) -> InFlight:
        task = self._task
        under_way = InFlight(self._codec(self._inputs_uid, task.vertex.head.name))
        in_flight = task.hosted.in_flight() if task.hosted is not None else None
        if in_flight is not None and in_flight.values:
            channel = task.inputs[0]
            under_way.add(_input_name(channel), self._layout(channel), in_flight)
        for channel, item in task.held_back:
            if isinstance(item, Batch):
                under_way.add(_input_name(channel), self._layout(channel), item)
        self._received_before = self._received(in_flight)
        self._watermarks_before = task.watermarks.snapshot() if task.watermarks else None
        return under_way

    def _received(self, in_flight: Batch | None) -> dict[str, int]:
        """Return how many records each input has given, without those that are given again."""
        received: dict[str, int] = {}
        for channel in self._task.inputs:
            name = _input_name(channel)
            received[name] = received.get(name, 0) + channel.received
        left = len(in_flight.values) if in_flight is not None else 0
        for name, count in received.items():
            taken = min(left, count)
            received[name] -= taken
            left -= taken
        return received

    def _came_round(self, channel: Channel, barrier: Barrier) -> None:
        if self._open_cut is None or barrier.checkpoint != self._open_cut[0].checkpoint:
            return
        self._coming_round.discard(channel)
        if not self._coming_round:
            self._close_cut()

    def _close_cut(self) -> None:
        """Hand over what was cut, now that nothing belongs to it any more that is still to come."""
        assert self._open_cut is not None
        assert self._rounds is not None
        (barrier, operators), rounds = self._open_cut, self._rounds
        self._open_cut = self._rounds = None
        self._coming_round = set()
        if self._task.loop is not None:
            self._task.loop.close_cut()
        if self._task.inputs:
            inputs = OperatorState(self._codec(self._inputs_uid, self._task.vertex.head.name))
            inputs.put_whole(RECEIVED, self._received_before)
            if self._watermarks_before is not None:
                inputs.put_whole(WATERMARKS, self._watermarks_before)
            rounds.put_into(inputs)
            operators.append((self._inputs_uid, inputs))
        snapshot = TaskSnapshot(self.name, self._task.label, barrier, operators)
        self._writer.submit(self._report, snapshot)

    def _last_words(self, node: Node) -> tuple[Any, ...]:
        state = OperatorState(self._codec(node.transformation.uid, node.transformation.name))

        def put() -> None:
            transactions = self._transactions.get(node.transformation.uid)
            if transactions is not None:  # one that had finished before has nothing new
                epochs = [] if self.is_finished else transactions.prepare()
                state.put_whole(PREPARED, epochs)
            state.put_whole(COUNTS, _counts(self._task, node))
            self._letters[node.transformation.uid].put_into(state, full=True)
            if node is self._task.source:
                assert self._task.reader is not None
                self._task.reader.snapshot(state)

        self._guarded(node, "preparing its last epoch", put)
        return tuple(state.sections())

    # The commit.

    def _commit(self, *, at_end: bool = False) -> None:
        """Commit what the newest complete checkpoint covers."""
        completed = self._seen_completed = self._completed
        for checkpoint in sorted(c for c in self._covered if c <= completed):
            covered = self._covered.pop(checkpoint)
            for uid, epochs in covered.items():
                self._commit_epochs(uid, epochs)
        if at_end and completed > self._last_cut:  # it has the last words of this task
            for uid, transactions in self._transactions.items():
                self._commit_epochs(uid, list(transactions.prepared))
        self._report(Committed(self.name, completed))

    def _commit_epochs(self, uid: str, epochs: Sequence[int]) -> None:
        node = next(n for n in self._task.nodes if n.transformation.uid == uid)
        self._guarded(node, "committing", lambda: self._transactions[uid].commit(epochs))

    @staticmethod
    def _guarded(node: Node, doing: str, action: Callable[[], None]) -> None:
        try:
            action()
        except StateMismatchError:
            raise  # it names the operator, and trying again does not help
        except Exception as error:
            raise JobFailedError(node.transformation.name, error, doing=doing) from error

    def _codec(self, uid: str, name: str) -> StateCodec:
        if uid not in self._codecs:
            self._codecs[uid] = StateCodec(name)
        return self._codecs[uid]

    def _layout(self, channel: Channel) -> tuple[str, ...]:
        return self._task.chain.root.layouts[channel.input_index]


def give_journals(task: Task, journals: JournalFolder) -> None:
    """Let the operators of a task journal their results where they were asked to."""
    for node in task.nodes:
        t = node.transformation
        node.live.journal = journal_of(
            t.operator, journals, uid=t.uid, name=t.name, subtask=task.subtask
        )


def _input_name(channel: Channel) -> str:
    back = " back" if channel.feeds_back else ""
    return f"{channel.input_index}{back} {channel.edge[0]}"


def _counts(task: Task, node: Node) -> dict[str, Any]:
    """Return the counts of an operator, with what it received, wherever in a loop it was.

    Inside of a loop that number follows from those before it; behind a change of the parallelism
    the operator may be the first.
    """
    rows = {row.uid: row for row in metrics_of(task)}
    received = rows[node.transformation.uid].received
    return {**node.statistics.snapshot(), "entered": received - node.statistics.pending}


def _restore_counts(node: Node, state: RestoredState) -> None:
    counts: Iterable[dict[str, Any]] = state.whole(COUNTS)
    if state.subtask == 0 or not state.is_rescaled:
        for each in counts:
            node.statistics.restore(each)
