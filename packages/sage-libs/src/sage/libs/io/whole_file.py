"""A file that is whole or not there, for jobs without checkpoints.

Records go to a hidden file beside the target, which takes the target's place by one rename when
the input has ended. A reader never sees half of a file, and a failed run leaves the old one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from pathlib import Path
from typing import Any, BinaryIO

from sage.common.errors import DataError, StorageError
from sage.libs.io.record_writer import StartWriter

__all__ = ["BUFFER_BYTES", "WholeFile", "write_problem"]

BUFFER_BYTES = 1 << 20


class WholeFile:
    """Collects records in a hidden file, until it is published or kept as incomplete.

    Args:
        path: The target; missing directories are made, an older file is replaced.
        start_writer: Makes what writes records into the file.

    Raises:
        StorageError: if the hidden file cannot be made.
    """

    def __init__(self, path: str, start_writer: StartWriter) -> None:
        self._path = path
        # Renaming onto a symbolic link would replace the link, not the file it points to.
        self._target = Path(os.path.realpath(os.path.expanduser(path)))
        hidden = f".{self._target.name}.{secrets.token_hex(4)}.part"
        self._hidden = self._target.with_name(hidden)
        if self._target.is_dir():
            raise StorageError(
                f"cannot write {path!r}: it is a directory",
                hint="a job with checkpoints writes a directory of parts; one without, a file",
                path=path,
            )
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = open(self._hidden, "xb", buffering=BUFFER_BYTES)  # noqa: SIM115
            self._writer = start_writer(self._file)
        except OSError as error:
            raise write_problem(path, error) from error

    def write(self, record: Any) -> None:
        """Write one record.

        Raises:
            StorageError: if the disk does not take it.
            DataError: if it cannot be written in this kind of file.
        """
        try:
            self._writer.write(record)
        except OSError as error:
            raise write_problem(self._path, error) from error

    def publish(self) -> None:
        """Put the file in its place.

        Raises:
            StorageError: if the disk does not take the rest; the old file stays.
        """
        try:
            self._writer.end()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._hidden, self._target)
        except OSError as error:
            raise write_problem(self._path, error) from error
        finally:
            self._discard()

    def keep_incomplete(self, logger: logging.Logger) -> None:
        """Keep what was written as ``NAME.incomplete``; the old file stays."""
        kept = self._target.with_name(self._target.name + ".incomplete")
        # The job has failed already: a second error here would hide the first.
        with contextlib.suppress(OSError, DataError):
            self._writer.end()
            self._file.close()
            if self._hidden.stat().st_size:
                os.replace(self._hidden, kept)
                logger.warning("the job did not end; what it wrote is in %s", kept)
        self._discard()

    def _discard(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self._hidden.unlink(missing_ok=True)


def write_problem(path: str, error: OSError) -> StorageError:
    """Return the error that tells a user why ``path`` could not be written."""
    return StorageError(
        f"cannot write {path!r}: {error.strerror or error}",
        hint="nothing was changed there",
        path=path,
    )
