"""Opens a file that a user named, or says in one line why it cannot be read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from sage.common.errors import DataError

__all__ = ["open_for_reading", "read_problem"]


def open_for_reading(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading bytes, unbuffered.

    Args:
        path: The file; ``~`` is the home directory.

    Raises:
        DataError: if it is missing, a directory, not a regular file (a pipe would block for
            ever), or may not be read.

    Example:
        >>> open_for_reading("no-such-file.txt")
        Traceback (most recent call last):
        sage.common.errors.DataError: no such file: 'no-such-file.txt'
          hint: check the path; it is looked up from the current directory
    """
    file = Path(path).expanduser()
    try:
        mode = file.stat().st_mode
        if stat.S_ISDIR(mode):
            raise DataError(
                f"{str(path)!r} is a directory, expected a file",
                hint="name a file in it, or use a source that walks directories",
                path=str(path),
            )
        if not stat.S_ISREG(mode):
            raise DataError(f"{str(path)!r} is not a regular file", path=str(path))
        return file.open("rb", buffering=0)
    except (OSError, ValueError) as error:
        raise read_problem(path, error) from error


def read_problem(path: str | os.PathLike[str], error: OSError | ValueError) -> DataError:
    """Return the error that tells a user why the system would not read ``path``."""
    shown = os.fspath(path)
    if isinstance(error, FileNotFoundError):
        if os.path.islink(path):
            target = os.readlink(path)
            return DataError(
                f"no such file: {shown!r} is a link to {target!r}, which is not there",
                hint="mend the link or delete it",
                path=shown,
            )
        where = "" if os.path.isabs(shown) else "; it is looked up from the current directory"
        return DataError(f"no such file: {shown!r}", hint=f"check the path{where}", path=shown)
    if isinstance(error, PermissionError):
        return DataError(
            f"no permission to read {shown!r}", hint="check its owner and mode", path=shown
        )
    reason = getattr(error, "strerror", None) or str(error)
    return DataError(f"cannot read {shown!r}: {reason}", path=shown)
