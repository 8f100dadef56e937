"""Sinks that write files: lines, JSON lines, CSV.

Without checkpoints they write one file that is whole or not there (`whole_file`), with checkpoints
a directory of parts that appear with the checkpoint that covers them (`file_parts`). The sinks
differ only in how a record becomes bytes (`record_writer`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any, BinaryIO

from sage.common.config import Meta, configurable
from sage.common.errors import ConfigError, Problem, StorageError
from sage.libs.io.file_parts import FileParts
from sage.libs.io.record_writer import CsvWriter, JsonWriter, LineWriter, RecordWriter
from sage.libs.io.staged_sink import Share, StagedSink
from sage.libs.io.whole_file import WholeFile

__all__ = ["CsvSink", "FileSink", "JsonlSink"]


@configurable
class FileSink(StagedSink):
    """Writes one record a line: text as it is, anything else as JSON.

    Text that holds line breaks is written as a JSON string, so that one record stays one line.

    Without checkpoints ``file_path`` is one file. It appears, complete, when the sink is closed
    after the end of the input. If the job failed, the old file stays and what was written is kept
    beside it as ``NAME.incomplete``.

    With checkpoints ``file_path`` is a directory of files ``part-<subtask>-<epoch>`` with its
    extension, which appear when the checkpoint that covers them is complete: each record is in
    them exactly once, whatever happens. Several subtasks may write then. A finished job that is
    run again adds nothing; ``fresh=True`` in the job's fault tolerance removes the parts and starts
    over.

    Args:
        file_path: The file or directory; missing directories above it are made.

    Raises:
        StorageError: if it cannot be written, such as on a full disk; it names the path. From
            ``open``, with checkpoints, if it is a file or a directory of something else.
        ConfigError: from ``open``, without checkpoints, if several subtasks would write the file.
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
        self._whole: WholeFile | None = None
        self._parts: FileParts | None = None
        self._ended = False
        self._closed = False

    def record_writer(self, file: BinaryIO) -> RecordWriter:
        """Return what writes records into a file: here, lines."""
        return LineWriter(file)

    def open(self, context: Any) -> None:
        """Make the hidden file, or the directory if the job has checkpoints.

        Raises:
            StorageError: if it cannot be made.
            ConfigError: at a parallelism above 1 without checkpoints.
        """
        share = Share.of(context, self.logger)
        if share is not None:
            self._stage = self._parts = FileParts(self.file_path, self.record_writer, share)
            return
        parallelism = getattr(context, "parallelism", 1)
        if parallelism > 1:
            problem = Problem(
                "$.parallelism",
                f"one file cannot be written by {parallelism} subtasks without checkpoints",
            )
            raise ConfigError(type(self).__name__, [problem], hint="give the sink parallelism=1")
        self._file()

    def write(self, record: Any) -> None:
        """Write one record.

        Raises:
            StorageError: if the disk does not take it.
            DataError: if it cannot be written in this kind of file.
        """
        (self._parts or self._whole or self._file()).write(record)

    def flush(self) -> None:
        """Take note that the input has ended: what was written is all there is."""
        self._ended = True

    def close(self) -> None:
        """Put the file in its place if the input ended; else keep it as ``NAME.incomplete``.

        Outside a job nobody says that the input has ended: there, closing says so.

        Raises:
            StorageError: if the disk does not take the rest; the old file stays.
        """
        if self._closed:
            return
        if self._parts is not None:
            self._closed = True
            self._parts.close()
            return
        is_complete = self._ended or self.context is None
        if self._whole is None and not is_complete:
            return
        file = self._file()
        self._closed = True
        if is_complete:
            file.publish()
        else:
            file.keep_incomplete(self.logger)

    def _file(self) -> WholeFile:
        if self._closed:
            raise StorageError(f"{self.file_path!r} is closed already", path=self.file_path)
        if self._whole is None:
            self._whole = WholeFile(self.file_path, self.record_writer)
        return self._whole

    def _target(self) -> str:
        return repr(self.file_path)


@configurable
class JsonlSink(FileSink):
    """Writes one record a line, each as JSON; text too, so that `JsonlSource` reads it back.

    It is written as `FileSink` writes: one file, or with checkpoints a directory of parts.

    Args:
        file_path: The file or directory.

    Raises:
        StorageError: if it cannot be written.
        DataError: if a record cannot be written as JSON.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "records.jsonl")
        >>> sink = JsonlSink(path)
        >>> sink.write("text"), sink.write({"id": 1}), sink.close()
        (None, None, None)
        >>> print(path.read_text(), end="")
        "text"
        {"id":1}
    """

    def __init__(self, file_path: str | os.PathLike[str]) -> None:
        super().__init__(file_path)

    def record_writer(self, file: BinaryIO) -> RecordWriter:
        """Return what writes JSON lines."""
        return JsonWriter(file)


@configurable
class CsvSink(FileSink):
    """Writes one mapping a row, below a row with the names of the columns.

    It is written as `FileSink` writes: one file, or with checkpoints a directory of parts, each of
    which has the names of the columns.

    Args:
        file_path: The file or directory.
        columns: Names of the columns; by default the keys of the first record.
        delimiter: The character between two fields.

    Raises:
        StorageError: if it cannot be written.
        DataError: if a record is no mapping or has other fields than the columns.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "people.csv")
        >>> sink = CsvSink(path)
        >>> sink.write({"name": "Noether, Emmy", "born": 1882}), sink.close()
        (None, None)
        >>> print(path.read_text(), end="")
        name,born
        "Noether, Emmy",1882
    """

    def __init__(
        self,
        file_path: str | os.PathLike[str],
        *,
        columns: Sequence[str] | None = None,
        delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ",",
    ) -> None:
        super().__init__(file_path)
        self.columns = tuple(columns) if columns is not None else None
        self.delimiter = delimiter

    def record_writer(self, file: BinaryIO) -> RecordWriter:
        """Return what writes rows of CSV."""
        return CsvWriter(file, self.columns, self.delimiter)
