"""A complete checkpoint in its folder: finding its files, verifying them, copying them out.

A savepoint is nothing but a checkpoint that was copied to a folder of its user's, with all files
that it refers to. So it can be moved and kept; the job's own history does not know of it, and what
its sinks have committed is always covered by a checkpoint that retention keeps.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from sage.kernel.checkpoint.filesystem import Filesystem, explained, filesystem_of
from sage.kernel.checkpoint.manifest import Manifest
from sage.kernel.checkpoint.state_file import WrittenFile, verify_state_file
from sage.kernel.errors import CheckpointError, DamagedCheckpointError

__all__ = ["MANIFEST", "StoredCheckpoint", "has_manifest", "load", "read_manifest"]

MANIFEST = "MANIFEST.json"

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A complete checkpoint and where it is.

    Attributes:
        path: Its folder.
        manifest: What it consists of.
    """

    path: str
    manifest: Manifest

    def locate(self, file: WrittenFile) -> str:
        """Return the path of one of its files: in its folder, or in one beside it."""
        folder, _, name = file.path.rpartition("/")
        if folder == self.manifest.folder:  # whatever the folder is called now
            return f"{self.path}/{name}"
        return f"{self.path.rpartition('/')[0]}/{file.path}"

    def verify(self, files: Filesystem) -> None:
        """Compare every file with what the manifest says of it.

        Raises:
            DamagedCheckpointError: if one is gone or is not what was written.
            NewerFormatError: if a newer release wrote one.
            CheckpointError: if one cannot be read.
        """
        for file in self.manifest.files().values():
            verify_state_file(files, self.locate(file), file)

    def copy_to(self, files: Filesystem, url: str) -> StoredCheckpoint:
        """Copy it, with every file that it refers to, to a folder that stands alone.

        Args:
            files: Where it is.
            url: An empty folder, or one that is not there yet.

        Raises:
            CheckpointError: if something is there already, or it cannot be written.
            DamagedCheckpointError: if one of its files is not what was written.
        """
        there, path = filesystem_of(url)
        with explained("write the savepoint", path):
            if there.names(path):
                raise CheckpointError(
                    f"the folder of the savepoint is not empty: {path!r}",
                    hint="give each savepoint a folder of its own",
                    path=path,
                )
            there.make_folder(path)
            copied = self._copied(path.rpartition("/")[2])
            for written in self.manifest.files().values():
                target = f"{path}/{_name_in_copy(self.manifest.folder, written)}"
                _copy(files, self.locate(written), there, target)
            stored = StoredCheckpoint(path, copied)
            stored.verify(there)
            there.publish(f"{path}/{MANIFEST}", copied.to_bytes(), "storage.manifest")
        return stored

    def _copied(self, folder: str) -> Manifest:
        """Return the manifest of a copy: all files are in the one folder."""

        def moved(file: WrittenFile) -> WrittenFile:
            return replace(file, path=f"{folder}/{_name_in_copy(self.manifest.folder, file)}")

        tasks = (
            replace(
                task,
                file=task.file and moved(task.file),
                bases=tuple(
                    replace(base, files=tuple(map(moved, base.files))) for base in task.bases
                ),
            )
            for task in self.manifest.tasks
        )
        return replace(
            self.manifest,
            kind="savepoint",
            folder=folder,
            tasks=tuple(tasks),
            created_at=time.time(),
        )


def load(url: str) -> StoredCheckpoint:
    """Return the checkpoint or savepoint in a folder, verified.

    Args:
        url: The folder that holds its manifest.

    Raises:
        DamagedCheckpointError: if there is none, or one of its files is gone or changed.
        NewerFormatError: if a newer release wrote it.
        CheckpointError: if it cannot be read.
    """
    files, path = filesystem_of(url)
    stored = StoredCheckpoint(path, read_manifest(files, path))
    stored.verify(files)
    return stored


def has_manifest(files: Filesystem, path: str) -> bool:
    """Tell whether the checkpoint in a folder was finished, so far as its manifest is there."""
    with explained("look for the manifest in", path):
        return files.size(f"{path}/{MANIFEST}") is not None


def read_manifest(files: Filesystem, path: str) -> Manifest:
    """Return the manifest in a folder."""
    where = f"{path}/{MANIFEST}"
    with explained("read the manifest", where):
        try:
            with files.reading(where) as file:
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            reason = "it has no manifest: it was not finished, or the file was deleted"
            if not files.names(path):
                reason = "there is no such folder, or nothing is in it"
            raise DamagedCheckpointError(
                f"{path!r} is no complete checkpoint: {reason}",
                hint="a checkpoint is a folder with a MANIFEST.json; sage checkpoint list finds "
                "those below a checkpoint_dir",
                path=path,
                reason=reason,
            ) from None
    return Manifest.from_bytes(content, where)


def _name_in_copy(folder: str, file: WrittenFile) -> str:
    """Return a name that is its own among those of all files of a checkpoint."""
    origin, _, name = file.path.rpartition("/")
    return name if origin == folder else f"{origin}.{name}"


def _copy(files: Filesystem, path: str, there: Filesystem, target: str) -> None:
    with files.reading(path) as source, there.writing(target, "storage.state") as file:
        while piece := source.read(_PIECE):
            file.write(piece)
