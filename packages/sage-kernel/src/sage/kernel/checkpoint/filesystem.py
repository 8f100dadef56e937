"""The few things that checkpoints ask of a filesystem, with the durability that they need.

On this machine's disks they are plain system calls: a file counts when it and its folder have been
synced, and replaces another by a rename. Everything else is fsspec's (``remote_filesystem``), where
one put of one object takes the place of sync and rename. Invariant: when `publish` or
the block of `writing` has ended well, the whole content is there and survives the machine; when
`publish` has not, the old content stands.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import IO, Protocol

from sage.kernel.checkpoint.steps import reached
from sage.kernel.errors import CheckpointError

__all__ = ["Filesystem", "LocalFilesystem", "explained", "filesystem_of"]

_BUFFER = 1 << 18

_HINTS = {
    errno.ENOSPC: "free some space, or choose another checkpoint_dir",
    errno.EDQUOT: "raise the quota, or choose another checkpoint_dir",
    errno.EACCES: "give this user the right to write there, or choose another checkpoint_dir",
    errno.EPERM: "give this user the right to write there, or choose another checkpoint_dir",
    errno.EROFS: "it is mounted read-only: choose another checkpoint_dir",
    errno.ENOTDIR: "a part of the path is a file: choose another checkpoint_dir",
    errno.EEXIST: "a file is in the way: choose another checkpoint_dir",
    errno.ENOENT: "a folder of this path is gone: was it removed while the job ran?",
}


class Filesystem(Protocol):
    """What checkpoints ask of a filesystem; paths are absolute and belong to it.

    ``step`` is the prefix of the steps that are named to `sage.kernel.checkpoint.steps`.
    """

    is_local: bool

    def url(self, path: str) -> str:
        """Return what `filesystem_of` takes, on any machine, for a path."""

    def make_folder(self, path: str) -> None:
        """Make a folder, and those above it, durably; one that is there is left alone."""

    def writing(self, path: str, step: str) -> AbstractContextManager[IO[bytes]]:
        """Open a new file that is durable when the block has ended, and gone if it raised."""

    def publish(self, path: str, content: bytes, step: str) -> None:
        """Write a file as a whole or not at all, in place of one that is there."""

    def create(self, path: str, content: bytes, step: str) -> bool:
        """Like `publish`, but return False and change nothing where the file is there."""

    def reading(self, path: str) -> IO[bytes]:
        """Open a file that is there; it can seek."""

    def size(self, path: str) -> int | None:
        """Return how many bytes a file has; None if there is none."""

    def names(self, path: str) -> list[str]:
        """Return the names in a folder, sorted; none if there is no folder."""

    def delete(self, path: str) -> None:
        """Delete a file if it is there."""

    def delete_folder(self, path: str) -> None:
        """Delete a folder and what is in it if it is there."""


class LocalFilesystem:
    """A disk of this machine, or one that is mounted like one."""

    is_local = True

    def url(self, path: str) -> str:
        """Return what `filesystem_of` takes, on any machine, for a path."""
        return path

    def make_folder(self, path: str) -> None:
        """Make a folder, and those above it, durably; one that is there is left alone."""
        made = []
        while not os.path.isdir(path):
            made.append(path)
            path = os.path.dirname(path)
        for folder in reversed(made):
            with contextlib.suppress(FileExistsError):  # another process made it just now
                os.mkdir(folder)
            self._sync_folder(os.path.dirname(folder))

    @contextlib.contextmanager
    def writing(self, path: str, step: str) -> Iterator[IO[bytes]]:
        """Open a new file that is durable when the block has ended, and gone if it raised."""
        try:
            with open(path, "wb", buffering=_BUFFER) as file:
                yield file
                file.flush()
                reached(f"{step}.fsync.before")
                os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        self._sync_folder(os.path.dirname(path))

    def publish(self, path: str, content: bytes, step: str) -> None:
        """Write a file as a whole or not at all, in place of one that is there."""
        with self._written_beside(path, content, step) as beside:
            reached(f"{step}.rename.before")
            os.replace(beside, path)
            reached(f"{step}.rename.after")
        self._sync_folder(os.path.dirname(path))

    def create(self, path: str, content: bytes, step: str) -> bool:
        """Like `publish`, but return False and change nothing where the file is there."""
        with self._written_beside(path, content, step) as beside:
            reached(f"{step}.rename.before")
            try:
                os.link(beside, path)  # unlike a rename, it fails where there is one
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                if os.path.exists(path):  # no hard links there; callers hold a lock
                    return False
                os.replace(beside, path)
            reached(f"{step}.rename.after")
        self._sync_folder(os.path.dirname(path))
        return True

    def reading(self, path: str) -> IO[bytes]:
        """Open a file that is there; it can seek."""
        return open(path, "rb", buffering=_BUFFER)

    def size(self, path: str) -> int | None:
        """Return how many bytes a file has; None if there is none."""
        try:
            return os.stat(path).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, path: str) -> list[str]:
        """Return the names in a folder, sorted; none if there is no folder."""
        try:
            return sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def delete(self, path: str) -> None:
        """Delete a file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def delete_folder(self, path: str) -> None:
        """Delete a folder and what is in it if it is there."""
        import shutil

        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)

    @contextlib.contextmanager
    def _written_beside(self, path: str, content: bytes, step: str) -> Iterator[str]:
        """Write to a hidden name beside it, which is gone in the end whatever happens."""
        folder, name = os.path.split(path)
        beside = os.path.join(folder, f".{name}.{secrets.token_hex(4)}")
        try:
            reached(f"{step}.write.before")
            with self.writing(beside, step) as file:
                file.write(content)
            yield beside
        finally:
            with contextlib.suppress(OSError):
                os.unlink(beside)

    def _sync_folder(self, path: str) -> None:
        descriptor = os.open(path or ".", os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EBADF):  # what has no folders to sync
                raise
        finally:
            os.close(descriptor)


def filesystem_of(url: str) -> tuple[Filesystem, str]:
    """Return the filesystem of a path or URL, and the path in it.

    Args:
        url: A local path, ``file://...``, or any URL that fsspec knows.

    Raises:
        CheckpointError: if nothing that is installed understands it.

    Example:
        >>> files, path = filesystem_of("file:///tmp/checkpoints/")
        >>> files.is_local, path
        (True, '/tmp/checkpoints')
    """
    scheme, separator, rest = url.partition("://")
    if not separator or (scheme in ("file", "local") and "::" not in url):
        return LocalFilesystem(), os.path.abspath(os.path.expanduser(rest if separator else url))
    import fsspec.core

    from sage.kernel.checkpoint.remote_filesystem import RemoteFilesystem

    try:
        fs, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise CheckpointError(
            f"nothing here can open {url!r}: {error}",
            hint=f"install the fsspec package for {scheme}:// or give a local folder",
            url=url,
        ) from error
    return RemoteFilesystem(fs), path.rstrip("/")


@contextlib.contextmanager
def explained(doing: str, path: str) -> Iterator[None]:
    """Turn what a filesystem says into an error that names the path and what to do.

    Raises:
        CheckpointError: for every OSError in the block.
    """
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"cannot {doing} {path!r}: {error.strerror or error}",
            hint=_HINTS.get(error.errno or 0),
            path=path,
        ) from error
