"""`LoaderPool`: loads documents in processes of their own, in parallel and under limits.

A document that crashes its parser, hangs it or eats memory kills the process that reads it and
nothing else: it becomes a `LoadFailure`, and the run goes on with a fresh process. What can be
read is what `load_document` gives for it.

The design is that of browsers and mail scanners: hostile formats are parsed where they can do no
harm (Provos et al., "Preventing Privilege Escalation", 2003), and what comes back is plain data.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sage.common.errors import DataError, LimitError
from sage.common.records import Document
from sage.libs.documents.loader_process import Reply, Request, Setup, receive, send
from sage.libs.documents.loaders import MAX_BYTES
from sage.libs.documents.url_policy import UrlPolicy

__all__ = ["LoadFailure", "LoaderPool", "load_documents"]

_BOOT = """\
import sys
sys.path[:] = {path!r}
from sage.libs.documents.loader_process import main
main({fd})
"""
_START_TIMEOUT_S = 60.0
_AHEAD = 4  # documents for each process that may be loaded before they are asked for


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """A document that could not be loaded, and why.

    Attributes:
        source: The path or URL as it was given.
        message: What is wrong, in one line.
        hint: What to do about it, or None.
        code: The stable code of the error.
        fields: Its facts.
    """

    source: str
    message: str
    hint: str | None = None
    code: str = DataError.code
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        named = self.message if self.source in self.message else f"{self.source!r}: {self.message}"
        return f"{named} ({self.hint})" if self.hint else named


def load_documents(
    sources: Iterable[str | os.PathLike[str]],
    *,
    workers: int | None = None,
    timeout_s: float = 60.0,
    memory_bytes: int = 1 << 30,
    root: str | os.PathLike[str] | None = None,
    max_bytes: int = MAX_BYTES,
    text_field: str | None = None,
    urls: UrlPolicy | None = None,
) -> Iterator[Document | LoadFailure]:
    """Load documents in parallel; one that cannot be loaded does not stop the others.

    Args:
        sources: Paths of files, and URLs; taken as they are needed, a few ahead.
        workers: How many processes read; by default one for each processor.
        timeout_s: Most seconds for one document.
        memory_bytes: Most memory for one document.
        root: A directory that files must stand below; see `load_document`.
        max_bytes: The largest file that is read.
        text_field: The column or field that holds the text; see `load_document`.
        urls: What may be fetched; by default public addresses only.

    Yields:
        For each source its document, or a `LoadFailure`, in the order of the sources.

    Example:
        >>> import pathlib, tempfile
        >>> top = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (top / "a.md").write_text("# Water\\n"), (top / "b.pdf").write_text("no PDF")
        >>> for loaded in load_documents([top / "a.md", top / "b.pdf"], root=top, workers=1):
        ...     print(type(loaded).__name__, pathlib.Path(loaded.source).name)
        Document a.md
        LoadFailure b.pdf
    """
    with LoaderPool(
        workers=workers,
        timeout_s=timeout_s,
        memory_bytes=memory_bytes,
        root=root,
        max_bytes=max_bytes,
        text_field=text_field,
        urls=urls,
    ) as pool:
        yield from pool.load_all(sources)


class LoaderPool:
    """Processes that load documents; they are started when there is work, and kept.

    Use it as a context manager where documents come one by one, such as uploads; for many at once
    `load_documents` does. Its methods may be called from several threads.

    Args:
        workers: How many processes read at a time; by default one for each processor.
        timeout_s: Most seconds for one document.
        memory_bytes: Most memory for one document.
        root: A directory that files must stand below; see `load_document`.
        max_bytes: The largest file that is read.
        text_field: The column or field that holds the text; see `load_document`.
        urls: What may be fetched; by default public addresses only.

    Example:
        >>> with LoaderPool(workers=1) as pool:
        ...     print(pool.load("no-such-file.txt").message)
        no such file: 'no-such-file.txt'
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        timeout_s: float = 60.0,
        memory_bytes: int = 1 << 30,
        root: str | os.PathLike[str] | None = None,
        max_bytes: int = MAX_BYTES,
        text_field: str | None = None,
        urls: UrlPolicy | None = None,
    ) -> None:
        self.workers = workers or _processors()
        self._setup = Setup(
            timeout_s,
            memory_bytes,
            max_bytes,
            None if root is None else os.fsencode(root),
            text_field,
            urls or UrlPolicy(),
        )
        self._lock = threading.Lock()
        self._idle: list[_LoaderProcess] = []
        self._busy: set[_LoaderProcess] = set()
        self._closed = False
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="load")

    def __enter__(self) -> LoaderPool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; what they were reading is given up."""
        with self._lock:
            self._closed = True
            running = [*self._idle, *self._busy]
            self._idle.clear()
        for process in running:
            process.kill()
        self._threads.shutdown(cancel_futures=True)

    def load_all(
        self, sources: Iterable[str | os.PathLike[str]]
    ) -> Iterator[Document | LoadFailure]:
        """Yield for each source its document or a `LoadFailure`, in the order of the sources.

        Raises:
            DataError: if one path is given in place of several.
        """
        if isinstance(sources, (str, os.PathLike)):
            raise DataError(
                f"expected a list of paths, got one: {os.fspath(sources)!r:.200}",
                hint="put it into a list, or load it with load_document",
            )
        waiting: deque[Future[Document | LoadFailure]] = deque()
        try:
            for source in sources:
                waiting.append(self._threads.submit(self.load, source))
                if len(waiting) > self.workers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def load(self, source: str | os.PathLike[str]) -> Document | LoadFailure:
        """Load one document, or say why it cannot be.

        Raises:
            RuntimeError: if the pool is closed.
        """
        process = self._take()
        try:
            loaded = process.load(os.fspath(source))
        except BaseException:
            process.kill()
            raise
        finally:
            self._put_back(process)
        return loaded

    def _take(self) -> _LoaderProcess:
        with self._lock:
            self._refuse_closed()
            process = self._idle.pop() if self._idle else None
            if process is not None:
                self._busy.add(process)
                return process
        process = _LoaderProcess(self._setup)
        try:
            with self._lock:
                self._refuse_closed()
                self._busy.add(process)
        except RuntimeError:  # closed while it started: nobody else would end it
            process.kill()
            raise
        return process

    def _refuse_closed(self) -> None:
        if self._closed:
            raise RuntimeError("the LoaderPool is closed")

    def _put_back(self, process: _LoaderProcess) -> None:
        with self._lock:
            self._busy.discard(process)
            if process.alive and not self._closed:
                self._idle.append(process)
                return
        process.kill()


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # which macOS has not
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class _LoaderProcess:
    """One process and the socket to it; killed at the first sign of trouble."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        # Not a pipe: nobody reads it while the process runs, and a full pipe would stop it.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT.format(path=sys.path, fd=theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C in the terminal goes to the pool, which decides
            )
        except BaseException:
            ours.close()
            self._log.close()
            raise
        finally:
            theirs.close()
        self._connection = ours
        self._deadline = 0.0
        self._ready = False
        self.alive = True
        with contextlib.suppress(OSError):  # it has ended: the first document will say how
            send(ours, setup)

    def load(self, source: str) -> Document | LoadFailure:
        try:
            if not self._ready:
                self._deadline = time.monotonic() + _START_TIMEOUT_S
                self._ready = receive(self._receive_into) is not None
            self._deadline = time.monotonic() + self._setup.timeout_s
            send(self._connection, Request(os.fsencode(source)))
            body = receive(self._receive_into, most_bytes=self._setup.memory_bytes)
        except TimeoutError:
            self.kill()
            return self._too_slow(source)
        except LimitError as error:
            self.kill()
            return LoadFailure(source, error.message, "raise memory_bytes", error.code)
        except OSError:
            body = None
        if body is None:
            return self._died(source)
        reply = msgspec.msgpack.decode(body, type=Reply)
        if reply.document is not None:
            return reply.document
        if reply.code == LimitError.code:
            self.kill()  # little memory may be left to it
        return LoadFailure(source, reply.message, reply.hint, reply.code, reply.fields)

    def kill(self) -> None:
        """End the process now; it holds nothing that could be lost."""
        self.alive = False
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._log.close()

    def _receive_into(self, buffer: memoryview) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)

    def _too_slow(self, source: str) -> LoadFailure:
        return LoadFailure(
            source,
            f"it takes more than {self._setup.timeout_s:g} seconds to be read",
            "raise timeout_s if it is worth it",
            LimitError.code,
        )

    def _died(self, source: str) -> LoadFailure:
        """Say how the process ended in the middle of a document."""
        if not self.alive:
            return LoadFailure(source, "the pool was closed before it was read")
        status = self._process.wait()
        if status == -signal.SIGXCPU:
            self.kill()
            return self._too_slow(source)
        words = self._last_words()
        self.kill()
        how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        return LoadFailure(
            source,
            f"the process that read it ended with {how}{words}",
            "the file crashes the parser; open it in its program and save it again",
        )

    def _last_words(self) -> str:
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 1000))
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""
