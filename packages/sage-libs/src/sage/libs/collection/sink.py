"""`CollectionSink`: the chunks of a stream, each once in a collection however often it comes.

Chunks wait in a spool, in memory and then in a temporary file, until a flush puts all of them into
the collection in one update. Invariant: what came before the last `flush` answers, what came after
it does not yet; so a sink never keeps the collection locked while it waits for records, and any
number of subtasks and processes can write to one collection, one update after the other.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, Any, Final

import msgspec

from sage.common.config import Meta, configurable
from sage.common.core.functions import SinkFunction
from sage.common.errors import DataError, StorageError
from sage.common.ids import content_id
from sage.common.records import Chunk, EmbeddedChunk, Passage
from sage.libs.collection.catalogue import facts_of
from sage.libs.collection.layout import Layout
from sage.libs.collection.reader import Collection
from sage.libs.collection.writer import CollectionWriter
from sage.libs.vectors.store import checked_rows

__all__ = ["CollectionSink"]

_IN_MEMORY_BYTES: Final = 32 * 1024 * 1024
_ROWS_AT_ONCE: Final = 1000
_LOOK_AGAIN_S: Final = 0.05
_IDS: Final = ("chunk_id", "doc_id")


class _Row(msgspec.Struct, array_like=True):
    """A chunk as the spool has it: one line of MessagePack."""

    text: str
    chunk_id: str
    doc_id: str
    start: int
    end: int
    source: str
    metadata: dict[str, Any]
    vector: bytes

    def chunk(self) -> Chunk:
        return Chunk(
            self.text,
            self.chunk_id,
            self.doc_id,
            self.start,
            self.end,
            self.source,
            self.metadata,
        )


@configurable
class CollectionSink(SinkFunction[EmbeddedChunk | Mapping[str, Any]]):
    """Puts embedded chunks into a collection, where the retrievers find them.

    A chunk replaces the one of the same ``chunk_id``; one without an id gets it from its document
    and text. Writing a record again changes nothing, so that with checkpoints the collection holds,
    after any failure and restart, what it would hold without: effectively once. Chunks that a later
    run does not have any more stay: for a directory that changes there is ``sage index``.

    Rows are put in at each checkpoint and at the end of the input, each time in one update: it
    copies the collection's files and builds its word index again, about a second for 10,000
    chunks. With a large collection choose few checkpoints.

    Args:
        collection: Its name; it is made if it does not exist.
        store: The kind of vector store of a new collection; by default Chroma where it is
            installed, else FAISS.
        model: The model of vectors in records that do not name it.
        home: SAGE's home directory, instead of ``$SAGE_HOME``.
        lock_timeout_s: Longest wait for another subtask's or process's update of the collection.

    Raises:
        DataError: if a record is no embedded chunk.
        ConfigError: from ``open`` or the first record, if the collection has another store or
            model.
        StorageError: from ``flush``, if the collection cannot be written.
        MissingExtraError: from ``open`` if the library of the store is not installed.

    Example:
        >>> import tempfile
        >>> from sage.libs.embedding import load_embedder
        >>> home, embedder = tempfile.mkdtemp(), load_embedder("mock:32")
        >>> sink = CollectionSink("notes", store="numpy", model="mock:32", home=home)
        >>> for text in ("Water boils.", "Iron rusts.", "Iron rusts."):
        ...     sink.write({"text": text, "vector": embedder.embed([text])[0]})
        >>> sink.close()
        >>> with Collection.open("notes", home) as notes:
        ...     notes.stats().chunks, [p.text for p in notes.lexical("rust", 5)]
        (2, ['Iron rusts.'])
    """

    idempotent = True

    def __init__(
        self,
        collection: str = "default",
        *,
        store: str | None = None,
        model: str | None = None,
        home: str | os.PathLike[str] | None = None,
        lock_timeout_s: Annotated[float, Meta(ge=0)] = 600.0,
    ) -> None:
        self.collection = collection
        self.store = store
        self.model = model
        self.home = home
        self.lock_timeout_s = lock_timeout_s
        self._spool: Any = None
        self._vectors_of: tuple[str, int] | None = None  # model and dimension, of the first row

    def open(self, context: Any) -> None:
        """Refuse a collection that cannot be written as it was asked for, before any record."""
        self._check(self.model)

    def write(self, record: EmbeddedChunk | Mapping[str, Any]) -> None:
        """Take one chunk.

        Raises:
            DataError: if it is none, or its vector is of another model or dimension than the first.
        """
        chunk = self._checked(record)
        line = _line(chunk, self._vector(chunk))
        if self._spool is None:
            self._spool = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115
        self._spool.write(len(line).to_bytes(8, "little") + line)

    def flush(self) -> None:
        """Put what was written into the collection; from then on it is found.

        Raises:
            StorageError: if it cannot be written, or somebody else's update takes longer than
                ``lock_timeout_s``.
        """
        if self._spool is None:
            return
        assert self._vectors_of is not None
        import numpy as np

        model, dim = self._vectors_of
        with self._update(model) as writer:
            rows = self._rows()
            while part := {row.chunk_id: row for row in islice(rows, _ROWS_AT_ONCE)}:
                matrix = np.frombuffer(b"".join(r.vector for r in part.values()), dtype=np.float32)
                writer.upsert([r.chunk() for r in part.values()], matrix.reshape(-1, dim))
            writer.commit()
        self._forget()

    def close(self) -> None:
        """Let go of the spool. Outside a job, where nobody else does it, flush it first."""
        if self.context is None:
            self.flush()
        self._forget()

    def _forget(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _rows(self) -> Iterator[_Row]:
        self._spool.seek(0)
        while head := self._spool.read(8):
            line = self._spool.read(int.from_bytes(head, "little"))
            yield msgspec.msgpack.decode(line, type=_Row)

    def _checked(self, record: EmbeddedChunk | Mapping[str, Any]) -> EmbeddedChunk:
        if isinstance(record, EmbeddedChunk):
            chunk = record
        elif isinstance(record, Mapping) and {"text", "vector"} <= record.keys():
            chunk = _of_mapping(record)
        else:
            raise DataError(
                f"{type(self).__name__} expected an embedded chunk, or a mapping with 'text' and "
                f"'vector', got {type(record).__name__}: {record!r:.100}",
                hint="put EmbeddingOperator before it",
            )
        doc_id = chunk.doc_id or chunk.source or content_id(chunk.text)
        chunk_id = chunk.chunk_id or content_id(doc_id, chunk.text)
        facts = {"chunk_id": chunk_id, "doc_id": doc_id, "model": chunk.model or self.model or ""}
        return EmbeddedChunk(**{**chunk, **facts})

    def _vector(self, chunk: EmbeddedChunk) -> bytes:
        import numpy as np

        try:
            vector = np.asarray(chunk.vector, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"the vector of {chunk.chunk_id!r} is no numbers: {error}") from error
        if vector.ndim != 1 or not np.isfinite(vector).all() or not vector.any():
            raise DataError(f"the vector of {chunk.chunk_id!r} is empty, zero or not finite")
        if not chunk.model:
            raise DataError(
                f"the record {chunk.chunk_id!r} does not say which model made its vector",
                hint=f"{type(self).__name__}(..., model=...)",
            )
        made_by = (chunk.model, len(vector))
        if self._vectors_of is None:
            self._check(*made_by)
            self._vectors_of = made_by
        if self._vectors_of != made_by:
            raise DataError(
                f"the vector of {chunk.chunk_id!r} is of {made_by[0]!r} with {made_by[1]} "
                f"dimensions, the first one was of {self._vectors_of[0]!r} with "
                f"{self._vectors_of[1]}; vectors of two models cannot be compared",
                hint="write them to two collections",
            )
        return vector.tobytes()

    def _check(self, model: str | None, dim: int = 0) -> None:
        # A writer that changes nothing only reads: what it would refuse later it refuses now.
        writer = CollectionWriter(Layout(self.collection, self.home), model, self.store)
        writer.abandon()
        if dim and writer.dim and dim != writer.dim:
            raise DataError(
                f"the collection {self.collection!r} holds vectors of {writer.dim} dimensions, "
                f"got one of {dim}",
                collection=self.collection,
            )

    @contextlib.contextmanager
    def _update(self, model: str) -> Iterator[CollectionWriter]:
        """Update the collection, when whoever else does so has finished."""
        deadline, told = time.monotonic() + self.lock_timeout_s, False
        with contextlib.ExitStack() as held:
            while True:
                update = Collection.update(
                    self.collection, model=model, store=self.store, home=self.home
                )
                try:
                    writer = held.enter_context(update)
                    break
                except StorageError as error:
                    if "pid" not in error.fields or time.monotonic() >= deadline:
                        raise
                    if not told:
                        self.logger.info("waits: %s", error.message)
                        told = True
                time.sleep(_LOOK_AGAIN_S)
            yield writer


def _line(chunk: EmbeddedChunk, vector: bytes) -> bytes:
    """Return a chunk as the spool has it.

    A flush is for all records: one that it could not put in is refused here, alone.
    """
    row = _Row(
        chunk.text,
        chunk.chunk_id,
        chunk.doc_id,
        chunk.start,
        chunk.end,
        chunk.source,
        dict(chunk.metadata),
        vector,
    )
    try:
        line = msgspec.msgpack.encode(row)
        read = msgspec.msgpack.decode(line, type=_Row).chunk()
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise DataError(f"cannot store the chunk {chunk.chunk_id!r}: {error}") from error
    facts = facts_of(Passage.of(read))
    checked_rows(1, [read.chunk_id], [[1.0]], [facts], [read.text])
    return line


def _of_mapping(record: Mapping[str, Any]) -> EmbeddedChunk:
    """Return a mapping as an embedded chunk; keys that are none of its fields become metadata."""
    if not isinstance(record["text"], str):
        raise DataError(f"expected text as 'text', got {record['text']!r:.100}")
    if "id" in record:
        record = {"chunk_id": record["id"], **{n: v for n, v in record.items() if n != "id"}}
    own = EmbeddedChunk("").keys()
    # Ids of a database are often numbers.
    given: dict[str, Any] = {n: str(v) if n in _IDS else v for n, v in record.items() if n in own}
    extra = {name: value for name, value in record.items() if name not in own}
    metadata = given.get("metadata", {})
    if not isinstance(metadata, Mapping):
        raise DataError(f"expected a mapping as 'metadata', got {metadata!r:.100}")
    given["metadata"] = {**metadata, **extra}
    return EmbeddedChunk(**given)
