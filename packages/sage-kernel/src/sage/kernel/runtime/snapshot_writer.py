"""Encodes snapshots and writes them, on a thread of its own, while the tasks go on.

Keyed state may come as what changed since the snapshot before. The writer knows which files such
changes rest on, and asks for everything when they have grown larger than what they change, or lie
in too many files, so that a recovery never reads more than about twice the state. Invariant: an
acknowledged file and those that it rests on are whole; when one could not be written, the next
snapshot is a full one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.checkpoint.messages import Acknowledged, Declined, Finished, Message, TaskName
from sage.kernel.checkpoint.operator_state import OperatorState, Section
from sage.kernel.checkpoint.state_file import WrittenFile
from sage.kernel.checkpoint.steps import reached
from sage.kernel.errors import CheckpointError, StateCodecError

__all__ = ["SnapshotWriter", "TaskSnapshot"]

Write = Callable[[str, str, Iterator[tuple[str, Iterator[Section]]]], WrittenFile]
Report = Callable[[Message], None]

_MOST_FILES = 64  # that a snapshot rests on; each of them keeps the folder of an old checkpoint


@dataclass
class TaskSnapshot:
    """What one task has cut.

    Attributes:
        task: Which task.
        label: Its name in the names of files.
        barrier: Of which checkpoint, and where it is to be written.
        operators: The state of each operator, and of the inputs.
    """

    task: TaskName
    label: str
    barrier: Barrier
    operators: list[tuple[str, OperatorState]]


@dataclass
class _Chain:
    """The files that a piece of keyed state rests on, and how large they are."""

    files: list[WrittenFile] = field(default_factory=list)
    base_bytes: int = 0
    change_bytes: int = 0


class SnapshotWriter:
    """Writes the snapshots of the tasks of one process.

    Args:
        write: Writes one file: its folder, its label, and the sections of each operator.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._chains: dict[TaskName, dict[tuple[str, str], _Chain]] = {}
        self._broken: set[TaskName] = set()
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # several tasks may be the first to submit something

    def wants_full(self, task: TaskName) -> bool:
        """Whether the next snapshot of a task has to be a full one."""
        chains = self._chains.get(task)
        if chains is None or task in self._broken:
            return True
        now = list(chains.values())  # the writer may just be at one that was given up
        if any(len(chain.files) >= _MOST_FILES for chain in now):
            return True
        return sum(chain.change_bytes for chain in now) > sum(chain.base_bytes for chain in now)

    def submit(self, report: Report, snapshot: TaskSnapshot) -> None:
        """Write a snapshot and acknowledge it."""
        self._put(lambda: self._work_off(report, snapshot))

    def submit_finished(self, report: Report, finished: Finished) -> None:
        """Tell, behind what was submitted before, that a task has come to its end."""
        self._put(lambda: report(finished))

    def close(self) -> None:
        """Stop when everything submitted is done."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()

    def _put(self, work: Callable[[], None]) -> None:
        self._queue.put(work)
        with self._lock:
            if self._thread is None:
                run = threading.Thread(target=self._run, name="sage-snapshots", daemon=True)
                self._thread = run
                run.start()

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            work()

    def _work_off(self, report: Report, snapshot: TaskSnapshot) -> None:
        try:
            report(self._acknowledged(snapshot))
        except StateCodecError as error:
            report(Declined(snapshot.task, snapshot.barrier.checkpoint, error, fatal=True))
        except Exception as error:  # the coordinator decides what becomes of the job
            self._broken.add(snapshot.task)
            report(Declined(snapshot.task, snapshot.barrier.checkpoint, error))

    def _acknowledged(self, snapshot: TaskSnapshot) -> Acknowledged:
        changes = {(uid, name) for uid, state in snapshot.operators for name in state.changes}
        if changes and snapshot.task in self._broken:
            raise CheckpointError("the snapshot rests on one that could not be written")
        sizes: dict[tuple[str, str], int] = {}
        reached("task.write.before")
        file = self._write(
            snapshot.barrier.folder,
            snapshot.label,
            ((uid, _measured(uid, state, sizes)) for uid, state in snapshot.operators),
        )
        reached("task.write.after")
        chains = self._chains.setdefault(snapshot.task, {})
        bases: dict[tuple[str, str], tuple[WrittenFile, ...]] = {}
        for at, size in sizes.items():
            chain = chains.setdefault(at, _Chain())
            if at in changes:
                bases[at] = tuple(chain.files)
                chain.change_bytes += size
            else:
                chain.files, chain.base_bytes, chain.change_bytes = [], size, 0
            chain.files.append(file)
        for at in changes - sizes.keys():  # nothing has changed
            bases[at] = tuple(chains[at].files) if at in chains else ()
        for at in chains.keys() - sizes.keys() - changes:
            del chains[at]  # there is nothing left of it: nothing may rest on what there was
        if not changes:
            self._broken.discard(snapshot.task)
        return Acknowledged(snapshot.task, snapshot.barrier.checkpoint, file, bases)


def _measured(
    uid: str, state: OperatorState, sizes: dict[tuple[str, str], int]
) -> Iterator[Section]:
    """Yield the sections of a state, noting how large its keyed pieces are."""
    for section in state.sections():
        if section.kind == "keyed":
            at = (uid, section.name)
            sizes[at] = sizes.get(at, 0) + len(section.payload)
        yield section
