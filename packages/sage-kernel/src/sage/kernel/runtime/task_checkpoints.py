"""The part that a task plays in checkpoints: it cuts, says what it has to remember, and commits.

The cut is made on the task's thread between two batches: every operator puts what it has to
remember into its `OperatorState`, the barrier goes on behind everything that was made of the
records before, and the task goes on. Encoding and writing happen on the writer's thread.

Besides its operators a task remembers what is under way in it (see `input_checkpoints`), and the
counts, so that after a recovery they tell of the records that count.
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
from sage.kernel.operators.journalled import journal_of
from sage.kernel.runtime.alignment import Alignment, Item
from sage.kernel.runtime.channel import Batch, Channel, ChannelClosed, EndOfInput, Wake
from sage.kernel.runtime.input_checkpoints import InputCheckpoints
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

__all__ = ["TaskCheckpoints", "give_journals"]

_logger = logging.getLogger("sage.checkpoint")

_COUNTS = "#counts"
_PREPARED = "#prepared"

_Counts = dict[str, dict[str, Any]]  # of each operator, by its uid


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
        self._inputs = InputCheckpoints(task) if task.inputs else None
        self._open_cut: tuple[Barrier, list[tuple[str, OperatorState]]] | None = None
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
        if self._inputs is not None:
            came = self._restored(self._inputs.uid, task.vertex.head.name)
            if came is not None:
                self._inputs.restore(came)
            else:
                self._inputs.restore_counts_of_chain()
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
        state = self._restored(uid, node.transformation.name)
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
                [epoch for epochs in state.whole(_PREPARED) for epoch in epochs] if state else []
            )
            restoration = self._restoration
            if restoration.starts_over:
                transactions.start_over()
            transactions.settle_old(prepared, restoration.checkpoint, restoration.highest_begun)
            if not self.is_finished:
                transactions.begin(restoration.highest_begun + 1)

    def _restored(self, uid: str, name: str) -> RestoredState | None:
        task = self._task
        return self._restoration.of(uid, task.subtask, task.vertex.parallelism, name)

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
            if self._inputs is not None and isinstance(item, Batch):
                self._inputs.comes_round(channel, item)
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
        counts = _counts(self._task)
        operators = [(n.transformation.uid, self._last_words(n, counts)) for n in self._task.nodes]
        if self._inputs is not None:
            operators.append((self._inputs.uid, tuple(self._inputs.last_words().sections())))
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
        counts = _counts(task)
        for node in task.nodes:
            state = self._new_state(node)
            self._guarded(
                node, "taking its snapshot", partial(self._put, node, state, counts, full)
            )
            operators.append((node.transformation.uid, state))
        self._warn_of_own_attributes()  # sinks have flushed: what they buffer is no state
        for uid, transactions in self._transactions.items():
            covered[uid] = list(transactions.prepared)
        self._covered[barrier.checkpoint] = covered
        self._open_cut = (barrier, operators)
        awaits_rounds = self._inputs is not None and self._inputs.cut()
        if task.loop is not None:
            task.loop.open_cut()
        if not awaits_rounds:
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

    def _put(self, node: Node, state: OperatorState, counts: _Counts, full: bool) -> None:
        transactions = self._transactions.get(node.transformation.uid)
        if transactions is not None:
            state.put_whole(_PREPARED, transactions.prepare())
        else:
            node.live.flush()
        node.live.snapshot(state, full=full)
        self._put_account(node, state, counts, full)

    def _put_account(self, node: Node, state: OperatorState, counts: _Counts, full: bool) -> None:
        """Put what became of the records of an operator, and how far its source has read."""
        uid = node.transformation.uid
        state.put_whole(_COUNTS, counts[uid])
        self._letters[uid].put_into(state, full=full)
        if node is self._task.source:
            assert self._task.reader is not None
            self._task.reader.snapshot(state)

    def _came_round(self, channel: Channel, barrier: Barrier) -> None:
        if self._open_cut is None or barrier.checkpoint != self._open_cut[0].checkpoint:
            return
        assert self._inputs is not None
        if self._inputs.came_round(channel):
            self._close_cut()

    def _close_cut(self) -> None:
        """Hand over what was cut, now that nothing belongs to it any more that is still to come."""
        assert self._open_cut is not None
        (barrier, operators), self._open_cut = self._open_cut, None
        if self._task.loop is not None:
            self._task.loop.close_cut()
        if self._inputs is not None:
            operators.append((self._inputs.uid, self._inputs.close_cut()))
        snapshot = TaskSnapshot(self.name, self._task.label, barrier, operators)
        self._writer.submit(self._report, snapshot)

    def _last_words(self, node: Node, counts: _Counts) -> tuple[Any, ...]:
        state = self._new_state(node)

        def put() -> None:
            transactions = self._transactions.get(node.transformation.uid)
            if transactions is not None:  # one that had finished before has nothing new
                epochs = [] if self.is_finished else transactions.prepare()
                state.put_whole(_PREPARED, epochs)
            self._put_account(node, state, counts, full=True)

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

    def _new_state(self, node: Node) -> OperatorState:
        return OperatorState(self._codec(node.transformation.uid, node.transformation.name))


def give_journals(task: Task, journals: JournalFolder) -> None:
    """Let the operators of a task journal their results where they were asked to."""
    for node in task.nodes:
        t = node.transformation
        node.live.journal = journal_of(
            t.operator, journals, uid=t.uid, name=t.name, subtask=task.subtask
        )


def _counts(task: Task) -> _Counts:
    """Return the counts of each operator, with what it received, wherever in a loop it was.

    Inside of a loop that number follows from those before it; behind a change of the parallelism
    the operator may be the first.
    """
    received = {row.uid: row.received for row in metrics_of(task)}
    counts = {}
    for node in task.nodes:
        uid, statistics = node.transformation.uid, node.statistics
        counts[uid] = {**statistics.snapshot(), "entered": received[uid] - statistics.pending}
    return counts


def _restore_counts(node: Node, state: RestoredState) -> None:
    counts: Iterable[dict[str, Any]] = state.whole(_COUNTS)
    if state.subtask == 0 or not state.is_rescaled:
        for each in counts:
            node.statistics.restore(each)
