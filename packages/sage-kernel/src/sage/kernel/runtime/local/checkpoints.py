"""The checkpoints of a run whose tasks are all in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.checkpoint.coordinator import Coordinator
from sage.kernel.checkpoint.ledger import state_file_path
from sage.kernel.checkpoint.operator_state import Section
from sage.kernel.checkpoint.state_file import WrittenFile, write_state_file
from sage.kernel.runtime.recovery import Beginning
from sage.kernel.runtime.snapshot_writer import SnapshotWriter
from sage.kernel.runtime.task_checkpoints import TaskCheckpoints, give_journals

if TYPE_CHECKING:
    from sage.kernel.runtime.task import Task

__all__ = ["LocalCheckpoints"]


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
        self._files = beginning.restoration.files
        self._ledger = beginning.ledger
        self._journals = beginning.journals
        for task in tasks:
            give_journals(task, beginning.journals)
        self._writer = SnapshotWriter(self._write)
        self.coordinator = Coordinator(
            beginning.options,
            [(task.vertex.id, task.subtask) for task in tasks],
            beginning.ledger,
            first=beginning.restoration.highest_begun + 1,
            request=self._request,
            complete=self._complete,
            stop=stop,
            fail=fail,
        )
        self.coordinator.statistics.restored = beginning.restoration.checkpoint
        self._members = [
            TaskCheckpoints(
                task,
                writer=self._writer,
                report=self.coordinator.report,
                restoration=beginning.restoration,
                is_exact=beginning.options.is_exact,
            )
            for task in tasks
        ]
        for task, member in zip(tasks, self._members, strict=True):
            task.checkpoints = member

    def start(self) -> None:
        """Begin to make checkpoints."""
        self.coordinator.start()

    def close(self) -> None:
        """Stop; a checkpoint that is under way is given up."""
        self.coordinator.close()
        self._writer.close()

    def _request(self, barrier: Barrier) -> None:
        self._journals.retire(self._ledger.oldest_kept)
        for member in self._members:
            member.request(barrier)

    def _complete(self, checkpoint: int) -> None:
        for member in self._members:
            member.complete(checkpoint)

    def _write(
        self, folder: str, label: str, operators: Iterator[tuple[str, Iterator[Section]]]
    ) -> WrittenFile:
        return write_state_file(self._files, state_file_path(folder, label), operators)
