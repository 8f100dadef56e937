"""Writes complete checkpoints down, for a run that owns the job.

What a checkpoint consists of is known from the plan; which file holds which part, from what the
tasks have acknowledged. A savepoint is a checkpoint of which a copy is put where its user wants it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sage.kernel.checkpoint.coordinator import Completed, Pending
from sage.kernel.checkpoint.manifest import Base, Manifest, OperatorEntry, TaskEntry
from sage.kernel.checkpoint.messages import Finished, TaskName
from sage.kernel.checkpoint.ownership import Ownership
from sage.kernel.checkpoint.state_file import WrittenFile, write_state_file
from sage.kernel.checkpoint.steps import reached
from sage.kernel.checkpoint.storage import CheckpointStorage, safe_name
from sage.kernel.checkpoint.stored_checkpoint import StoredCheckpoint

__all__ = ["PlannedTask", "StoredLedger", "state_file_path"]


def state_file_path(folder: str, label: str) -> str:
    """Return where a task writes its part of a checkpoint."""
    return f"{folder}/{safe_name(label)}.state"


@dataclass(frozen=True)
class PlannedTask:
    """A task of the plan, as a manifest names it."""

    label: str
    head: str
    operators: tuple[str, ...]
    subtask: int
    parallelism: int


class StoredLedger:
    """The checkpoints of one run in its storage.

    Args:
        storage: Where they are.
        owner: The right to write them.
        job: Name of the job.
        operators: What the job consists of.
        tasks: Its tasks.

    Attributes:
        oldest_kept: Number of the oldest checkpoint that a run may still go on from, 0 for the
            beginning.
    """

    def __init__(
        self,
        storage: CheckpointStorage,
        owner: Ownership,
        job: str,
        operators: Sequence[OperatorEntry],
        tasks: Mapping[TaskName, PlannedTask],
    ) -> None:
        self.oldest_kept = 0
        self._storage = storage
        self._owner = owner
        self._job = job
        self._operators = tuple(operators)
        self._tasks = tasks
        self._folders: dict[int, str] = {}
        self._copying = 0  # while a checkpoint is copied, none is deleted

    def begin(self, checkpoint: int) -> str:
        """Make room for a checkpoint, note that it was begun, and return where it is."""
        self._owner.check()
        # Behind its barrier sinks begin the next epoch, whether or not that is ever asked for.
        self._owner.heartbeat(highest_begun=checkpoint + 1)
        if not self._copying:  # the sinks have committed the one before
            self.oldest_kept = self._storage.retire(self._owner.lineage)
            reached("checkpoint.retired")
        folder = self._folders[checkpoint] = self._storage.begin(checkpoint, self._owner.epoch)
        return folder

    def complete(self, pending: Pending, finished: Mapping[TaskName, Finished]) -> Completed:
        """Write what finished tasks have said, then the manifest."""
        folder = self._folders.pop(pending.checkpoint)
        entries = [self._entry(name, folder, pending, finished) for name in sorted(self._tasks)]
        manifest = Manifest(
            checkpoint=pending.checkpoint,
            epoch=self._owner.epoch,
            job=self._job,
            folder=folder.rstrip("/").rpartition("/")[2],
            kind="final" if pending.kind == "final" else "checkpoint",
            created_at=time.time(),
            duration_s=time.monotonic() - pending.started_s,
            operators=self._operators,
            tasks=tuple(entries),
        )
        reached("manifest.before")
        self._storage.complete(manifest, self._owner.check)
        reached("manifest.after")
        return Completed(StoredCheckpoint(folder, manifest), manifest.own_bytes)

    def copy(self, stored: StoredCheckpoint, path: str | None) -> str:
        """Copy a checkpoint to where it is kept, and return where that is; on any thread."""
        name = f"sp-{stored.manifest.checkpoint:08d}-e{self._owner.epoch:04d}"
        there = path or f"{self._storage.path}/savepoints/{name}"
        self._copying += 1
        try:
            return stored.copy_to(self._storage.files, there).path
        finally:
            self._copying -= 1

    def _entry(
        self,
        name: TaskName,
        folder: str,
        pending: Pending,
        finished: Mapping[TaskName, Finished],
    ) -> TaskEntry:
        task, said = self._tasks[name], pending.acknowledged.get(name)
        file: WrittenFile
        bases: tuple[Base, ...] = ()
        if said is not None:
            file = said.file
            bases = tuple(Base(uid, state, files) for (uid, state), files in said.bases.items())
        else:
            path = state_file_path(folder, task.label)
            file = write_state_file(self._storage.files, path, finished[name].operators)
        return TaskEntry(
            head=task.head,
            operators=task.operators,
            subtask=task.subtask,
            parallelism=task.parallelism,
            finished=said is None,
            file=file,
            bases=bases,
        )

    def abandon(self, checkpoint: int) -> None:
        """A checkpoint will not be completed; its files stay until nothing can rest on them."""
        self._folders.pop(checkpoint, None)

    def heartbeat(self) -> None:
        """Show that this run is alive, and learn whether another one has taken over."""
        self._owner.check()
        self._owner.heartbeat()
