"""`FileSource`: the lines of a text file as a stream."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sage.common.config import configurable
from sage.common.core.functions import SourceFunction
from sage.libs.io.lines import LineReader

__all__ = ["FileSource"]


@configurable
class FileSource(SourceFunction[str]):
    """Reads a UTF-8 text file line by line, without the line ends.

    It can be replayed: its position holds the identity of the file (device, inode, size and a hash
    of its beginning), so that a position is never applied to another file.

    Args:
        file_path: The file; ``~`` is the home directory.
        skip_blank: Leave out lines that hold nothing but blanks.

    Raises:
        DataError: from ``open`` if the file cannot be read, from ``read`` if it is not UTF-8, from
            ``seek`` if the file has changed.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "questions.txt")
        >>> _ = path.write_text("What is SAGE?\\n\\nWho wrote it?\\n", encoding="utf-8")
        >>> source = FileSource(path, skip_blank=True)
        >>> source.open(None)
        >>> source.read(10)
        ['What is SAGE?', 'Who wrote it?']
        >>> source.read(10) is None
        True
        >>> source.close()
    """

    def __init__(self, file_path: str | os.PathLike[str], *, skip_blank: bool = False) -> None:
        self.file_path = os.fspath(file_path)
        self.skip_blank = skip_blank
        self._reader: LineReader | None = None

    def open(self, context: Any) -> None:
        """Open the file.

        Raises:
            DataError: if it is missing or cannot be read.
        """
        self._opened()

    def read(self, max_records: int) -> list[str] | None:
        """Return the next lines, at most ``max_records``, or None at the end."""
        reader = self._opened()
        while (lines := reader.read(max_records)) is not None:
            if self.skip_blank:
                lines = [line for line in lines if line.strip()]
            if lines:
                return lines
        return None

    @property
    def line_number(self) -> int:
        """Number of the line of the file that was read last, from 1; 0 before the first."""
        return self._opened().line_number

    def snapshot_position(self) -> dict[str, Any]:
        """Return the position after the last line that ``read`` returned."""
        return self._opened().snapshot()

    def seek(self, position: Mapping[str, Any]) -> None:
        """Go to a position.

        Raises:
            DataError: if the file has changed since.
        """
        self._opened().seek(position)

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _opened(self) -> LineReader:
        if self._reader is None:
            self._reader = LineReader(self.file_path)
        return self._reader
