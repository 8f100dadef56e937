"""The checkpoints of a run whose tasks are all in this process, and the part of one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.checkpoint.filesystem import filesystem_of
from sage.kernel.checkpoint.journal import JournalFolder
from sage.kernel.checkpoint.ledger import state_file_path
from sage.kernel.checkpoint.messages import Message
from sage.kernel.checkpoint.operator_state import Section
from sage.kernel.checkpoint.state_file import WrittenFile, write_state_file
from sage.kernel.runtime.recovery import Beginning
from sage.kernel.runtime.restoration import Restoration
from sage.kernel.runtime.snapshot_writer import SnapshotWriter
from sage.kernel.runtime.task_checkpoints import TaskCheckpoints, give_journals

if TYPE_CHECKING:
    from sage.kernel.runtime.task import Task

__all__ = ["LocalCheckpoints", "Participants", "Participation"]


@dataclass(frozen=True)
class Participation:
    """What a process has to know to take part in checkpoints; it travels to other processes.

    Attributes:
        restoration: What the run begins with.
        journals: Where results are journalled.
        is_exact: Whether what comes behind a barrier waits for the barriers of other inputs.
    """

    restoration: Restoration
    journals: JournalFolder
    is_exact: bool

    @classmethod
    def of(cls, beginning: Beginning) -> Participation:
        """Return what of a beginning is not the coordinator's alone."""
        return cls(beginning.restoration, beginning.journals, beginning.options.is_exact)


def _write(
    folder: str, label: str, operators: Iterator[tuple[str, Iterator[Section]]]
) -> WrittenFile:
    files, path = filesystem_of(folder)  # not where the state came from: that may be a savepoint
    return write_state_file(files, state_file_path(path, label), operators)


class Participants:
    """The tasks of one process, as the coordinator sees them.

    Args:
        participation: What they begin with.
        tasks: The tasks.
        report: Takes their messages, on their threads and the writer's.
    """

    def __init__(
        self,
        participation: Participation,
        tasks: Sequence[Task],
        report: Callable[[Message], None],
    ) -> None:
        self._writer = SnapshotWriter(_write)
        self._members = []
        for task in tasks:
            give_journals(task, participation.journals)
            task.checkpoints = TaskCheckpoints(
                task,
                writer=self._writer,
                report=report,
                restoration=participation.restoration,
                is_exact=participation.is_exact,
            )
            self._members.append(task.checkpoints)

    def request(self, barrier: Barrier) -> None:
        """Ask every task for a cut."""
        for member in self._members:
            member.request(barrier)

    def complete(self, checkpoint: int) -> None:
        """Tell every task that a checkpoint is complete."""
        for member in self._members:
            member.complete(checkpoint)

    def close(self) -> None:
        """Wait until everything is written and reported that the tasks had to say."""
        self._writer.close()


class LocalCheckpoints:
    """Lets tasks take part in checkpoints, and makes them.

    Args:
        beginning: What the run begins with, and where it writes.
        tasks: All tasks of the job.
        stop: Ends the run, behind a checkpoint that stops the sources.
        fail: Ends the run with an error.
    """

    def __init__(
        self,
        beginning: Beginning,
        tasks: Sequence[Task],
        *,
        stop: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        participation = Participation.of(beginning)
        self._participants = Participants(participation, tasks, self._report)
        self.coordinator = beginning.coordinator(
            [(task.vertex.id, task.subtask) for task in tasks],
            request=self._participants.request,
            complete=self._participants.complete,
            stop=stop,
            fail=fail,
        )

    def start(self) -> None:
        """Begin to make checkpoints."""
        self.coordinator.start()

    def close(self) -> None:
        """Stop; a checkpoint that is under way is given up."""
        self.coordinator.close()
        self._participants.close()

    def _report(self, message: Message) -> None:
        self.coordinator.report(message)
