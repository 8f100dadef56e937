"""`FileSink`: one record a line, in a file that is whole or not there.

Records go to a hidden file beside the target, which takes the target's place by one rename when
the input has ended. A reader never sees half of a file, and a failed run leaves the old one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from sage.common.config import configurable
from sage.common.core.functions import SinkFunction
from sage.common.errors import ConfigError, DataError, Problem, StorageError
from sage.common.records import Record

__all__ = ["FileSink"]

_BUFFER_BYTES = 1 << 20


@configurable
class FileSink(SinkFunction[Any]):
    """Writes one record a line: text as it is, anything else as JSON.

    Text that holds line breaks is written as a JSON string, so that one record stays one line.
    The file appears, complete, when the sink is closed after the end of the input. If the job
    failed, the old file stays and what was written is kept beside it as ``NAME.incomplete``.

    Args:
        file_path: The file; missing directories are made, an older file is replaced.

    Raises:
        StorageError: if it cannot be written, such as on a full disk; it names the path.
        ConfigError: from ``open`` if several parallel subtasks would write the one file.
        DataError: if a record cannot be written as JSON.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "out", "records.jsonl")
        >>> sink = FileSink(path)
        >>> sink.write("a line"), sink.write({"id": 1}), path.exists()
        (None, None, False)
        >>> sink.close()
        >>> print(path.read_text(), end="")
        a line
        {"id":1}
    """

    def __init__(self, file_path: str | os.PathLike[str]) -> None:
        self.file_path = os.fspath(file_path)
        self._file: BinaryIO | None = None
        self._target = self._hidden = Path()
        self._ended = False
        self._closed = False

    def open(self, context: Any) -> None:
        """Make the hidden file.

        Raises:
            StorageError: if it cannot be made.
            ConfigError: at a parallelism above 1.
        """
        parallelism = getattr(context, "parallelism", 1)
        if parallelism > 1:
            problem = Problem(
                "$.parallelism", f"one file cannot be written by {parallelism} subtasks"
            )
            raise ConfigError("FileSink", [problem], hint="give the sink parallelism=1")
        self._opened()

    def write(self, record: Any) -> None:
        """Write one record on one line.

        Raises:
            StorageError: if the disk does not take it.
            DataError: if it cannot be written as JSON.
        """
        line = _line(record)
        try:
            self._opened().write(line)
        except OSError as error:
            raise self._problem(error) from error

    def flush(self) -> None:
        """Take note that the input has ended: what was written is all there is."""
        self._ended = True
        if self._file is not None:
            self._to_disk(self._file)

    def close(self) -> None:
        """Put the file in its place if the input ended; else keep it as ``NAME.incomplete``.

        Outside a job nobody says that the input has ended: there, closing says so.

        Raises:
            StorageError: if the disk does not take the rest; the old file stays.
        """
        if self._closed:
            return
        complete = self._ended or self.context is None
        if self._file is None and not complete:
            return
        file = self._opened()
        self._closed = True
        try:
            if complete:
                self._publish(file)
            else:
                self._keep_incomplete(file)
        finally:
            with contextlib.suppress(OSError):
                file.close()
            self._hidden.unlink(missing_ok=True)

    def _publish(self, file: BinaryIO) -> None:
        self._to_disk(file)
        try:
            file.close()
            os.replace(self._hidden, self._target)
        except OSError as error:
            raise self._problem(error) from error

    def _keep_incomplete(self, file: BinaryIO) -> None:
        kept = self._target.with_name(self._target.name + ".incomplete")
        # The job has failed already: a second error here would hide the first.
        with contextlib.suppress(OSError):
            file.close()
            if self._hidden.stat().st_size:
                os.replace(self._hidden, kept)
                self.logger.warning("the job did not end; what it wrote is in %s", kept)

    def _to_disk(self, file: BinaryIO) -> None:
        try:
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise self._problem(error) from error

    def _opened(self) -> BinaryIO:
        if self._closed:
            raise StorageError(f"{self.file_path!r} is closed already", path=self.file_path)
        if self._file is None:
            # Renaming onto a symbolic link would replace the link, not the file it points to.
            self._target = Path(os.path.realpath(os.path.expanduser(self.file_path)))
            hidden = f".{self._target.name}.{secrets.token_hex(4)}.part"
            self._hidden = self._target.with_name(hidden)
            try:
                if self._target.is_dir():
                    raise IsADirectoryError("it is a directory")
                self._target.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self._hidden, "xb", buffering=_BUFFER_BYTES)  # noqa: SIM115
            except OSError as error:
                raise self._problem(error) from error
        return self._file

    def _problem(self, error: OSError) -> StorageError:
        return StorageError(
            f"cannot write {self.file_path!r}: {error.strerror or error}",
            hint="nothing was changed there",
            path=self.file_path,
        )


def _line(record: Any) -> bytes:
    if isinstance(record, str) and "\n" not in record and "\r" not in record:
        return record.encode("utf-8", "replace") + b"\n"
    plain = record.to_dict() if isinstance(record, Record) else record
    try:
        return msgspec.json.encode(plain, enc_hook=_plain) + b"\n"
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise DataError(
            f"cannot write a {type(record).__name__} as JSON: {error}: {record!r:.100}",
            hint="map it to text or a dict before the sink",
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # arrays and their scalars
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
