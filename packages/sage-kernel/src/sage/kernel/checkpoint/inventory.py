"""What checkpoints there are in a folder: for people and tools, not for a run.

It takes a ``checkpoint_dir`` with several jobs, the folder of one job, one checkpoint, or a
savepoint, and says the same as a recovery would. Invariant: it only reads, and may be used while
jobs are running; what a running job deletes meanwhile was never in the list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from sage.kernel.checkpoint.filesystem import Filesystem, explained, filesystem_of
from sage.kernel.checkpoint.lineage import Lineage
from sage.kernel.checkpoint.manifest import Manifest
from sage.kernel.checkpoint.owner_record import current_owner
from sage.kernel.checkpoint.storage import checkpoint_folders
from sage.kernel.checkpoint.stored_checkpoint import MANIFEST, StoredCheckpoint, read_manifest
from sage.kernel.errors import CheckpointError, DamagedCheckpointError, NewerFormatError

__all__ = ["Condition", "ListedCheckpoint", "checkpoints_in", "verified"]

_LEVELS = 2  # <checkpoint_dir>/<job>/savepoints

Condition = Literal["complete", "unfinished", "damaged", "fenced", "newer format"]


@dataclass(frozen=True, slots=True)
class ListedCheckpoint:
    """A checkpoint, or what is left of one.

    Attributes:
        path: Its folder.
        condition: ``"complete"``: it has its manifest; ``"unfinished"``: it has none, so it is
            under way or was given up; ``"fenced"``: it does not count, because its run had been
            taken over.
        problem: What is wrong, in words; "" if nothing is.
        manifest: What it consists of; None if that cannot be read.
    """

    path: str
    condition: Condition
    problem: str = ""
    manifest: Manifest | None = None

    @property
    def is_damaged(self) -> bool:
        """Whether it had counted once and cannot be used here."""
        return self.condition in ("damaged", "newer format")


def checkpoints_in(url: str) -> list[ListedCheckpoint]:
    """List what is in a folder: per job, oldest first.

    Args:
        url: A ``checkpoint_dir``, the folder of a job, a checkpoint or a savepoint.

    Raises:
        CheckpointError: if there is nothing of the kind.
    """
    files, path = filesystem_of(url)
    if files.size(f"{path}/{MANIFEST}") is not None:
        return [_listed(files, path)]
    with explained("list the checkpoints in", path):
        found = list(_below(files, path, _LEVELS))
    if not found:
        raise CheckpointError(
            f"there are no checkpoints in {path!r}",
            hint="give the checkpoint_dir of a job, the job's folder in it, or one checkpoint",
            path=path,
        )
    return found


def verified(url: str, listed: ListedCheckpoint) -> ListedCheckpoint | None:
    """Read every file of a checkpoint; return what it turned out to be, None if it has gone.

    Args:
        url: What `checkpoints_in` was given.
        listed: One of those that it returned.

    Raises:
        CheckpointError: if a file cannot be read, which says nothing about its content.
    """
    files, _ = filesystem_of(url)
    if listed.manifest is None or listed.condition != "complete":
        return listed
    try:
        StoredCheckpoint(listed.path, listed.manifest).verify(files)
    except NewerFormatError as error:
        return replace(listed, condition="newer format", problem=error.message)
    except DamagedCheckpointError as error:
        if files.size(f"{listed.path}/{MANIFEST}") is None:
            return None  # its job has deleted it just now
        return replace(listed, condition="damaged", problem=error.message)
    return listed


def _below(files: Filesystem, path: str, levels: int) -> Iterator[ListedCheckpoint]:
    """List what is in a folder and in those in it: in those of jobs, and of their savepoints."""
    found = _in_folder(files, path)
    yield from found
    seen = {one.path for one in found}
    for name in files.names(path) if levels else ():
        if f"{path}/{name}" not in seen:
            yield from _below(files, f"{path}/{name}", levels - 1)


def _in_folder(files: Filesystem, path: str) -> list[ListedCheckpoint]:
    """List the checkpoints of a job, and the savepoints, that are in one folder."""
    folders = checkpoint_folders(files, path)
    owner = current_owner(files, path) if folders else None
    lineage = owner.lineage if owner is not None else Lineage()
    ours = {
        folder.name: lineage.includes(epoch=folder.epoch, checkpoint=folder.checkpoint)
        for folder in folders
    }
    savepoints = [
        name
        for name in files.names(path)
        if name not in ours and files.size(f"{path}/{name}/{MANIFEST}") is not None
    ]
    names = [*ours, *savepoints]
    return [_listed(files, f"{path}/{name}", counts=ours.get(name, True)) for name in names]


def _listed(files: Filesystem, path: str, *, counts: bool = True) -> ListedCheckpoint:
    if files.size(f"{path}/{MANIFEST}") is None:
        return ListedCheckpoint(path, "unfinished", "it has no manifest")
    try:
        manifest = read_manifest(files, path)
    except NewerFormatError as error:
        return ListedCheckpoint(path, "newer format", error.message)
    except DamagedCheckpointError as error:
        return ListedCheckpoint(path, "damaged", error.message)
    if not counts:
        return ListedCheckpoint(path, "fenced", "its run had been taken over", manifest)
    return ListedCheckpoint(path, "complete", manifest=manifest)
