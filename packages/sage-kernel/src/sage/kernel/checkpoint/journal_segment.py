"""A file of journalled results: written entry by entry, read back as far as it is whole.

A segment is a header and then entries, each behind a mark with its length and a checksum. It is
only ever appended to, so a process that dies leaves at most one entry unfinished, the last one,
which is dropped without a word: its result was given to nobody. Anything else that cannot be read
is damage; reading goes on at the next mark, and the damage is told.

Invariant: an entry has one identity for ever. A result that is written into a later segment as well
keeps it, so that reading both segments gives the result once.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from sage.kernel.checkpoint.steps import reached
from sage.kernel.errors import CheckpointError, NewerFormatError

__all__ = ["DIGEST_BYTES", "Entry", "Header", "SegmentWriter", "framed", "read_segment"]

DIGEST_BYTES = 16

_MAGIC = b"SAGEJRNL"
_FORMAT = 1
_VERSION = struct.Struct("<H")
_MARK = b"\xa5\x9e\x0d\x0a"
_FRAME = struct.Struct("<4sII")  # mark, length, checksum
_IDENTITY = struct.Struct("<8sII")  # the run's token, checkpoint and number at its birth


class Entry(NamedTuple):
    """A result that was journalled.

    Attributes:
        identity: Which result of which run it is.
        digest: What its record is known by.
        payload: The encoded result.
    """

    identity: bytes
    digest: bytes
    payload: bytes

    @classmethod
    def born(
        cls, token: bytes, checkpoint: int, number: int, digest: bytes, payload: bytes
    ) -> Entry:
        """Return a new entry of a run that is known by a token of 8 bytes."""
        return cls(_IDENTITY.pack(token, checkpoint, number), digest, payload)

    @property
    def checkpoint(self) -> int:
        """The checkpoint behind which its call ended."""
        checkpoint: int = _IDENTITY.unpack(self.identity)[1]
        return checkpoint


@dataclass(frozen=True)
class Header:
    """Whose results a segment holds.

    Attributes:
        operator: The operator's uid.
        function: What its function is known by; results of another are not used.
        subtask: Which subtask wrote it.
        epoch: In which run of the job.
        checkpoint: The last barrier before its entries.
    """

    operator: str
    function: str
    subtask: int
    epoch: int
    checkpoint: int


class Segment(NamedTuple):
    """What could be read of a segment.

    Attributes:
        header: None if its writer died before it was whole.
        entries: Its entries, in order.
        damaged: In how many places something else than the unfinished end could not be read.
    """

    header: Header | None
    entries: list[Entry]
    damaged: int = 0


class SegmentWriter:
    """Appends to a new segment.

    Args:
        path: Where; there must be no such file.
        header: Whose results it holds.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.is_dirty = False
        self._is_new = True
        self._opening: bytes | None = _opening(header)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        self._descriptor = os.open(path, flags, 0o644)

    def write(self, frames: bytes) -> None:
        """Append whole frames, the header before the first."""
        if self._opening is not None:
            frames, self._opening = self._opening + frames, None
        self.is_dirty = True
        reached("journal.write.before")
        written = os.write(self._descriptor, frames)
        while written < len(frames):
            written += os.write(self._descriptor, frames[written:])
        reached("journal.write.after")

    def sync(self) -> None:
        """Have everything written so far survive the machine."""
        self.is_dirty = False
        reached("journal.sync.before")
        os.fdatasync(self._descriptor)
        if self._is_new:
            _sync_folder(self.path.parent)
            self._is_new = False
        reached("journal.sync.after")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def framed(entry: Entry) -> bytes:
    """Return an entry as it is written."""
    return _framed(b"".join(entry))


def read_segment(path: Path) -> Segment:
    """Return what a segment holds, as far as it can be read.

    Raises:
        NewerFormatError: if a newer version wrote it.
        CheckpointError: if it is no segment at all.
    """
    content = path.read_bytes()
    at = len(_MAGIC) + _VERSION.size
    if len(content) < at:
        return Segment(None, [])
    if not content.startswith(_MAGIC):
        raise CheckpointError(
            f"{str(path)!r} is no journal: it begins with {content[: len(_MAGIC)]!r}",
            hint="delete it if it does not belong there",
            path=str(path),
        )
    (version,) = _VERSION.unpack_from(content, len(_MAGIC))
    if version > _FORMAT:
        raise NewerFormatError(
            f"the journal {str(path)!r} has format {version}, and this version knows {_FORMAT}",
            hint="run the job with the version that wrote it, or a newer one",
            path=str(path),
        )
    return _parsed(content, at)


def _parsed(content: bytes, at: int) -> Segment:
    header: Header | None = None
    entries: list[Entry] = []
    damaged, end = 0, at
    for start, body in _bodies(content, at):
        damaged += start != end
        end = start + _FRAME.size + len(body)
        if start == at:
            header = Header(**json.loads(body))
        else:
            behind = _IDENTITY.size + DIGEST_BYTES
            entries.append(
                Entry(body[: _IDENTITY.size], body[_IDENTITY.size : behind], body[behind:])
            )
    return Segment(header, entries, damaged)


def _bodies(content: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Yield the place and the body of each frame that is whole."""
    while at + _FRAME.size <= len(content):
        mark, length, checksum = _FRAME.unpack_from(content, at)
        body = content[at + _FRAME.size : at + _FRAME.size + length]
        if mark == _MARK and len(body) == length and crc32(body, length) == checksum:
            yield at, body
            at += _FRAME.size + length
            continue
        at = content.find(_MARK, at + 1)
        if at < 0:
            return


def _framed(body: bytes) -> bytes:
    return _FRAME.pack(_MARK, len(body), crc32(body, len(body))) + body


def _opening(header: Header) -> bytes:
    return _MAGIC + _VERSION.pack(_FORMAT) + _framed(json.dumps(asdict(header)).encode())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
