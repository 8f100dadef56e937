"""Reads the lines of a file in large blocks, knowing at every line where it is.

A position is ``(block start in bytes, lines taken since)``. A block ends with a line, so the pair
names one place in the file however the blocks fall, and no line has to be measured in bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

from sage.common.errors import DataError
from sage.libs.files import open_for_reading, read_problem

__all__ = ["LineReader"]

_BOM = b"\xef\xbb\xbf"
_HEAD_BYTES = 4096


class LineReader:
    """The lines of one UTF-8 file, without their ends (``\\n``, ``\\r\\n`` or ``\\r``).

    Args:
        path: The file.
        block_bytes: How much is read at a time; a line may be longer.

    Raises:
        DataError: if the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, block_bytes: int = 1 << 18) -> None:
        self._path = os.fspath(path)
        self._block_bytes = block_bytes
        self._file: BinaryIO = open_for_reading(path)
        self._identity = self._identify()
        self._rest = b""
        self._start = self._end = 0  # of the current block, in bytes
        self._lines: list[str] = []
        self._taken = 0
        self._numbered = 0  # lines before the current block

    @property
    def line_number(self) -> int:
        """Number of the line that was read last, from 1; 0 before the first."""
        return self._numbered + self._taken

    def read(self, max_lines: int) -> list[str] | None:
        """Return the next lines, at most ``max_lines``, or None at the end of the file.

        Raises:
            DataError: if the file is not UTF-8.
        """
        if self._taken == len(self._lines) and not self._next_block():
            return None
        lines = self._lines[self._taken : self._taken + max_lines]
        self._taken += len(lines)
        return lines

    def snapshot(self) -> dict[str, Any]:
        """Return the position after the last line that was read, with the file's identity."""
        return {
            "path": self._path,
            "identity": self._identity,
            "block": self._start,
            "lines": self._taken,
            "line_number": self.line_number,
        }

    def seek(self, position: Mapping[str, Any]) -> None:
        """Go to a position that `snapshot` returned.

        Raises:
            DataError: if the file is not the one that the position was taken in.
        """
        if tuple(position["identity"]) != self._identity:
            raise DataError(
                f"{self._path!r} has changed since the position was taken in it",
                hint="put the old file back, or start over from the beginning",
                path=self._path,
            )
        self._end = position["block"]
        self._file.seek(self._end)
        self._rest = b""
        self._lines, self._taken = [], 0
        self._numbered = position["line_number"] - position["lines"]
        self._start = self._end
        left = position["lines"]
        while left:
            taken = self.read(left)
            if taken is None:
                raise DataError(f"{self._path!r} ends before the position", path=self._path)
            left -= len(taken)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _identify(self) -> tuple[int, int, int, str]:
        """Device, inode, size, and a hash of the beginning."""
        status = os.fstat(self._file.fileno())
        head = hashlib.blake2b(self._read(_HEAD_BYTES), digest_size=16).hexdigest()
        self._file.seek(0)
        return status.st_dev, status.st_ino, status.st_size, head

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise read_problem(self._path, error) from error

    def _next_block(self) -> bool:
        data = self._whole_lines()
        if not data:
            return False
        self._numbered += len(self._lines)
        self._start, self._end = self._end, self._end + len(data)
        text = self._decoded(data)
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        self._lines = text.split("\n")
        self._taken = 0
        if text.endswith("\n"):
            self._lines.pop()
        return True

    def _whole_lines(self) -> bytes:
        """Return the next bytes that end with a line end or with the file."""
        pieces = [self._rest]
        while True:
            piece = self._read(self._block_bytes)
            if not piece:
                self._rest = b""
                return b"".join(pieces)
            # A carriage return that ends the piece may be half of "\r\n": it is no end yet.
            cut = max(piece.rfind(b"\n"), piece.rfind(b"\r", 0, len(piece) - 1)) + 1
            if not cut and pieces[-1].endswith(b"\r"):
                self._rest = piece
                return b"".join(pieces)
            pieces.append(piece[:cut] if cut else piece)
            if cut:
                self._rest = piece[cut:]
                return b"".join(pieces)

    def _decoded(self, data: bytes) -> str:
        if self._start == 0:
            data = data.removeprefix(_BOM)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            offset = self._start + error.start
            raise DataError(
                f"{self._path!r} is not UTF-8 text: "
                f"byte {data[error.start]:#04x} at offset {offset}",
                hint="is it a text file? If so, save it as UTF-8",
                path=self._path,
                offset=offset,
            ) from error
