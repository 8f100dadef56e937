"""Opens a collection and searches it by meaning and by words."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sage.common.errors import ConfigError, Problem, StorageError
from sage.common.records import Passage
from sage.libs.collection.catalogue import Catalogue, Facts
from sage.libs.collection.layout import Layout, Meta, collection_names, hold
from sage.libs.embedding.weights import canonical
from sage.libs.vectors.filters import matches, parse_filter

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sage.libs.collection.writer import CollectionWriter
    from sage.libs.lexical.bm25 import Bm25Index
    from sage.libs.vectors.store import VectorStore

__all__ = ["Collection", "CollectionStats"]

_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class CollectionStats:
    """What a collection holds.

    Attributes:
        name: Its name.
        documents: How many documents.
        chunks: How many chunks.
        model: The model of its vectors.
        dim: Length of the vectors.
        store: Kind of its vector store.
        index: Kind of the index in it: ``flat``, ``ivf`` or ``hnsw``; "" while it is empty.
        generation: The generation that is read, such as ``gen-0007``.
        updated_s: When that was made, in seconds since the epoch.
        size_bytes: What it takes on the disk.
        path: Its directory.
    """

    name: str
    documents: int
    chunks: int
    model: str
    dim: int
    store: str
    index: str
    generation: str
    updated_s: float
    size_bytes: int
    path: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict, ready for JSON."""
        return dataclasses.asdict(self)


class Collection:
    """One generation of a collection, open for searching.

    It goes on answering from the generation it was opened with while another one is committed;
    open it again to see that. Safe to use from several threads; copies and pickles open the
    collection again.

    Example::

        with Collection.open("manuals") as collection:
            for passage in collection.lexical("boiling point", top_k=3):
                print(passage.place, passage.score)
    """

    def __init__(self, layout: Layout, generation: Path, meta: Meta, held: Any) -> None:
        self.name = layout.name
        self.model = meta.model
        self.dim = meta.dim
        self._layout, self._generation, self._meta, self._held = layout, generation, meta, held
        self._lock = threading.Lock()
        self._vectors: VectorStore | None = None
        self._words: Bm25Index | None = None
        self._facts: list[Facts] | None = None
        with self._failures():
            self._catalogue = Catalogue(generation / "catalogue.sqlite", read_only=True)

    @classmethod
    def open(
        cls,
        name: str,
        home: str | os.PathLike[str] | None = None,
        *,
        model: str | None = None,
    ) -> Collection:
        """Open a collection as it is now.

        Args:
            name: Its name.
            home: SAGE's home directory, instead of ``$SAGE_HOME``.
            model: The model that queries will be embedded with, to have it checked.

        Raises:
            DataError: if there is no such collection; it lists those there are.
            ConfigError: if its vectors come from another model.
            StorageError: if its files are damaged or of another version's format.
        """
        layout = Layout(name, home)
        generation, meta, held = _current(layout)
        if model is not None and meta.chunks and canonical(model) != meta.model:
            held.close()
            raise ConfigError(
                f"collection {name!r}",
                [Problem("$.model", f"was made with {meta.model!r}, asked with {model!r}")],
                hint=f"ask with model={meta.model!r}, or index again into another collection",
            )
        return cls(layout, generation, meta, held)

    @classmethod
    def update(
        cls,
        name: str,
        *,
        model: str | None = None,
        store: str | None = None,
        chunker: str | None = None,
        chunk_tokens: int | None = None,
        home: str | os.PathLike[str] | None = None,
    ) -> AbstractContextManager[CollectionWriter]:
        """Update a collection, or make it: a context manager that gives a `CollectionWriter`.

        Leaving the block without ``commit()``, by an error or not, changes nothing.

        Args:
            name: Letters, digits, ``.``, ``_`` and ``-``.
            model: The embedding model; by default the collection's own, or the packaged one.
            store: ``chroma``, ``faiss`` or ``numpy``; by default the collection's own, or Chroma
                where it is installed, else FAISS.
            chunker: Name of the chunker that whoever adds documents is to cut them with; by default
                the collection's own, or the one for the kind of document.
            chunk_tokens: Most tokens in a chunk; by default the collection's own.
            home: SAGE's home directory, instead of ``$SAGE_HOME``.

        Raises:
            ConfigError: on entering, if the name is not valid, or the collection has another model
                or store.
            UnknownNameError: on entering, if there is no such chunker.
            StorageError: on entering, if another process updates it; from the writer's methods, if
                something cannot be written.
        """
        from sage.libs.collection.writer import updating

        return updating(
            name,
            model=model,
            store=store,
            chunker=chunker,
            chunk_tokens=chunk_tokens,
            home=home,
        )

    @property
    def index_kind(self) -> str:
        """The index that `dense` searches: ``flat``, ``ivf`` or ``hnsw``; "" if there is none."""
        if not self._meta.chunks:
            return ""
        from sage.libs.vectors.store import saved_index_kind

        return saved_index_kind(self._meta.store, self._generation / "vectors") or ""

    @staticmethod
    def names(home: str | os.PathLike[str] | None = None) -> list[str]:
        """Return the names of all collections, sorted."""
        return collection_names(home)

    def stats(self) -> CollectionStats:
        """Return what the collection holds."""
        files = [path for path in self._generation.rglob("*") if path.is_file()]
        return CollectionStats(
            name=self.name,
            documents=self._meta.documents,
            chunks=self._meta.chunks,
            model=self.model,
            dim=self.dim,
            store=self._meta.store,
            index=self.index_kind,
            generation=self._generation.name,
            updated_s=self._meta.updated_s,
            size_bytes=sum(path.stat().st_size for path in files),
            path=str(self._layout.root),
        )

    def sources(self) -> list[str]:
        """Return the sources of all documents, sorted."""
        with self._failures(), self._lock:
            return list(self._catalogue.known())

    def dense(
        self,
        vector: npt.ArrayLike | npt.NDArray[np.float32],
        top_k: int,
        where: Mapping[str, Any] | None = None,
    ) -> list[Passage]:
        """Return the passages whose vectors are nearest, best first, with the cosine as score.

        Args:
            vector: float32 [dim], made by ``self.model``.
            top_k: At most so many.
            where: A filter on ``doc_id``, ``source``, ``start``, ``end`` and scalar metadata, see
                `sage.libs.vectors.filters`.

        Raises:
            ConfigError: if the filter or ``top_k`` is not valid.
            DataError: if the vector has another dimension.
        """
        if not self._meta.chunks:
            parse_filter(where)
            return []
        (hits,) = self._store().search(vector, top_k, where)
        return self._scored([(hit.id, hit.score) for hit in hits])

    def lexical(
        self, text: str, top_k: int, where: Mapping[str, Any] | None = None
    ) -> list[Passage]:
        """Return the passages that share words with the text, best first, with BM25 as score.

        Args:
            text: The query.
            top_k: At most so many.
            where: A filter, as for `dense`.

        Raises:
            ConfigError: if the filter or ``top_k`` is not valid.
        """
        condition = parse_filter(where)
        words = self._word_index()
        if condition is None:
            return self._scored(words.search(text, top_k))
        import numpy as np

        allowed = np.fromiter((matches(condition, f) for f in self._all_facts()), dtype=np.bool_)
        return self._scored(words.search(text, top_k, allowed=allowed))

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """Return the passages of these ids in this order; ids that are not there are left out."""
        with self._failures(), self._lock:
            found = self._catalogue.passages(ids)
        return [found[i] for i in ids if i in found]

    def close(self) -> None:
        """Let go of the files; may be called again."""
        self._catalogue.close()
        if self._vectors is not None:
            self._vectors.close()
        self._held.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return Collection.open, (self.name, self._layout.home)

    def _scored(self, scores: Sequence[tuple[str, float]]) -> list[Passage]:
        with self._failures(), self._lock:
            found = self._catalogue.passages([i for i, _ in scores])
        return [dataclasses.replace(found[i], score=score) for i, score in scores if i in found]

    def _store(self) -> VectorStore:
        with self._lock:
            if self._vectors is None:
                from sage.libs.vectors.store import open_store

                self._vectors = open_store(
                    self._meta.store, self._generation / "vectors", dim=self.dim
                )
            return self._vectors

    def _word_index(self) -> Bm25Index:
        with self._lock:
            if self._words is None:
                from sage.libs.lexical.bm25 import Bm25Index

                self._words = Bm25Index.load(self._generation / "words")
            return self._words

    def _all_facts(self) -> list[Facts]:
        with self._failures(), self._lock:
            if self._facts is None:
                self._facts = [facts for _, facts in self._catalogue.facts()]
            return self._facts

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._layout.damaged(f"catalogue.sqlite: {error}") from error


def _current(layout: Layout) -> tuple[Path, Meta, Any]:
    """Return the current generation, held; an update may remove the one just read: look again."""
    for _ in range(_ATTEMPTS):
        generation = layout.current()
        if generation is None:
            raise layout.missing()
        try:
            held = hold(generation)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StorageError(f"cannot read the collection {layout.name!r}: {error}") from error
        try:
            return generation, layout.read_meta(generation), held
        except BaseException:
            held.close()
            raise
    raise layout.damaged("the generation that CURRENT names is not there")
