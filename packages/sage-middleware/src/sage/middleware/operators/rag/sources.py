"""Where retrievers look: documents in memory, a vector store, or a collection on disk.

A `PassageSource` is opened at first use, so that a retriever works by itself as well as on a
stream; a copy of it (one for each parallel instance) opens its own. Nothing here turns an error
into "nothing found".
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from sage.common.errors import ConfigError, DataError, Problem
from sage.common.records import Passage
from sage.libs.embedding.embedder import DEFAULT_MODEL, Embedder, load_embedder
from sage.libs.embedding.scripts import readable_share

if TYPE_CHECKING:
    from sage.libs.collection import Collection
    from sage.libs.vectors.store import Hit, VectorStore

__all__ = ["PassageIndex", "PassageSource", "Where"]

Where = Mapping[str, Any] | None

# Threads that share a retriever open its index once. One lock for all: opening takes milliseconds,
# and a lock of its own could not be copied along with a source.
_OPENING: Final = threading.Lock()


class PassageIndex(Protocol):
    """What can be searched for passages; ``where`` is a filter in Chroma's language."""

    def dense(self, text: str, top_k: int, where: Where) -> list[Passage]:
        """Return at most ``top_k`` passages, nearest in meaning first, scored by cosine."""

    def lexical(self, text: str, top_k: int, where: Where) -> list[Passage]:
        """Return at most ``top_k`` passages that share words with ``text``, scored by BM25."""

    def reads(self, text: str) -> float:
        """Return how much of ``text`` the embedder can read, 0 to 1."""

    @property
    def embedder(self) -> Embedder:
        """The embedder that its vectors were made by."""

    @property
    def index_kind(self) -> str:
        """Which index `dense` searches, such as ``flat`` or ``hnsw``; "" if it does not say."""

    def close(self) -> None:
        """Let go of files."""


@dataclass
class PassageSource:
    """Finds passages where a retriever was told to look; opened at first use.

    Attributes:
        owner: The retriever, for messages.
        model: The embedder's model; None for the collection's own.
        collection: Name of a collection; ``default`` if nothing else is given.
        home: SAGE's home directory, instead of ``$SAGE_HOME``.
        documents: Passages to index in memory.
        store: A vector store to search, by meaning only.
        store_kind: The kind of store that the collection must have, or None for any.
        embedder: Used in place of the one that ``model`` names.
    """

    owner: str
    model: str | None = None
    collection: str | None = None
    home: str | os.PathLike[str] | None = None
    documents: tuple[Passage, ...] | None = None
    store: VectorStore | None = None
    store_kind: str | None = None
    embedder: Embedder | None = None
    _index: PassageIndex | None = None

    def __post_init__(self) -> None:
        given = {"documents": self.documents, "index": self.store, "collection": self.collection}
        named = [name for name, value in given.items() if value is not None]
        if len(named) > 1:
            message = f"give only one of {' and '.join(named)}"
            raise ConfigError(self.owner, [Problem(f"$.{named[-1]}", message)])

    @classmethod
    def of(
        cls,
        owner: str,
        documents: Sequence[Mapping[str, Any] | Passage | str] | None,
        **options: Any,
    ) -> PassageSource:
        """Return a source, its documents checked now rather than at the first query.

        Raises:
            ConfigError: if it is told to look in two places, or the documents are one text.
            DataError: if a document has no text.
        """
        if isinstance(documents, (str, bytes)):
            message = f"expected a list of documents, got one text: {documents!r:.80}"
            raise ConfigError(owner, [Problem("$.documents", message)])
        passages = None if documents is None else tuple(Passage.of(d) for d in documents)
        return cls(owner, documents=passages, **options)

    def __deepcopy__(self, memo: dict[int, Any]) -> PassageSource:
        # What is open belongs to one instance; documents, store and embedder are shared.
        return replace(self, _index=None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_index": None}

    @property
    def name(self) -> str:
        """What is searched, for people: the name of the collection, ``documents`` or ``index``."""
        if self.documents is not None:
            return "documents"
        return "index" if self.store is not None else self.collection or "default"

    def open(self) -> PassageIndex:
        """Return the index, opening it if that has not happened yet.

        Raises:
            DataError: if there is no such collection, or it has another kind of store.
        """
        index = self._index
        if index is None:
            with _OPENING:
                index = self._index
                if index is None:
                    index = self._index = self._opened()
                    # A retriever that is used by itself is mostly not closed: then its files go
                    # with it.
                    weakref.finalize(self, index.close).atexit = False
        return index

    def close(self) -> None:
        """Close what was opened; the next use opens it again."""
        with _OPENING:
            index, self._index = self._index, None
        if index is not None:
            index.close()

    def _opened(self) -> PassageIndex:
        if self.documents is not None:
            from sage.middleware.operators.rag.document_index import DocumentIndex

            return DocumentIndex(self.documents, self._embedder)
        if self.store is not None:
            return _StoreIndex(self.owner, self.store, self._embedder())
        return _CollectionIndex(self._collection(), self._embedder)

    def _collection(self) -> Collection:
        from sage.libs.collection import Collection

        asked = self.embedder.model if self.embedder is not None else self.model
        collection = Collection.open(self.collection or "default", self.home, model=asked)
        if self.store_kind is not None and collection.stats().store != self.store_kind:
            kind = collection.stats().store
            collection.close()
            raise DataError(
                f"{self.owner}: the collection {collection.name!r} is kept in {kind!r}, "
                f"not in {self.store_kind!r}",
                hint="DenseRetriever reads any collection",
                collection=collection.name,
                store=kind,
            )
        return collection

    def _embedder(self, model: str = DEFAULT_MODEL) -> Embedder:
        return self.embedder or load_embedder(self.model or model)


class _StoreIndex:
    """A vector store of the caller's; it is his to close."""

    def __init__(self, owner: str, store: VectorStore, embedder: Embedder) -> None:
        self._owner = owner
        self._store = store
        self.embedder = embedder

    def dense(self, text: str, top_k: int, where: Where) -> list[Passage]:
        (hits,) = self._store.search(self.embedder.embed([text]), top_k, where)
        return [_passage(hit) for hit in hits]

    def lexical(self, text: str, top_k: int, where: Where) -> list[Passage]:
        raise DataError(f"{self._owner}: a vector store cannot be searched by words")

    def reads(self, text: str) -> float:
        return readable_share(self.embedder, text)

    @property
    def index_kind(self) -> str:
        return str(getattr(self._store, "index_kind", ""))

    def close(self) -> None:
        pass


class _CollectionIndex:
    """A collection on disk, with the embedder that its vectors were made by."""

    def __init__(self, collection: Collection, embedder: Callable[[str], Embedder]) -> None:
        self._collection = collection
        self._load_embedder = embedder

    @property
    def embedder(self) -> Embedder:
        return self._load_embedder(self._collection.model)

    def dense(self, text: str, top_k: int, where: Where) -> list[Passage]:
        (vector,) = self.embedder.embed([text])
        return self._collection.dense(vector, top_k, where)

    def lexical(self, text: str, top_k: int, where: Where) -> list[Passage]:
        return self._collection.lexical(text, top_k, where)

    def reads(self, text: str) -> float:
        return readable_share(self.embedder, text)

    @property
    def index_kind(self) -> str:
        return self._collection.index_kind

    def close(self) -> None:
        self._collection.close()


def _passage(hit: Hit) -> Passage:
    metadata = dict(hit.metadata)
    return Passage(
        hit.text,
        doc_id=str(metadata.pop("doc_id", hit.id)),
        score=hit.score,
        passage_id=hit.id,
        source=str(metadata.pop("source", "")),
        metadata=metadata,
    )
