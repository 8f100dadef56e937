"""Checkpoints in an object store, or wherever else fsspec reaches.

There is no sync and no rename: an object is there as a whole when it has been put. Where a
filesystem of fsspec promises less, a manifest that is there in part is told by its checksum.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from sage.kernel.checkpoint.steps import reached

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["RemoteFilesystem"]


class RemoteFilesystem:
    """What fsspec reaches; made for object stores, where a whole object is put at once.

    Args:
        fs: The filesystem.
    """

    is_local = False

    def __init__(self, fs: AbstractFileSystem) -> None:
        self._fs = fs

    def url(self, path: str) -> str:
        """Return what `filesystem_of` takes, on any machine, for a path."""
        return str(self._fs.unstrip_protocol(path))

    def make_folder(self, path: str) -> None:
        """Make a folder where the store has such."""
        self._fs.makedirs(path, exist_ok=True)

    @contextlib.contextmanager
    def writing(self, path: str, step: str) -> Iterator[IO[bytes]]:
        """Open a new file that is durable when the block has ended, and gone if it raised."""
        try:
            with self._fs.open(path, "wb") as file:
                yield file
                reached(f"{step}.fsync.before")
        except BaseException:
            with contextlib.suppress(Exception):
                self._fs.rm_file(path)
            raise

    def publish(self, path: str, content: bytes, step: str) -> None:
        """Put one object."""
        reached(f"{step}.rename.before")
        self._fs.pipe_file(path, content)
        reached(f"{step}.rename.after")

    def create(self, path: str, content: bytes, step: str) -> bool:
        """Put one object unless it is there; stores that cannot tell at once are asked before."""
        reached(f"{step}.rename.before")
        try:
            self._fs.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
        reached(f"{step}.rename.after")
        return True

    def reading(self, path: str) -> IO[bytes]:
        """Open a file that is there; it can seek."""
        file: IO[bytes] = self._fs.open(path, "rb")
        return file

    def size(self, path: str) -> int | None:
        """Return how many bytes a file has; None if there is none."""
        try:
            found: Any = self._fs.info(path)
        except FileNotFoundError:
            return None
        return int(found["size"])

    def names(self, path: str) -> list[str]:
        """Return the names in a folder, sorted; none if there is no folder."""
        self._fs.invalidate_cache()
        try:
            paths: list[str] = self._fs.ls(path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found.rstrip("/").rpartition("/")[2] for found in paths)

    def delete(self, path: str) -> None:
        """Delete a file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(path)

    def delete_folder(self, path: str) -> None:
        """Delete a folder and what is in it if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(path, recursive=True)
