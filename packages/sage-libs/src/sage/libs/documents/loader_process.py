"""The process that reads documents for a `LoaderPool`, so that a hostile one ends only this.

It reads one document at a time, under limits that the system enforces, and answers with plain
data: whatever a parser was made to do, the pool decodes no object and no code from here.

A message is its length (8 bytes, big endian) and MessagePack.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from sage.common.errors import DataError, LimitError, SageError
from sage.common.records import Document
from sage.libs.documents.url_policy import UrlPolicy, is_url

__all__ = ["Reply", "Request", "Setup", "main", "receive", "send"]

_HEADER_BYTES = 8
_MOST_LOG_BYTES = 1 << 20  # what a process may write to any file, its last words among them


class Setup(msgspec.Struct, frozen=True):
    """What a process is told once: the limits, and how documents are loaded.

    Attributes:
        timeout_s: Seconds of processor time for a document.
        memory_bytes: Memory that documents may take.
        max_bytes: The largest file that is read.
        root: A directory that no document may stand outside of, or None.
        text_field: The field of records that holds the text, or None.
        urls: What may be fetched.
    """

    timeout_s: float
    memory_bytes: int
    max_bytes: int
    root: bytes | None = None
    text_field: str | None = None
    urls: UrlPolicy = UrlPolicy()


class Request(msgspec.Struct, frozen=True):
    """A document to load: its path as the system knows it, or a URL."""

    source: bytes


class Reply(msgspec.Struct, frozen=True):
    """The document, or else why there is none: the facts of the error."""

    document: Document | None = None
    message: str = ""
    hint: str | None = None
    code: str = DataError.code
    fields: dict[str, Any] = {}


def send(connection: socket.socket, message: msgspec.Struct) -> None:
    """Send a message whole."""
    body = msgspec.msgpack.encode(message, enc_hook=str)
    connection.sendall(len(body).to_bytes(_HEADER_BYTES, "big"))
    connection.sendall(body)


def receive(
    read: Callable[[memoryview], int], *, most_bytes: int = sys.maxsize
) -> memoryview | None:
    """Receive the body of a message, or None where the other side has ended.

    Args:
        read: Fills a buffer and returns how many bytes it got, as ``socket.recv_into``.
        most_bytes: The longest body that is accepted.

    Raises:
        LimitError: if the message says that it is longer.
    """
    header = _filled(read, _HEADER_BYTES)
    if header is None:
        return None
    length = int.from_bytes(header, "big")
    if length > most_bytes:
        raise LimitError(f"its text is larger than {most_bytes:,} bytes")
    return _filled(read, length)


def _filled(read: Callable[[memoryview], int], length: int) -> memoryview | None:
    buffer = memoryview(bytearray(length))
    filled = 0
    while filled < length:
        got = read(buffer[filled:])
        if not got:
            return None
        filled += got
    return buffer


def main(fd: int) -> None:
    """Load documents until the other side of the socket ``fd`` closes it."""
    with socket.socket(fileno=fd) as connection:
        body = receive(connection.recv_into)
        if body is None:
            return
        setup = msgspec.msgpack.decode(body, type=Setup)
        _limit_process(setup.memory_bytes)
        send(connection, Reply())  # from here on the time counts
        while (body := receive(connection.recv_into)) is not None:
            request = msgspec.msgpack.decode(body, type=Request)
            _limit_processor_time(setup.timeout_s)
            reply = _reply(request, setup)
            try:
                try:
                    send(connection, reply)
                except (UnicodeEncodeError, OverflowError):
                    send(connection, _without_odd_values(reply))
            except (UnicodeEncodeError, OverflowError, MemoryError) as error:
                send(connection, _failure(error, setup))


def _reply(request: Request, setup: Setup) -> Reply:
    from sage.libs.documents.loaders import load_document
    from sage.libs.documents.url_loader import load_url

    try:
        source = os.fsdecode(request.source)
        if is_url(source):
            document = load_url(source, setup.urls, text_field=setup.text_field)
        else:
            document = load_document(
                source,
                root=None if setup.root is None else os.fsdecode(setup.root),
                max_bytes=setup.max_bytes,
                text_field=setup.text_field,
            )
    # The task boundary of one document: parsers of foreign formats raise anything.
    except Exception as error:
        return _failure(error, setup)
    return Reply(document)


def _without_odd_values(reply: Reply) -> Reply:
    """Return a document whose metadata can be sent: what is no valid text or number is replaced.

    Front matter and properties of files may hold what MessagePack and JSON cannot.
    """
    if reply.document is None:
        return reply
    return Reply(replace(reply.document, metadata=_sendable(reply.document.metadata)))


def _sendable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return str(value)
    if isinstance(value, Mapping):
        return {_sendable(key): _sendable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sendable(item) for item in value]
    return value


def _failure(error: Exception, setup: Setup) -> Reply:
    if isinstance(error, SageError):
        fields = {name: str(value) for name, value in error.fields.items()}
        return Reply(None, error.message, error.hint, error.code, fields)
    if isinstance(error, MemoryError):
        return Reply(
            None,
            f"it needs more than {setup.memory_bytes:,} bytes of memory to be read",
            "raise memory_bytes, or split it",
            LimitError.code,
        )
    if isinstance(error, UnicodeEncodeError):
        return Reply(None, "its name is not valid UTF-8", "rename it")
    return Reply(None, f"it cannot be read: {type(error).__name__}: {error}"[:1000])


def _limit_process(memory_bytes: int) -> None:
    """Limit what the system gives this process, on top of what the interpreter has already."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_LOG_BYTES, _MOST_LOG_BYTES))
    most = _address_space() + memory_bytes
    # macOS knows the limit and refuses to set it; there the pool's timeout has to do.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _address_space() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 1 << 28  # more than an interpreter takes
    return pages * os.sysconf("SC_PAGE_SIZE")


def _limit_processor_time(timeout_s: float) -> None:
    """End this process by itself if it runs on after the pool, which keeps the time, was killed."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + timeout_s) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))
