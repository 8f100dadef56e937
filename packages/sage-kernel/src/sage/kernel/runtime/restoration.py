"""What a run begins with: a checkpoint, or nothing, and how a task finds its part in it.

State is found by the uid of its operator, whatever chain that was in and whatever its parallelism
was. It is read by the task that needs it, when it starts. Invariant: no state is left behind
silently; an operator that is gone, or is another one now, is an error that names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sage.kernel.checkpoint.filesystem import Filesystem
from sage.kernel.checkpoint.manifest import TaskEntry
from sage.kernel.checkpoint.operator_state import RestoredState, Section
from sage.kernel.checkpoint.state_file import read_state_file
from sage.kernel.checkpoint.stored_checkpoint import StoredCheckpoint
from sage.kernel.errors import StateMismatchError
from sage.kernel.graph.job_graph import JobGraph, JobVertex
from sage.kernel.state.codec import StateCodec

__all__ = ["Restoration"]


@dataclass(frozen=True)
class Restoration:
    """What a run begins with.

    Attributes:
        files: Where the checkpoint is.
        stored: The checkpoint, or None to begin with nothing.
        highest_begun: The highest number of a checkpoint that any run has begun.
        attempt: How often the job was started again in this process.
        starts_over: Whether what earlier runs have written is to be removed.
    """

    files: Filesystem
    stored: StoredCheckpoint | None = None
    highest_begun: int = 0
    attempt: int = 0
    starts_over: bool = False

    @property
    def checkpoint(self) -> int:
        """Number of the checkpoint; 0 for none."""
        return self.stored.manifest.checkpoint if self.stored is not None else 0

    def of(self, uid: str, subtask: int, parallelism: int, name: str = "") -> RestoredState | None:
        """Return what an operator had, or None if it was not there.

        Args:
            uid: The operator; with ``@`` before it, the inputs of the task that it is the head of.
            subtask: Which subtask it is now.
            parallelism: How many there are now.
            name: Its name, for errors.
        """
        entries = self._entries(uid)
        if not entries:
            return None
        before = entries[0].parallelism
        counted = entries if before != parallelism else [entries[subtask]]
        parts = [list(self._sections(entry, uid)) for entry in counted]
        return RestoredState(StateCodec(name), subtask, parallelism, before, parts)

    def is_finished(self, vertex: JobVertex, subtask: int) -> bool:
        """Whether a task had come to its end, and has nothing to do any more."""
        for transformation in vertex.transformations:
            entries = self._entries(transformation.uid)
            if entries and entries[0].parallelism == vertex.parallelism:
                entries = [entries[subtask]]
            if not entries or not all(entry.finished for entry in entries):
                return False
        return True

    def check_fit(self, graph: JobGraph, *, allow_dropped_state: bool = False) -> None:
        """Compare the checkpoint with the plan that is to go on with it.

        Raises:
            StateMismatchError: naming the first operator that does not fit.
        """
        if self.stored is None:
            return
        there = {t.uid: t for t in graph.stream_graph}
        heads = {vertex.head.uid for vertex in graph.vertices}
        for entry in self.stored.manifest.operators:
            now = there.get(entry.uid)
            if now is not None and now.operator.state_kind != entry.kind:
                raise StateMismatchError(
                    f"operator {entry.uid!r} was a {entry.kind} ({entry.name!r}) in the checkpoint "
                    f"and is a {now.operator.state_kind} ({now.name!r}) now",
                    operator=entry.name,
                    hint="give operators that keep state a name of their own that lasts, "
                    "uid='...', so that others can come and go; or start over: fresh=True",
                )
            if now is None and not allow_dropped_state and self._has_state(entry.uid):
                raise StateMismatchError(
                    f"the checkpoint has state of operator {entry.name!r} (uid {entry.uid!r}), "
                    f"which is not in the plan any more",
                    operator=entry.name,
                    hint="put it back; or forget its state: allow_dropped_state=True",
                )
            if entry.uid in heads or allow_dropped_state:
                continue
            if self._has_state(f"@{entry.uid}"):
                raise StateMismatchError(
                    f"the checkpoint has records on their way to operator {entry.name!r} (uid "
                    f"{entry.uid!r}), which has no input of its own any more",
                    operator=entry.name,
                    hint="go on with the pipeline that made the checkpoint; or forget them: "
                    "allow_dropped_state=True",
                )

    def _has_state(self, uid: str) -> bool:
        """Whether an operator had more to remember than its counts."""
        return any(
            not section.name.startswith("#")
            for entry in self._entries(uid)
            for section in self._sections(entry, uid)
        )

    def _entries(self, uid: str) -> list[TaskEntry]:
        if self.stored is None:
            return []
        tasks = self.stored.manifest.tasks
        if uid.startswith("@"):
            found = [task for task in tasks if task.head == uid[1:]]
        else:
            found = [task for task in tasks if uid in task.operators]
        return sorted(found, key=lambda task: task.subtask)

    def _sections(self, entry: TaskEntry, uid: str) -> Iterator[Section]:
        """Yield the sections of an operator in one old task, those that they rest on first."""
        assert self.stored is not None
        for base in entry.bases:
            if base.uid != uid:
                continue
            for file in base.files:
                for _, section in read_state_file(self.files, self.stored.locate(file), uid):
                    if section.kind == "keyed" and section.name == base.name:
                        yield section
        if entry.file is not None:
            for _, section in read_state_file(self.files, self.stored.locate(entry.file), uid):
                yield section
