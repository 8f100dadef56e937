"""How far an indexing run is while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["IndexProgress", "ProgressMeter"]


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """How far an indexing run is; given to the ``progress`` callback after each batch.

    Attributes:
        documents: Documents done, failed ones included.
        total_documents: Documents that this run has to index.
        chunks: Chunks written so far.
        size_bytes: Bytes of files done; a file counts in proportion to its chunks done, so that
            the remaining time is right for one large file as well.
        total_bytes: Bytes of all files that this run has to index.
    """

    documents: int
    total_documents: int
    chunks: int
    size_bytes: float
    total_bytes: int


class ProgressMeter:
    """Counts what is done and tells it after each batch and each document.

    Args:
        total_documents: Documents that the run has to index.
        total_bytes: Bytes of their files.
        tell: Called with each new state; None to tell nobody.

    Example:
        >>> meter = ProgressMeter(1, 10, print)
        >>> meter.advance(2, 10.0)
        IndexProgress(documents=0, total_documents=1, chunks=2, size_bytes=10.0, total_bytes=10)
    """

    def __init__(
        self,
        total_documents: int,
        total_bytes: int,
        tell: Callable[[IndexProgress], Any] | None = None,
    ) -> None:
        self._total_documents = total_documents
        self._total_bytes = total_bytes
        self._tell = tell
        self._documents = 0
        self._chunks = 0
        self._bytes = 0.0

    def begin(self) -> None:
        """Tell how much there is to do, before the first batch is done."""
        self._report()

    def advance(self, chunks: int, size_bytes: float) -> None:
        """Count chunks that are embedded (which is what takes the time) and their bytes."""
        self._chunks += chunks
        self._bytes += size_bytes
        self._report()

    def end_document(self, skipped_bytes: int = 0) -> None:
        """Count a document that is written or has failed.

        Args:
            skipped_bytes: Size of the file, if none of its chunks were counted.
        """
        self._documents += 1
        self._bytes += skipped_bytes
        self._report()

    def _report(self) -> None:
        if self._tell is not None:
            self._tell(
                IndexProgress(
                    self._documents,
                    self._total_documents,
                    self._chunks,
                    self._bytes,
                    self._total_bytes,
                )
            )
