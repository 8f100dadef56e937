"""Opens a file below a directory, and none elsewhere, however its path is spelled or linked.

Links are followed once, by name; what they lead to is checked to stand below the root, and is then
opened from the root down, directory by directory, with links refused. A link that is put into the
path between the check and the opening is met there (Mazieres and Kaashoek's "time of check to time
of use"; ``openat2`` with ``RESOLVE_BENEATH`` where Python had it).
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from sage.common.errors import AccessRefusedError, DataError
from sage.libs.files import read_problem

__all__ = ["open_below", "open_resolved", "resolve_below"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe that nobody writes to would block the opening of it for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def open_below(root: str | os.PathLike[str], path: str | os.PathLike[str]) -> tuple[str, BinaryIO]:
    """Open a regular file below a directory for reading bytes, unbuffered.

    Args:
        root: The directory; it may be reached by links itself.
        path: The file, from the current directory.

    Returns:
        Its path from the root, with slashes, and the file.

    Raises:
        AccessRefusedError: if it does not stand below the root, or became a link meanwhile.
        DataError: if it is missing, not a regular file, or may not be read.

    Example:
        >>> import tempfile
        >>> top = Path(tempfile.mkdtemp())
        >>> _ = (top / "a.txt").write_text("x")
        >>> source, file = open_below(top, top / "sub" / ".." / "a.txt")
        >>> with file:
        ...     source, file.read()
        ('a.txt', b'x')
        >>> open_below(top, "/etc/passwd")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        sage.common.errors.AccessRefusedError: '/etc/passwd' does not stand below '...'
    """
    top, relative = resolve_below(root, path)
    return relative.as_posix(), open_resolved(top, relative, shown=os.fspath(path))


def resolve_below(root: str | os.PathLike[str], path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Follow links and dots, and return the root and the path from there, with neither in them.

    Raises:
        AccessRefusedError: if what the path leads to does not stand below the root.
    """
    shown = os.fspath(path)
    try:
        top = Path(os.path.realpath(Path(root).expanduser()))
        real = Path(os.path.realpath(Path(path).expanduser()))
    except (OSError, ValueError) as error:
        raise read_problem(path, error) from error
    if real == top:  # a root may be a single file
        top = top.parent
    if real.is_relative_to(top):
        return top, real.relative_to(top)
    raise AccessRefusedError(
        f"{shown!r} does not stand below {os.fspath(root)!r}",
        hint=None if str(real) == os.path.abspath(shown) else f"it leads to {str(real)!r}",
        path=shown,
        root=os.fspath(root),
    )


def open_resolved(top: Path, relative: Path, *, shown: str) -> BinaryIO:
    """Open a regular file from the root down, refusing any link on the way.

    Args:
        top: The root.
        relative: The path from there, resolved.
        shown: How errors name the file.

    Raises:
        AccessRefusedError: if there is a link, or anything else that is no directory, on the way.
        DataError: if it is missing, not a regular file, or may not be read.
    """
    try:
        return _opened(top, relative.parts, shown)
    except OSError as error:
        # A link where a directory was: the system says one or the other.
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise AccessRefusedError(
                f"{shown!r} does not lead through directories to a file, or not any more",
                path=shown,
            ) from error
        raise read_problem(shown, error) from error


def _opened(top: Path, parts: tuple[str, ...], shown: str) -> BinaryIO:
    directory = os.open(top, _DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
        descriptor = os.open(parts[-1], _FILE, dir_fd=directory)
    finally:
        os.close(directory)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb", buffering=0)
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise DataError(
            f"{shown!r} is a directory, expected a file",
            hint="name a file in it, or use a source that walks directories",
            path=shown,
        )
    raise DataError(f"{shown!r} is not a regular file", path=shown)
