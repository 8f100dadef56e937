"""`VectorSink`: the rows of a stream, each once in a vector store however often it comes.

Invariant: what came before the last `flush` is in the files. The engine flushes a sink before a
checkpoint counts; whatever is lost behind it is written again, over what may be there already.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from sage.common.config import Meta, configurable
from sage.common.core.functions import SinkFunction
from sage.common.errors import ConfigError, DataError, Problem
from sage.libs.vectors.store import VectorStore, default_store_kind, open_store, require_library

__all__ = ["VectorSink"]

_FIELDS = ("id", "vector", "metadata", "text")


@configurable
class VectorSink(SinkFunction[Mapping[str, Any]]):
    """Puts rows into a vector store; a row replaces the one of the same id, whole.

    A record is a mapping with ``id`` (text), ``vector`` (numbers) and, if wanted, ``metadata`` (a
    flat mapping) and ``text``. Writing a record again changes nothing, so that with checkpoints
    the store holds, after any failure and restart, what it would hold without: effectively once.

    Rows are written in batches, at each checkpoint and at the end. FAISS and numpy write the whole
    store then; with many rows choose Chroma, or few checkpoints.

    Args:
        path: Directory of the store.
        dim: Length of the vectors.
        store: The kind: ``chroma``, ``faiss`` or ``numpy``; by default Chroma where it is
            installed, else FAISS.
        batch_rows: How many rows are put in at a time.

    Raises:
        DataError: if a record is no such row, or does not fit into the store.
        StorageError: if the store cannot be opened or written.
        ConfigError: from ``open`` at a parallelism above 1: a store has one writer.
        MissingExtraError: from ``open`` if the library of the store is not installed.

    Example:
        >>> import tempfile
        >>> from sage.libs.vectors import open_store
        >>> path = tempfile.mkdtemp()
        >>> sink = VectorSink(path, dim=2, store="faiss")
        >>> for text in ("first", "second"):
        ...     sink.write({"id": "a", "vector": [1, 0], "text": text})
        >>> sink.close()
        >>> [hit.text for hit in open_store("faiss", path, dim=2).search([1, 0], top_k=5)[0]]
        ['second']
    """

    idempotent = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        dim: Annotated[int, Meta(ge=1)],
        store: str | None = None,
        batch_rows: Annotated[int, Meta(ge=1)] = 1000,
    ) -> None:
        self.path = os.fspath(path)
        self.dim = dim
        self.store = store
        self.batch_rows = batch_rows
        self._rows: dict[str, Mapping[str, Any]] = {}  # the last one of each id
        self._opened: VectorStore | None = None

    def open(self, context: Any) -> None:
        """Open the store.

        Raises:
            ConfigError: at a parallelism above 1.
            StorageError: if what is at the path cannot be read.
        """
        parallelism = getattr(context, "parallelism", 1)
        if parallelism > 1:
            problem = Problem(
                "$.parallelism", f"one store cannot be written by {parallelism} subtasks"
            )
            raise ConfigError("VectorSink", [problem], hint="give the sink parallelism=1")
        self._store()

    def write(self, record: Mapping[str, Any]) -> None:
        """Take one row.

        Raises:
            DataError: if it is none.
            StorageError: if a batch is full and cannot be written.
        """
        if not isinstance(record, Mapping) or not {"id", "vector"} <= set(record) <= set(_FIELDS):
            raise DataError(
                f"a row is a mapping with 'id' and 'vector', and may have 'metadata' and 'text'; "
                f"got {type(record).__name__}: {record!r:.100}",
                hint="map it to such a row before the sink",
            )
        if not isinstance(record["id"], str):
            raise DataError(f"the id of a row is text, got {record['id']!r:.100}")
        self._rows[record["id"]] = record
        if len(self._rows) >= self.batch_rows:
            self._put()

    def flush(self) -> None:
        """Make what was written durable.

        Raises:
            StorageError: if the store cannot be written.
        """
        self._put()
        self._store().flush()

    def close(self) -> None:
        """Let go of the store. Outside a job, where nobody else does it, flush it first."""
        if self._opened is None and not self._rows:
            return
        if self.context is None:
            self.flush()
        if self._opened is not None:
            self._opened.close()
        self._opened, self._rows = None, {}

    def _store(self) -> VectorStore:
        if self._opened is None:
            kind = self.store or default_store_kind()
            require_library(kind)
            self._opened = open_store(kind, Path(self.path).expanduser(), dim=self.dim)
        return self._opened

    def _put(self) -> None:
        rows, self._rows = list(self._rows.values()), {}
        if rows:
            self._store().upsert(
                [row["id"] for row in rows],
                [row["vector"] for row in rows],
                [row.get("metadata") or {} for row in rows],
                [row.get("text") or "" for row in rows],
            )
