"""One update of a collection: documents out, documents in, then all at once or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError, DataError, Problem, StorageError
from sage.common.ids import content_id
from sage.common.records import Chunk, Document
from sage.common.registry import registry
from sage.common.suggestions import did_you_mean
from sage.libs.collection.catalogue import Catalogue, facts_of, passage_of
from sage.libs.collection.journal import VectorJournal
from sage.libs.collection.layout import Layout, Meta
from sage.libs.documents.chunker import CHUNK_TOKENS, DEFAULT_CHUNKER
from sage.libs.embedding.embedder import DEFAULT_MODEL
from sage.libs.embedding.weights import canonical
from sage.libs.lexical.bm25 import Bm25Index
from sage.libs.vectors.store import (
    VectorStore,
    checked_rows,
    default_store_kind,
    open_store,
    require_library,
)
from sage.libs.vectors.store_lock import LOCK_FILE

__all__ = ["CollectionWriter", "updating"]

# Chroma writes a thousand rows in one go ten times faster than one by one.
_ROWS_AT_ONCE: Final = 1000


class CollectionWriter:
    """What `Collection.update` gives: changes that count from `commit` on.

    Nothing is copied before the first change, so that an update without changes costs nothing.

    Attributes:
        name: The collection.
        model: The model that the vectors must come from.
        store: The kind of its vector store.
        chunker: Name of the chunker that documents are to be cut with.
        chunk_tokens: Most tokens in a chunk.
    """

    def __init__(
        self,
        layout: Layout,
        model: str | None,
        store: str | None,
        chunker: str | None = None,
        chunk_tokens: int | None = None,
    ) -> None:
        self.name = layout.name
        self._layout = layout
        self._base = layout.current()
        self._meta = layout.read_meta(self._base) if self._base is not None else None
        self.model = _agreed_model(layout.name, self._meta, model)
        self.store = _agreed_store(layout.name, self._meta, store)
        require_library(self.store)
        self.chunker = _agreed_chunker(self._meta, chunker)
        self.chunk_tokens = _agreed_chunk_tokens(self._meta, chunk_tokens)
        if self._meta is not None and self._meta.model != self.model:
            self._base = None  # it is empty, and nothing of it fits to the new model
        self.dim = self._meta.dim if self._meta is not None and self._base is not None else 0
        self._staged: Path | None = None
        self._catalogue: Catalogue | None = None
        self._vectors: VectorStore | None = None
        self._added: dict[str, tuple[npt.NDArray[np.float32], dict[str, Any]]] = {}
        self._removed: list[str] = []
        self._open = True

    def known(self) -> dict[str, str]:
        """Return the fingerprint of each document by source, changes so far included."""
        with self._failures():
            if self._catalogue is not None:
                return self._catalogue.known()
            return dict(self._known_before)

    def remove(self, source: str) -> bool:
        """Take a document and its chunks out; return whether it was there.

        Raises:
            StorageError: if it cannot be written; the old index still answers.
        """
        with self._failures():
            # Before the first change there is no copy yet, and it shall not be made for nothing.
            before = self._known_before if self._catalogue is None else self._catalogue
            if source not in before:
                return False
            self._take_out(self._changing(), source)
        return True

    def add(
        self,
        document: Document,
        fingerprint: str,
        chunks: Sequence[Chunk],
        vectors: npt.ArrayLike,
    ) -> None:
        """Put a document in, in place of an older version of it (the same ``source``).

        Args:
            document: Its ``source`` (or else ``doc_id``) is its identity.
            fingerprint: Tells this version from others, see `known`.
            chunks: Its pieces.
            vectors: float32 [len(chunks), dim], made by ``self.model``.

        Raises:
            DataError: if chunks and vectors do not fit together or into the collection; this
                document is not put in then, and the update can go on.
            StorageError: if it cannot be written; the old index still answers.
        """
        source = document.source or document.doc_id
        if not source:
            raise DataError("a document needs a source or a doc_id to be put into a collection")
        if source.encode("utf-8", "replace").decode("utf-8") != source:
            raise DataError(f"the source {source!r} is not valid UTF-8")
        by_id = {c.chunk_id or content_id(source, str(c.start), str(c.end)): c for c in chunks}
        if len(by_id) != len(chunks):
            raise DataError(f"two chunks of {source!r} have the same id", source=source)
        matrix = np.asarray(vectors, dtype=np.float32)
        if self.dim == 0 and matrix.ndim == 2 and len(matrix):
            self.dim = matrix.shape[1]
        matrix, _, _ = checked_rows(self.dim, list(by_id), matrix, None, None)
        with self._failures():
            catalogue = self._changing()
            rows = catalogue.rows_of(document, source, fingerprint, by_id)
            self._take_out(catalogue, source)
            catalogue.add(rows)
            for (chunk_id, chunk), vector in zip(by_id.items(), matrix, strict=True):
                facts = facts_of(passage_of(document, source, chunk_id, chunk))
                self._added[chunk_id] = (vector, dict(facts))
            if len(self._added) >= _ROWS_AT_ONCE:
                self._flush()

    def upsert(self, chunks: Sequence[Chunk], vectors: npt.ArrayLike) -> None:
        """Put chunks in one by one, for a stream of them; one of the same id is replaced.

        Unlike `add` it leaves the other chunks of a document where they are.

        Args:
            chunks: Each with a ``chunk_id``, and a ``source`` or ``doc_id``; no id twice.
            vectors: float32 [len(chunks), dim], made by ``self.model``.

        Raises:
            DataError: if they do not fit together or into the collection.
            StorageError: if they cannot be written; the old index still answers.
        """
        matrix = np.asarray(vectors, dtype=np.float32)
        if self.dim == 0 and matrix.ndim == 2 and len(matrix):
            self.dim = matrix.shape[1]
        matrix, _, _ = checked_rows(self.dim, [c.chunk_id for c in chunks], matrix, None, None)
        with self._failures():
            catalogue = self._changing()
            for chunk, vector in zip(chunks, matrix, strict=True):
                source = chunk.source or chunk.doc_id
                document = Document("", chunk.doc_id or content_id(source), source)
                catalogue.upsert(source, document.doc_id, chunk.chunk_id, chunk)
                document = dataclasses.replace(document, metadata=catalogue.described(source))
                facts = facts_of(passage_of(document, source, chunk.chunk_id, chunk))
                self._added[chunk.chunk_id] = (vector, facts)
            if len(self._added) >= _ROWS_AT_ONCE:
                self._flush()

    def recall(self, texts: Sequence[str]) -> list[npt.NDArray[np.float32] | None]:
        """Return for each text the vector that a killed update made of it, or None."""
        return self._journal.recall(texts)

    def remember(self, texts: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        """Write down what was embedded, so that nobody has to do it again if this one is killed.

        May be called while another thread adds documents.
        """
        self._journal.remember(texts, vectors)

    def commit(self) -> bool:
        """Make all changes count; return whether there were any.

        Raises:
            StorageError: if they cannot be written; the old index still answers.
        """
        if self._staged is None and self._base is not None:
            self._open = False
            return False
        with self._failures():
            catalogue = self._changing()
            self._flush()
            if self._vectors is not None:
                self._vectors.close()
            catalogue.save()
            documents, chunks = catalogue.counts()
            words = Bm25Index(*catalogue.texts())
            catalogue.close()
            assert self._staged is not None
            words.save(self._staged / "words")
            meta = Meta(
                model=self.model,
                dim=self.dim,
                store=self.store,
                documents=documents,
                chunks=chunks,
                updated_s=time.time(),
                chunker=self.chunker,
                chunk_tokens=self.chunk_tokens,
            )
            self._layout.publish(self._staged, meta)
            self._journal.remove()
        self._open = False
        return True

    def abandon(self) -> None:
        """Drop all changes that were not committed and let go of the files."""
        self._open = False
        if (journal := vars(self).get("_journal")) is not None:
            journal.close()
        for part in (self._vectors, self._catalogue):
            # The files are thrown away: that they cannot be written (a full disk) is no matter.
            with contextlib.suppress(StorageError, OSError, sqlite3.Error):
                if part is not None:
                    part.close()
        if self._staged is not None:
            shutil.rmtree(self._staged, ignore_errors=True)

    @functools.cached_property
    def _journal(self) -> VectorJournal:
        # Not before it is needed: reading cuts off a torn end, which is for whoever has the lock.
        return VectorJournal(self._layout.root / "EMBEDDED", self.model)

    @functools.cached_property
    def _known_before(self) -> dict[str, str]:
        """What the collection held before the first change."""
        if self._base is None:
            return {}
        catalogue = Catalogue(self._base / "catalogue.sqlite", read_only=True)
        with contextlib.closing(catalogue):
            return catalogue.known()

    def _changing(self) -> Catalogue:
        """Return the catalogue of the staged copy, which is made at the first change."""
        if not self._open:
            raise StorageError(f"this update of the collection {self.name!r} has ended")
        if self._catalogue is None:
            self._staged = self._layout.stage()
            if self._base is not None:
                _copy(self._base, self._staged, self.store)
            self._catalogue = Catalogue(self._staged / "catalogue.sqlite", read_only=False)
        return self._catalogue

    def _take_out(self, catalogue: Catalogue, source: str) -> None:
        gone = catalogue.remove(source)
        for chunk_id in gone:
            self._added.pop(chunk_id, None)
        self._removed.extend(gone)

    def _flush(self) -> None:
        """Bring the vector store up to date with the catalogue: first out, then in."""
        if not (self._added or self._removed):
            return
        if self._vectors is None:
            assert self._staged is not None
            self._vectors = open_store(self.store, self._staged / "vectors", dim=self.dim)
        if self._removed:
            self._vectors.delete(list(dict.fromkeys(self._removed)))
        if self._added:
            matrix = np.stack([vector for vector, _ in self._added.values()])
            facts = [facts for _, facts in self._added.values()]
            self._vectors.upsert(list(self._added), matrix, facts)
        self._added, self._removed = {}, []

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Say for each failure of the disk which collection it struck, and that the old one is."""
        try:
            yield
        except (OSError, sqlite3.Error, StorageError) as error:
            if isinstance(error, StorageError) and "collection" in error.fields:
                raise
            reason = getattr(error, "strerror", None) or getattr(error, "message", None) or error
            raise StorageError(
                f"cannot update the collection {self.name!r}: {reason}",
                hint="nothing is lost: the collection answers as it did before; "
                "make room on the disk and run it again",
                collection=self.name,
                path=str(self._layout.root),
            ) from error


@contextlib.contextmanager
def updating(
    name: str,
    *,
    model: str | None = None,
    store: str | None = None,
    chunker: str | None = None,
    chunk_tokens: int | None = None,
    home: str | os.PathLike[str] | None = None,
) -> Iterator[CollectionWriter]:
    """Lock a collection and give its writer; see `Collection.update`."""
    layout = Layout(name, home)
    with layout.locked():
        try:
            writer = CollectionWriter(layout, model, store, chunker, chunk_tokens)
        except FileNotFoundError as error:
            raise layout.damaged(f"{error.filename} is missing") from error
        try:
            yield writer
        finally:
            writer.abandon()


def _agreed_model(name: str, meta: Meta | None, asked: str | None) -> str:
    if meta is None:
        return canonical(asked or DEFAULT_MODEL)
    if asked is not None and canonical(asked) != meta.model and meta.chunks:
        raise ConfigError(
            f"collection {name!r}",
            [Problem("$.model", f"was made with {meta.model!r}, not with {canonical(asked)!r}")],
            hint="vectors of two models cannot be compared: use another --collection",
        )
    return meta.model if meta.chunks or asked is None else canonical(asked)


def _agreed_store(name: str, meta: Meta | None, asked: str | None) -> str:
    kinds = registry("vector_stores")
    if asked is not None and asked not in kinds:
        message = f"unknown kind {asked!r}{did_you_mean(asked, kinds.names())}"
        raise ConfigError(f"collection {name!r}", [Problem("$.store", message)])
    if meta is None:
        return asked or default_store_kind()
    if asked is not None and asked != meta.store:
        raise ConfigError(
            f"collection {name!r}",
            [Problem("$.store", f"has a {meta.store!r} store, not a {asked!r} one")],
            hint="use another --collection",
        )
    return meta.store


def _agreed_chunker(meta: Meta | None, asked: str | None) -> str:
    if asked is None:
        return (meta.chunker if meta is not None else "") or DEFAULT_CHUNKER
    registry("chunkers").get(asked)  # raises, with the names there are
    return asked


def _agreed_chunk_tokens(meta: Meta | None, asked: int | None) -> int:
    if asked is None:
        return (meta.chunk_tokens if meta is not None else 0) or CHUNK_TOKENS
    if not isinstance(asked, int) or asked < 1:
        message = f"must be a whole number, at least 1, got {asked!r}"
        raise ConfigError("collection", [Problem("$.chunk_tokens", message)])
    return asked


def _copy(base: Path, staged: Path, store: str) -> None:
    """Copy a generation into the staging directory, linking the files that are never changed."""
    _copy_database(base / "catalogue.sqlite", staged / "catalogue.sqlite")
    for path in (base / "vectors").rglob("*"):
        target = staged / path.relative_to(base)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        if path.name == LOCK_FILE:  # each store has its own
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if store in ("faiss", "numpy"):  # their files are replaced, never written into
            _link(path, target)
        elif path.suffix == ".sqlite3":
            _copy_database(path, target)
        else:
            shutil.copy2(path, target)


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # a file system without hard links
        shutil.copy2(path, target)


def _copy_database(path: Path, target: Path) -> None:
    """Copy an SQLite file as of one moment, even if a reader of it is open."""
    with (
        contextlib.closing(sqlite3.connect(path)) as original,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        original.backup(copy)
