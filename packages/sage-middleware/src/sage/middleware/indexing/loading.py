"""Loads documents ahead of those who cut and embed them, in processes of their own.

A `LoadedDocuments` source gives what a thread has fetched from the processes, in the order of the
files; never more than a few documents wait, so that Ctrl-C has only those to finish.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sage.common.core.functions import SourceFunction
from sage.common.errors import DataError, SageError
from sage.common.records import Document
from sage.middleware.indexing.changes import FoundFile
from sage.middleware.indexing.report import FailedDocument

if TYPE_CHECKING:
    from sage.libs.documents import LoadFailure

__all__ = ["LoadAll", "Loaded", "LoadedDocuments", "failed"]

LoadAll = Callable[[Iterable[str]], "Iterator[Document | LoadFailure]"]
"""Gives for each source its document, or why there is none, in their order."""

_WAITING = 4
_PATIENCE_S = 0.05


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file and the text that was read from it."""

    file: FoundFile
    document: Document


def failed(file: FoundFile, error: Exception) -> FailedDocument:
    """Return an error as the record that goes down the stream in place of the document."""
    if isinstance(error, SageError):
        hint = f" ({error.hint})" if error.hint else ""
        return FailedDocument(file.source, error.message + hint, error.code, file.known)
    return FailedDocument(
        file.source, f"{type(error).__name__}: {error}", DataError.code, file.known
    )


class LoadedDocuments(SourceFunction["Loaded | FailedDocument"]):
    """Gives the documents of files as they are loaded, in the order of the files.

    Args:
        files: What has to be indexed.
        load_all: Loads them; called in a thread of its own.
        busy: Told how many seconds each document was waited for.
    """

    def __init__(
        self,
        files: Sequence[FoundFile],
        load_all: LoadAll,
        busy: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._files = files
        self._load_all = load_all
        self._busy = busy
        self._loaded: queue.Queue[Loaded | FailedDocument | Exception | None]
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def read(self, max_records: int) -> Sequence[Loaded | FailedDocument] | None:
        """Return the next document if it is there, nothing if it is not yet, None at the end."""
        if self._thread is None:
            self._loaded = queue.Queue(_WAITING)
            self._thread = threading.Thread(target=self._fetch, name="load", daemon=True)
            self._thread.start()
        try:
            record = self._loaded.get(timeout=_PATIENCE_S)
        except queue.Empty:
            return ()
        if isinstance(record, Exception):
            raise record
        return None if record is None else (record,)

    def close(self) -> None:
        """Stop loading ahead."""
        self._stopped.set()
        if self._thread is not None:
            with suppress(queue.Empty):  # it may be waiting for room
                self._loaded.get_nowait()
            # Not longer: what hangs in a document ends with the processes that load it.
            self._thread.join(_PATIENCE_S * 10)

    def _fetch(self) -> None:
        try:
            for record in self._records():
                self._put(record)
                if self._stopped.is_set():
                    return
            self._put(None)
        except Exception as error:  # raised where the job can see it
            self._put(error)

    def _records(self) -> Iterator[Loaded | FailedDocument]:
        loads = self._load_all(file.source for file in self._files if file.document is None)
        for file in self._files:
            started = time.perf_counter()
            loaded = next(loads) if file.document is None else file.document
            self._busy(time.perf_counter() - started)
            if isinstance(loaded, Document):
                yield Loaded(file, replace(loaded, source=file.source))
            else:
                yield FailedDocument(file.source, str(loaded), loaded.code, file.known)

    def _put(self, record: Loaded | FailedDocument | Exception | None) -> None:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self._loaded.put(record, timeout=_PATIENCE_S)
                return
