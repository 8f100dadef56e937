"""Where the checkpoints of a job are kept, which of them counts, and how long.

::

    <url>/<job>/owners/...                        who runs it, see ``ownership``
    <url>/<job>/chk-00000012-e0003/<task>.state   what its tasks remember
    <url>/<job>/chk-00000012-e0003/MANIFEST.json  written last: it makes the rest a checkpoint

A folder has one writer, the run of its epoch. Tasks write their files by path alone, wherever they
are; only the coordinator's thread uses the storage. Invariant: whatever is interrupted where, the
newest complete checkpoint of the lineage and every file that it refers to are there and unchanged;
nothing is deleted before its successor is complete, and then only what no checkpoint that is kept
refers to. (Incremental checkpoints refer to files of earlier ones, also of ones that never became
complete: a task knows that it has written its file, but not what became of the others.)
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sage.kernel.checkpoint.filesystem import Filesystem, explained, filesystem_of
from sage.kernel.checkpoint.lineage import Lineage
from sage.kernel.checkpoint.manifest import Manifest
from sage.kernel.checkpoint.ownership import Ownership, take
from sage.kernel.checkpoint.steps import reached
from sage.kernel.checkpoint.stored_checkpoint import (
    MANIFEST,
    StoredCheckpoint,
    has_manifest,
    read_manifest,
)
from sage.kernel.errors import DamagedCheckpointError, NewerFormatError

__all__ = [
    "CheckpointFolder",
    "CheckpointStorage",
    "Found",
    "PassedOver",
    "checkpoint_folders",
    "folder_name",
    "safe_name",
    "state_file_name",
]

_logger = logging.getLogger("sage.checkpoint")

_PROBE = "probe"
_FOLDER = re.compile(r"chk-(\d{8,})-e(\d{4,})")


class PassedOver(NamedTuple):
    """A checkpoint that was not used.

    Attributes:
        path: Its folder.
        reason: Why.
        is_damaged: Whether something has happened to it. What a kill leaves behind, and what a
            run wrote that had been taken over, is no damage.
    """

    path: str
    reason: str
    is_damaged: bool = False


class Found(NamedTuple):
    """What there is to go on from.

    Attributes:
        checkpoint: The newest one that is complete and intact; None if there is none.
        passed_over: Newer ones that are not, newest first.
    """

    checkpoint: StoredCheckpoint | None
    passed_over: tuple[PassedOver, ...]


class CheckpointFolder(NamedTuple):
    """A folder of a checkpoint, complete or not; they sort by age.

    Attributes:
        checkpoint: Its number.
        epoch: The run that made it.
        name: Its name in the folder of the job.
    """

    checkpoint: int
    epoch: int
    name: str


class CheckpointStorage:
    """Keeps the checkpoints of one job.

    Args:
        url: A folder, as a local path or a URL that fsspec knows; shared by all machines that run
            tasks of the job.
        job: Name of the job; jobs of different names do not see each other.
        retain: How many complete checkpoints are kept.

    Attributes:
        files: The filesystem.
        path: The job's folder there.

    Example:
        >>> storage = CheckpointStorage("memory://doc", "words")
        >>> run = storage.take_over()
        >>> folder = storage.begin(1, run.epoch)
        >>> one = Manifest(checkpoint=1, epoch=run.epoch, job="words", folder="chk-00000001-e0001")
        >>> storage.complete(one, run.check)
        >>> storage.newest_valid(run.lineage).checkpoint.manifest.checkpoint
        1
    """

    def __init__(self, url: str, job: str, *, retain: int = 3) -> None:
        self.files, root = filesystem_of(url)
        self.path = f"{root}/{safe_name(job)}"
        self._job = job
        self._retain = retain
        self._known: dict[str, Manifest] = {}  # manifests never change: each is read once
        self._damaged: set[str] = set()

    def prepare(self) -> None:
        """Make the job's folder and make sure that files can be written there.

        Raises:
            CheckpointError: if they cannot.
        """
        probe = f"{self.path}/{_PROBE}"
        with explained("write checkpoints in", self.path):
            self.files.make_folder(self.path)
            self.files.publish(probe, b"a checkpoint will be written here", "storage.probe")
            self.files.delete(probe)

    def take_over(self, lease_s: float = 30.0) -> Ownership:
        """Become the run of this job; see `sage.kernel.checkpoint.ownership.take`."""
        self.prepare()
        folders = checkpoint_folders(self.files, self.path)
        return take(
            self.files,
            self.path,
            self._job,
            lease_s=lease_s,
            highest_epoch=max((folder.epoch for folder in folders), default=0),
            highest_begun=max((folder.checkpoint for folder in folders), default=0),
        )

    def begin(self, checkpoint: int, epoch: int) -> str:
        """Make the folder of a new checkpoint and return its URL, which tasks write to.

        Together with the name of a task's file it is all that a task has to know, in whatever
        process: ``files, folder = filesystem_of(url)``, then `write_state_file`.

        Raises:
            CheckpointError: if it cannot be made.
        """
        path = f"{self.path}/{folder_name(checkpoint, epoch)}"
        with explained("begin a checkpoint in", path):
            self.files.make_folder(path)
        return self.files.url(path)

    def complete(self, manifest: Manifest, check: Callable[[], None] = lambda: None) -> None:
        """Write the manifest; from then on the checkpoint counts.

        Args:
            manifest: What it consists of; all its files have been written.
            check: Raises if another run has taken over; see `Ownership.check`.

        Raises:
            CheckpointError: if it cannot be written; the checkpoints before it stand.
            FencedError: if another run has taken over.
        """
        path = f"{self.path}/{manifest.folder}"
        check()
        try:
            with explained("write the manifest in", path):
                self.files.publish(f"{path}/{MANIFEST}", manifest.to_bytes(), "storage.manifest")
        finally:  # whoever has taken over meanwhile goes on from an older one: nothing may follow
            check()
        self._known[manifest.folder] = manifest

    def newest_valid(self, lineage: Lineage | None = None) -> Found:
        """Find the checkpoint to go on from; every byte that it needs is verified.

        Args:
            lineage: Which ones count; None for all.

        Raises:
            NewerFormatError: if the newest was written by a newer release: going on from an older
                one would silently lose what that release has done since.
            CheckpointError: if one cannot be read, which says nothing about its content.
        """
        passed_over = []
        for folder in reversed(checkpoint_folders(self.files, self.path)):
            path = f"{self.path}/{folder.name}"
            if not _includes(lineage, folder):
                passed_over.append(PassedOver(path, "its run had been taken over by another one"))
                continue
            if not has_manifest(self.files, path):
                passed_over.append(PassedOver(path, "it has no manifest, so it was not finished"))
                continue
            try:
                stored = StoredCheckpoint(path, read_manifest(self.files, path))
                stored.verify(self.files)
            except DamagedCheckpointError as error:
                self._damaged.add(folder.name)
                passed_over.append(PassedOver(path, error.message, is_damaged=True))
            else:
                return Found(stored, tuple(passed_over))
        return Found(None, tuple(passed_over))

    def retire(self, lineage: Lineage | None = None) -> int:
        """Delete what is older than the newest complete checkpoint, but for what is kept.

        Kept are the newest complete ones and the files that they refer to. A checkpoint that was
        given up goes when a later one is complete: whatever a task builds on is known by then. To
        be called when a checkpoint is complete and its sinks have committed.

        Args:
            lineage: Which ones count; None for all.

        Returns:
            The number of the oldest one that is kept, 0 if there is none: nothing that belongs to
            earlier ones is needed any more.
        """
        with explained("delete old checkpoints in", self.path):
            folders = checkpoint_folders(self.files, self.path)
            whole = [f for f in folders if f.name not in self._damaged and _includes(lineage, f)]
            kept = [f for f in whole if self._is_complete(f.name)][-self._retain :]
            if not kept:
                return 0
            self._delete(
                (f for f in folders if f.checkpoint < kept[-1].checkpoint and f not in kept),
                {path for f in kept for path in self._manifest(f.name).files()},
            )
            return kept[0].checkpoint

    def remove_leftovers(self, epoch: int) -> None:
        """Delete what earlier runs began and did not complete, but for what is still needed.

        To be called at the start of a run.

        Args:
            epoch: The epoch of this run.
        """
        with explained("delete unfinished checkpoints in", self.path):
            for name in self.files.names(self.path):
                if name.lstrip(".").startswith(_PROBE):
                    self.files.delete(f"{self.path}/{name}")
            folders = checkpoint_folders(self.files, self.path)
            try:
                complete = {f.name for f in folders if self._is_complete(f.name)}
            except NewerFormatError:
                return  # nobody here can tell what that one needs
            self._delete(
                (f for f in folders if f.epoch < epoch and f.name not in complete),
                {path for name in complete for path in self._manifest(name).files()},
            )

    def _delete(self, folders: Iterable[CheckpointFolder], needed: set[str]) -> None:
        """Delete folders but for the files that are needed; one that resists is tried again."""
        for folder in folders:
            try:
                reached("storage.retire.before")
                self._delete_folder(folder.name, needed)
            except OSError as error:
                path = f"{self.path}/{folder.name}"
                _logger.warning("cannot delete the old checkpoint %r yet: %s", path, error)

    def _delete_folder(self, folder: str, needed: set[str]) -> None:
        path = f"{self.path}/{folder}"
        self.files.delete(f"{path}/{MANIFEST}")  # first: what is not whole must not look so
        self._known.pop(folder, None)
        names = self.files.names(path)
        kept = [name for name in names if f"{folder}/{name}" in needed]
        if not kept:
            self.files.delete_folder(path)
            return
        for name in names:
            if name not in kept:
                self.files.delete(f"{path}/{name}")

    def _is_complete(self, folder: str) -> bool:
        try:
            self._manifest(folder)
        except DamagedCheckpointError:
            return False
        return True

    def _manifest(self, folder: str) -> Manifest:
        if folder not in self._known:
            self._known[folder] = read_manifest(self.files, f"{self.path}/{folder}")
        return self._known[folder]


def checkpoint_folders(files: Filesystem, path: str) -> list[CheckpointFolder]:
    """Return the folders of checkpoints in that of a job, oldest first."""
    with explained("list the checkpoints in", path):
        matches = map(_FOLDER.fullmatch, files.names(path))
    return sorted(CheckpointFolder(int(m[1]), int(m[2]), m[0]) for m in matches if m)


def folder_name(checkpoint: int, epoch: int) -> str:
    """Return the name of a checkpoint's folder; no two runs ever write to the same one."""
    return f"chk-{checkpoint:08d}-e{epoch:04d}"


def state_file_name(head: str, subtask: int) -> str:
    """Return the name of a task's file in the folder of a checkpoint.

    Args:
        head: The uid of the task's first operator.
        subtask: Which subtask.

    Example:
        >>> state_file_name("count", 0)
        'count-0.state'
    """
    return f"{safe_name(head)}-{subtask}.state"


def safe_name(name: str) -> str:
    """Return a name that every filesystem takes; different for different names."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:80]
    if safe and safe == name:
        return safe
    return f"{safe}.{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


def _includes(lineage: Lineage | None, folder: CheckpointFolder) -> bool:
    return lineage is None or lineage.includes(epoch=folder.epoch, checkpoint=folder.checkpoint)
