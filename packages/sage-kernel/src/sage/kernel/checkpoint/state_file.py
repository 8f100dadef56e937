"""One file for one task: what its operators remember, each to be read alone and checked first.

::

    magic, format version
    sections of operator 1:  (lengths, [kind, name] as MessagePack, payload) ...
    sections of operator 2:  ...
    index:    [[uid, offset, length, crc32], ...] as MessagePack
    trailer:  offset and length of the index, digest of header and index, magic

Sections are written as they come; nothing but one of them is ever in memory. Invariant: each byte
is covered, those of sections by the CRC in the index, header and index by the digest in the
trailer, which is also the checksum of the whole file. So an operator is read and verified without
the others, and nothing is given out before all of it has been verified.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

import msgspec

from sage.kernel.checkpoint.filesystem import Filesystem, explained
from sage.kernel.checkpoint.operator_state import Section
from sage.kernel.checkpoint.steps import reached
from sage.kernel.errors import DamagedCheckpointError, NewerFormatError

__all__ = ["FORMAT", "WrittenFile", "read_state_file", "verify_state_file", "write_state_file"]

FORMAT = 1

_MAGIC = b"SAGEstat"
_HEADER = struct.Struct("<8sI")
_FRAME = struct.Struct("<IQ")
_DIGEST = 16
_TRAILER = struct.Struct(f"<QI{_DIGEST}s8s")
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that was written: what its checkpoint's manifest says of it.

    Attributes:
        path: Its folder's name and its own, as in ``chk-00000012-e0003/count-0.state``.
        bytes: Its size.
        checksum: What its content is told by.
    """

    path: str
    bytes: int
    checksum: str


class _Range(NamedTuple):
    """Where the sections of an operator are."""

    uid: str
    offset: int
    length: int
    crc: int


def write_state_file(
    files: Filesystem, path: str, operators: Iterable[tuple[str, Iterable[Section]]]
) -> WrittenFile:
    """Write what the operators of a task remember, durably; a half-written file is removed.

    Args:
        files: Where.
        path: The path there; its folder is there.
        operators: Each operator's uid with its sections; ``"@..."`` for what is the task's own.

    Raises:
        CheckpointError: if it cannot be written.
        StateCodecError: if a value cannot be stored.
    """
    with explained("write the checkpoint file", path), files.writing(path, "storage.state") as file:
        header = _HEADER.pack(_MAGIC, FORMAT)
        file.write(header)
        index, position = [], len(header)
        for uid, sections in operators:
            written = _write_sections(file, uid, sections, position)
            index.append(written)
            position += written.length
        table = msgspec.msgpack.encode(index)
        digest = _digest(header, table)
        reached("storage.state.write.before")
        file.write(table + _TRAILER.pack(position, len(table), digest, _MAGIC))
    size = position + len(table) + _TRAILER.size
    return WrittenFile("/".join(path.split("/")[-2:]), size, digest.hex())


def _write_sections(file: IO[bytes], uid: str, sections: Iterable[Section], start: int) -> _Range:
    crc = length = 0
    for section in sections:
        label = msgspec.msgpack.encode((section.kind, section.name))
        head = _FRAME.pack(len(label), len(section.payload)) + label
        reached("storage.state.write.before")
        file.write(head)
        file.write(section.payload)
        crc = zlib.crc32(section.payload, zlib.crc32(head, crc))
        length += len(head) + len(section.payload)
    return _Range(uid, start, length, crc)


def read_state_file(
    files: Filesystem, path: str, uid: str | None = None, *, expected: WrittenFile | None = None
) -> Iterator[tuple[str, Section]]:
    """Yield the sections of one operator, or of all, when they have been verified.

    Args:
        files: Where.
        path: The path there.
        uid: Which operator; None for all, in the order in which they were written.
        expected: What the manifest says of the file.

    Raises:
        DamagedCheckpointError: if the file is gone or is not what was written.
        NewerFormatError: if a newer release wrote it.
        CheckpointError: if it cannot be read.
    """
    with explained("read the checkpoint file", path), _opened(files, path) as file:
        ranges = [found for found in _index(file, path, expected) if uid in (None, found.uid)]
        for found in ranges:
            _verify(file, found, path)
        for found in ranges:
            for section in _sections(file, found, path):
                yield found.uid, section


def verify_state_file(files: Filesystem, path: str, expected: WrittenFile) -> None:
    """Read a whole file and compare it with what its manifest says.

    Raises:
        DamagedCheckpointError: if the file is gone or is not what was written.
        CheckpointError: if it cannot be read.
    """
    with explained("read the checkpoint file", path), _opened(files, path) as file:
        for found in _index(file, path, expected):
            _verify(file, found, path)


def _opened(files: Filesystem, path: str) -> IO[bytes]:
    try:
        return files.reading(path)
    except (FileNotFoundError, NotADirectoryError):
        raise _damaged(path, "it is gone") from None


def _index(file: IO[bytes], path: str, expected: WrittenFile | None) -> list[_Range]:
    """Read where each operator is, after checking what does not belong to any."""
    size = file.seek(0, 2)
    if expected is not None and size != expected.bytes:
        raise _damaged(path, f"it has {size} bytes and was written with {expected.bytes}")
    if size < _HEADER.size + _TRAILER.size:
        raise _damaged(path, f"{size} bytes are too few")
    header = _read(file, path, 0, _HEADER.size)
    end = size - _TRAILER.size
    offset, length, digest, magic = _TRAILER.unpack(_read(file, path, end, _TRAILER.size))
    if magic != _MAGIC or offset + length != end:
        raise _damaged(path, "its end is not that of a state file")
    table = _read(file, path, offset, length)
    if digest != _digest(header, table):
        raise _damaged(path, "the checksum of its index is wrong")
    if expected is not None and digest.hex() != expected.checksum:
        raise _damaged(path, "it is not the file that was written")
    if (version := _HEADER.unpack(header)[1]) > FORMAT:
        raise newer_format(path, version, FORMAT)
    return msgspec.msgpack.decode(table, type=list[_Range])


def _verify(file: IO[bytes], found: _Range, path: str) -> None:
    crc, left, buffer = 0, found.length, memoryview(bytearray(min(found.length, _PIECE)))
    file.seek(found.offset)
    while left:
        # Twice as fast as read(); typing.IO knows no readinto, every binary file does.
        count: int = file.readinto(buffer[:left])  # type: ignore[attr-defined]
        if not count:
            raise _damaged(path, "it ends too early")
        crc = zlib.crc32(buffer[:count], crc)
        left -= count
    if crc != found.crc:
        raise _damaged(path, f"the checksum of {found.uid!r} is wrong")


def _sections(file: IO[bytes], found: _Range, path: str) -> Iterator[Section]:
    position, end = found.offset, found.offset + found.length
    while position < end:
        label_length, length = _FRAME.unpack(_read(file, path, position, _FRAME.size))
        label = _read(file, path, None, label_length)
        kind, name = msgspec.msgpack.decode(label, type=tuple[str, str])
        yield Section(kind, name, _read(file, path, None, length))
        position += _FRAME.size + label_length + length


def _read(file: IO[bytes], path: str, offset: int | None, length: int) -> bytes:
    if offset is not None:
        file.seek(offset)
    content = file.read(length)
    if len(content) != length:
        raise _damaged(path, "it ends too early")
    return content


def _digest(header: bytes, table: bytes) -> bytes:
    return hashlib.blake2b(header + table, digest_size=_DIGEST).digest()


def _damaged(path: str, reason: str) -> DamagedCheckpointError:
    return DamagedCheckpointError(
        f"the checkpoint file {path!r} is damaged: {reason}", path=path, reason=reason
    )


def newer_format(path: str, version: int, known: int) -> NewerFormatError:
    """Return the error for a file of a format that is newer than this release."""
    return NewerFormatError(
        f"{path!r} has format {version}, and this release reads formats up to {known}",
        hint="go on with the release that wrote it, or a newer one",
        path=path,
        format=version,
    )
