"""The functions of the indexing pipeline behind loading: cut, embed, write.

Records on the stream, one after the other::

    FoundFile → Loaded → Piece → Embedded
              ↘ FailedDocument, from whichever stage failed, down to the sink

A document that cannot be indexed does not stop the run and is not dropped: it becomes a
`FailedDocument`, passes the later stages untouched and is counted by the sink. What concerns the
whole run (a full disk, missing weights) is raised and fails the job.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from sage.common.errors import DataError
from sage.common.records import Chunk, Document
from sage.middleware.indexing.changes import FoundFile
from sage.middleware.indexing.loading import Loaded, failed
from sage.middleware.indexing.memory import BatchSize
from sage.middleware.indexing.progress import ProgressMeter
from sage.middleware.indexing.report import FailedDocument

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "CollectionWriter",
    "CutDocument",
    "DocumentAssembler",
    "EmbedPieces",
    "Embedded",
    "Piece",
    "StageClock",
    "VectorMemory",
]

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class CollectionWriter(Protocol):
    """What the sink needs of the writer that ``Collection.update`` gives."""

    def add(
        self,
        document: Document,
        fingerprint: str,
        chunks: Sequence[Chunk],
        vectors: NDArray[np.float32],
    ) -> None:
        """Put a document in, in place of an older version of it."""


class VectorMemory(Protocol):
    """What the embedding stage needs of the writer: the vectors of a run that was killed."""

    def recall(self, texts: Sequence[str]) -> list[NDArray[np.float32] | None]:
        """Return for each text its vector, or None."""

    def remember(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Keep vectors for the next run, should this one be killed."""


class _Embedder(Protocol):
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class _Chunker(Protocol):
    def chunk(self, document: Document) -> list[Chunk]: ...


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk of a document, and how many the document has, so that it can be reassembled."""

    file: FoundFile
    document: Document
    chunk: Chunk
    number: int
    total: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """A piece with its vector (float32 [dim])."""

    piece: Piece
    vector: NDArray[np.float32]


class CutDocument:
    """Cuts a document into pieces that the embedder can take whole.

    Args:
        load: Gives the chunker; called at the first document.
    """

    def __init__(self, load: Callable[[], _Chunker]) -> None:
        self._load = load

    @functools.cached_property
    def _chunker(self) -> _Chunker:
        return self._load()

    def __call__(self, record: Loaded | FailedDocument) -> list[Piece | FailedDocument]:
        """Cut one document; one without any text is a failure, not silence."""
        if isinstance(record, FailedDocument):
            return [record]
        chunker = self._chunker
        try:
            chunks = chunker.chunk(record.document)
        except Exception as error:
            # The task boundary of one document: the failure is a record, counted and shown.
            return [failed(record.file, error)]
        if not chunks:
            return [failed(record.file, DataError("there is no text in it"))]
        return [
            Piece(record.file, record.document, chunk, number, len(chunks))
            for number, chunk in enumerate(chunks)
        ]


class EmbedPieces:
    """Embeds a batch of pieces; the embedder's own batching sorts them by length.

    What an earlier run embedded before it was killed is not embedded again.

    Args:
        load: Gives the embedder; called at the first batch, so that a run with nothing to embed
            does not load weights.
        memory: What was embedded already.
        sizes: How much to embed at once.
        meter: Told of each batch.

    Attributes:
        recalled: How many pieces were not embedded, because an earlier run had done it.
    """

    def __init__(
        self,
        load: Callable[[], _Embedder],
        memory: VectorMemory,
        sizes: BatchSize,
        meter: ProgressMeter,
    ) -> None:
        self._load = load
        self._memory = memory
        self._sizes = sizes
        self._meter = meter
        self.recalled = 0

    @functools.cached_property
    def _embedder(self) -> _Embedder:
        return self._load()

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text the model reads; None if nobody knows, or nobody asked it."""
        loaded = vars(self).get("_embedder")
        return getattr(loaded, "max_tokens", None)

    def __call__(self, batch: Sequence[Piece | FailedDocument]) -> list[Embedded | FailedDocument]:
        """Return the batch with vectors, in the same order; failures pass."""
        pieces = [record for record in batch if isinstance(record, Piece)]
        if not pieces:
            return [record for record in batch if isinstance(record, FailedDocument)]
        vectors = iter(self._vectors([piece.chunk.text for piece in pieces]))
        self._meter.advance(len(pieces), sum(p.file.size_bytes / p.total for p in pieces))
        return [
            record if isinstance(record, FailedDocument) else Embedded(record, next(vectors))
            for record in batch
        ]

    def _vectors(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        known = self._memory.recall(texts)
        missing = [row for row, vector in enumerate(known) if vector is None]
        self.recalled += len(texts) - len(missing)
        for rows, made in self._sizes.run(missing, lambda rows: self._embedded(texts, rows)):
            for row, vector in zip(rows, made, strict=True):
                known[row] = vector
        return [vector for vector in known if vector is not None]

    def _embedded(self, texts: Sequence[str], rows: Sequence[int]) -> NDArray[np.float32]:
        asked = [texts[row] for row in rows]
        vectors = self._embedder.embed(asked)
        self._memory.remember(asked, vectors)
        return vectors


class StageClock:
    """Adds up the time spent in each stage.

    Stages work at the same time, so that together they may have more than the run took; a document
    or a batch at a time, asking the clock costs nothing that shows.
    """

    def __init__(self) -> None:
        self.elapsed_s: dict[str, float] = {}

    def count(self, stage: str, seconds: float) -> None:
        """Add to the time of a stage."""
        self.elapsed_s[stage] = self.elapsed_s.get(stage, 0.0) + seconds

    def timed(self, stage: str, function: Callable[[_In], _Out]) -> Callable[[_In], _Out]:
        """Return ``function``, its time counted for ``stage``."""
        self.elapsed_s[stage] = 0.0

        def call(record: _In) -> _Out:
            started = time.perf_counter()
            try:
                return function(record)
            finally:
                self.count(stage, time.perf_counter() - started)

        return call


class DocumentAssembler:
    """The end of the pipeline: puts pieces together and writes each document once it is whole.

    A document is written in one go or not at all, so that the index never holds half of one.
    Pieces may come in any order.

    Args:
        writer: Where documents go.
        files: What is on its way.
        meter: Told of each document that came to its end.
    """

    def __init__(
        self, writer: CollectionWriter, files: Sequence[FoundFile], meter: ProgressMeter
    ) -> None:
        self._writer = writer
        self._meter = meter
        self._sizes = {file.source: file.size_bytes for file in files}
        self._partial: dict[str, list[Embedded]] = {}
        self.written: list[FoundFile] = []
        self.failed: list[FailedDocument] = []
        self.chunks = 0

    def __call__(self, record: Embedded | FailedDocument) -> None:
        """Take one record of the stream."""
        if isinstance(record, FailedDocument):
            self.failed.append(record)
            self._meter.end_document(skipped_bytes=self._sizes.get(record.source, 0))
            return
        source, total = record.piece.file.source, record.piece.total
        pieces = self._partial.setdefault(source, [])
        pieces.append(record)
        if len(pieces) == total:
            del self._partial[source]
            self._write(sorted(pieces, key=lambda embedded: embedded.piece.number))
            self._meter.end_document()

    def _write(self, pieces: list[Embedded]) -> None:
        import numpy as np

        first = pieces[0].piece
        vectors = np.stack([embedded.vector for embedded in pieces])
        chunks = [embedded.piece.chunk for embedded in pieces]
        try:
            self._writer.add(first.document, first.file.fingerprint, chunks, vectors)
        except DataError as error:  # of this document; a full disk is a StorageError
            self.failed.append(failed(first.file, error))
            return
        self.written.append(first.file)
        self.chunks += len(chunks)

    @property
    def pending(self) -> int:
        """How many documents have not come to their end; zero after a whole run."""
        return len(self._sizes) - len(self.written) - len(self.failed)

    @property
    def unfinished(self) -> list[str]:
        """Sources of which some pieces, but not all, have come; empty after a whole run."""
        return sorted(self._partial)
