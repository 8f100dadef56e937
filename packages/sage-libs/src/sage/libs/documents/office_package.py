"""The archive that a DOCX, XLSX or PPTX is, looked at before a parser opens it.

Every bound is checked on what the archive says of itself, without unpacking it; the reader of zip
archives then gives no entry more bytes than it was said to have. An entry that begins as XML may
not declare a document type, so that there are no entities, neither nested nor external; the format
forbids them (ECMA-376 part 2), and no parser behind this one has to.
"""

from __future__ import annotations

import io
import zipfile
from typing import NoReturn
from xml.parsers import expat

from sage.common.errors import DataError, LimitError

__all__ = ["MOST_UNPACKED_BYTES", "check_package"]

MOST_UNPACKED_BYTES = 400_000_000
_MOST_ENTRIES = 10_000
_MOST_DIRECTORY_BYTES = 4_000_000
# Text packs ten to one, a sheet of equal numbers forty to one; DEFLATE ends at 1,032 to one.
_MOST_RATIO = 200
_ALWAYS_UNPACKED_BYTES = 20_000_000
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_END_RECORD = b"PK\x05\x06"
_END_RECORD_BYTES = 22
_PROLOG_BYTES = 1 << 16


def check_package(data: bytes, source: str, kind: str) -> None:
    """Refuse what is no Office file, is damaged, or would be dangerous to open.

    Args:
        data: The file.
        source: Its name, for the error.
        kind: What its name says that it is: ``DOCX``.

    Raises:
        DataError: if it is an old Office file, no archive, or declares XML entities.
        LimitError: if it has too many entries, or unpacks to too much.
    """
    if data.startswith(_OLD_OFFICE):
        raise DataError(
            f"{source!r} is an old or encrypted Office file, not a {kind}",
            hint=f"save it as .{kind.lower()} without a password",
            path=source,
        )
    _check_directory(data, source)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DataError(
            f"{source!r} is not a {kind}, in spite of its name",
            hint=f"it is not the archive that a {kind} is; was it downloaded whole?",
            path=source,
        ) from error
    with archive:
        _check_sizes(archive.infolist(), source)
        for entry in archive.infolist():
            _check_prolog(archive, entry, source, kind)


def _check_directory(data: bytes, source: str) -> None:
    """Bound the list of entries before it is read: each takes many times its bytes in memory."""
    end = data.rfind(_END_RECORD)
    if 0 <= end <= len(data) - _END_RECORD_BYTES:
        size = int.from_bytes(data[end + 12 : end + 16], "little")
        if size > _MOST_DIRECTORY_BYTES:  # also the mark of an archive of more than 4 GB
            _refuse(source, f"lists more than {_MOST_ENTRIES:,} entries")


def _check_sizes(entries: list[zipfile.ZipInfo], source: str) -> None:
    if len(entries) > _MOST_ENTRIES:
        _refuse(source, f"has {len(entries):,} entries, at most {_MOST_ENTRIES:,} are read")
    unpacked = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if unpacked > MOST_UNPACKED_BYTES:
        _refuse(source, f"unpacks to {unpacked:,} bytes, at most {MOST_UNPACKED_BYTES:,} are read")
    if unpacked > max(_ALWAYS_UNPACKED_BYTES, packed * _MOST_RATIO):
        _refuse(source, f"unpacks from {packed:,} to {unpacked:,} bytes, as only a zip bomb does")


def _refuse(source: str, what: str) -> NoReturn:
    raise LimitError(
        f"{source!r} {what}",
        hint="if it is not hostile, save the part that you need as a file of its own",
        path=source,
    )


class _RootReachedError(Exception):
    """The prolog of an XML entry has come to its end, with nothing forbidden in it."""


def _check_prolog(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, source: str, kind: str) -> None:
    """Refuse a document type; one can only stand before the root element, whatever the encoding."""

    def doctype(*_: object) -> None:
        raise DataError(
            f"{source!r} declares XML entities in {entry.filename!r}, as only an attack does",
            hint="open it in its program and save it again, if you trust it",
            path=source,
        )

    def root(*_: object) -> None:
        raise _RootReachedError

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = root
    try:
        with archive.open(entry) as file:
            while block := file.read(_PROLOG_BYTES):
                parser.Parse(block, False)
    except (_RootReachedError, expat.ExpatError):
        return  # what is not XML, such as a picture, is no danger here
    except (DataError, MemoryError):
        raise
    # A boundary: each way of packing has exceptions of its own for what is malformed.
    except Exception as error:
        raise DataError(
            f"{source!r} is a damaged {kind}: {type(error).__name__}: {error}",
            hint="was it downloaded whole?",
            path=source,
        ) from error
