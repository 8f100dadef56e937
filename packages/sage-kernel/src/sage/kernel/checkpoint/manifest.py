"""What a checkpoint consists of: the one file that makes it count.

Task files alone are nothing; a checkpoint is complete when its manifest is there, which is written
last and as a whole. It names every file with size and checksum, those of earlier checkpoints that
an incremental one builds on as well, so that *complete*, *intact* and *still needed* can all be
told from manifests alone. Invariant: it is sealed, its format version included, so that damage is
never taken for a newer format nor a newer format for damage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from sage.kernel.checkpoint.sealed import seal, unseal
from sage.kernel.checkpoint.state_file import WrittenFile, newer_format
from sage.kernel.errors import DamagedCheckpointError

__all__ = ["FORMAT", "Base", "Manifest", "OperatorEntry", "TaskEntry"]

FORMAT = 1


@dataclass(frozen=True, slots=True)
class OperatorEntry:
    """An operator of the job: what a plan that goes on is compared with.

    Attributes:
        uid: What it is known by from run to run.
        name: What it is called in messages.
        kind: What it does, as in ``"keyed_process"``.
        parallelism: How many subtasks it had.
    """

    uid: str
    name: str
    kind: str
    parallelism: int


@dataclass(frozen=True, slots=True)
class Base:
    """The earlier files of one keyed state that was written incrementally.

    Attributes:
        uid: The operator.
        name: The keyed state.
        files: The earlier files, oldest first; their sections come before those of the task's own.
    """

    uid: str
    name: str
    files: tuple[WrittenFile, ...]


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """One subtask of a chain.

    Attributes:
        head: The uid of its first operator.
        operators: The uids of all of them.
        subtask: Which subtask.
        parallelism: Of how many.
        finished: Whether its input had ended; then the file may be of an earlier checkpoint.
        file: What it wrote; None if it has nothing to remember.
        bases: What its file builds on.
    """

    head: str
    operators: tuple[str, ...]
    subtask: int
    parallelism: int
    finished: bool = False
    file: WrittenFile | None = None
    bases: tuple[Base, ...] = ()

    def files(self) -> Iterator[WrittenFile]:
        """Yield the files that restoring this task needs; one may come several times."""
        for base in self.bases:
            yield from base.files
        if self.file is not None:
            yield self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A complete checkpoint.

    Attributes:
        checkpoint: Its number; a later one is higher.
        epoch: The epoch of the run that took it.
        job: Name of the job.
        kind: A ``"savepoint"`` is its user's and never deleted; ``"final"`` is that of a job that
            has reached its end.
        folder: Name of the folder that it was written to.
        created_at: When it was complete, in seconds since 1970.
        duration_s: How long it took.
        operators: What the job consists of.
        tasks: Each subtask with its files.
        format: Version of the format.

    Example:
        >>> one = Manifest(checkpoint=12, epoch=3, job="words", folder="chk-00000012-e0003")
        >>> Manifest.from_bytes(one.to_bytes(), "MANIFEST.json") == one
        True
    """

    checkpoint: int
    epoch: int
    job: str
    folder: str
    kind: Literal["checkpoint", "savepoint", "final"] = "checkpoint"
    created_at: float = 0.0
    duration_s: float = 0.0
    operators: tuple[OperatorEntry, ...] = ()
    tasks: tuple[TaskEntry, ...] = ()
    format: int = FORMAT

    def files(self) -> dict[str, WrittenFile]:
        """Return every file that it needs, by path."""
        return {file.path: file for task in self.tasks for file in task.files()}

    @property
    def total_bytes(self) -> int:
        """How many bytes its files have, those that it shares with others included."""
        return sum(file.bytes for file in self.files().values())

    @property
    def own_bytes(self) -> int:
        """How many bytes were written for it."""
        return sum(
            file.bytes for path, file in self.files().items() if path.startswith(f"{self.folder}/")
        )

    def to_bytes(self) -> bytes:
        """Return it as JSON with its checksum."""
        return seal(msgspec.json.encode(self))

    @classmethod
    def from_bytes(cls, content: bytes, path: str) -> Manifest:
        """Return what was written.

        Args:
            content: The file's bytes.
            path: Where it was, for errors.

        Raises:
            DamagedCheckpointError: if it is not what was written.
            NewerFormatError: if a newer release wrote it.
        """
        body = unseal(content)
        if body is None:
            reason = "it is not what was written"
            raise DamagedCheckpointError(
                f"the manifest {path!r} is damaged: {reason}", path=path, reason=reason
            )
        version: Any = msgspec.json.decode(body)["format"]
        if version > FORMAT:
            raise newer_format(path, version, FORMAT)
        return msgspec.json.decode(body, type=cls)
