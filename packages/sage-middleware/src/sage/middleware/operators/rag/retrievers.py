"""Retrievers over one index: by meaning or by words.

All take the same three places to look (``documents=``, ``index=`` or ``collection=``), the same
filters (Chroma's language, in the ``filter`` of the query), and a question as text, as a mapping
or as a `Query`. An error is raised; it never looks like "nothing found".
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sage.common.config import configurable
from sage.common.records import Passage, Query
from sage.libs.embedding.embedder import Embedder
from sage.libs.vectors.store import VectorStore
from sage.middleware.operators.rag.retrieving import Found, RetrieveFunction, TopK
from sage.middleware.operators.rag.sources import PassageSource

__all__ = [
    "BM25Retriever",
    "ChromaRetriever",
    "ChromaRetrieverOperator",
    "DenseRetriever",
    "Documents",
    "FaissRetriever",
    "IndexRetriever",
]

Documents = Sequence[Mapping[str, Any] | Passage | str]


class IndexRetriever(RetrieveFunction):
    """A retriever that looks in one place, which it opens and closes."""

    top_k: int
    _source: PassageSource

    def open(self, context: Any) -> None:
        """Open the index, so that a missing collection stops the job before its first record."""
        self._source.open()

    def close(self) -> None:
        """Close the index; using the retriever again opens it again."""
        self._source.close()

    @property
    def source(self) -> str:
        """The name of the collection, or ``documents`` or ``index``."""
        return self._source.name

    def _dense(self, query: Query, top_k: int) -> Found:
        started = time.perf_counter()
        index = self._source.open()
        passages = index.dense(query.text, top_k, query.filter)
        detail: dict[str, Any] = {"dense_s": time.perf_counter() - started}
        if query.explain:
            detail["index"] = index.index_kind
        return Found(passages, detail)

    def _lexical(self, query: Query, top_k: int) -> Found:
        started = time.perf_counter()
        passages = self._source.open().lexical(query.text, top_k, query.filter)
        return Found(passages, {"lexical_s": time.perf_counter() - started})


@configurable
class DenseRetriever(IndexRetriever):
    """Finds the passages nearest to the question in meaning.

    Args:
        model: The embedder's model. A collection must have been indexed with the same; the default
            is the collection's own, or all-MiniLM-L6-v2 for documents.
        top_k: How many passages to return.
        collection: Name of the collection to search, as given to ``sage index``; ``default`` when
            neither documents nor an index are given.
        documents: Texts to search instead, indexed in memory at first use: mappings with ``text``
            and optionally ``doc_id``, one passage each, not cut further.
        index: A vector store to search instead.
        home: SAGE's home directory, instead of ``$SAGE_HOME``.
        embedder: An embedder of your own, in place of ``model``.

    Raises:
        ConfigError: if it is told to look in two places.
        DataError: at first use (``open`` in a pipeline), if there is no such collection.

    Example:
        >>> documents = [{"text": "Water boils.", "doc_id": "a"}, {"text": "Iron rusts."}]
        >>> retriever = DenseRetriever(model="mock:64", documents=documents, top_k=1)
        >>> found = retriever.map("When does water boil?")
        >>> found[0]["doc_id"], found[0].text, found.query.text
        ('a', 'Water boils.', 'When does water boil?')
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        top_k: TopK = 5,
        collection: str | None = None,
        documents: Documents | None = None,
        index: VectorStore | None = None,
        home: str | os.PathLike[str] | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self.top_k = top_k
        self._source = PassageSource.of(
            "DenseRetriever",
            documents,
            model=model,
            collection=collection,
            store=index,
            home=home,
            embedder=embedder,
        )

    def _search(self, query: Query) -> Found:
        return self._dense(query, self.top_k)


@configurable
class ChromaRetriever(IndexRetriever):
    """Finds passages in a collection that is kept in Chroma; as `DenseRetriever` otherwise.

    Args:
        collection: Name of the collection.
        top_k: How many passages to return.
        model: The embedder's model; the collection's own by default.
        home: SAGE's home directory, instead of ``$SAGE_HOME``.

    Raises:
        DataError: at first use, if there is no such collection, or Chroma does not keep it.
    """

    def __init__(
        self,
        *,
        collection: str = "default",
        top_k: TopK = 5,
        model: str | None = None,
        home: str | os.PathLike[str] | None = None,
    ) -> None:
        self.top_k = top_k
        self._source = PassageSource(
            "ChromaRetriever", model=model, collection=collection, home=home, store_kind="chroma"
        )

    def _search(self, query: Query) -> Found:
        return self._dense(query, self.top_k)


ChromaRetrieverOperator = ChromaRetriever


@configurable
class FaissRetriever(IndexRetriever):
    """Finds passages in a collection that is kept in FAISS; as `DenseRetriever` otherwise.

    Args:
        collection: Name of the collection.
        top_k: How many passages to return.
        model: The embedder's model; the collection's own by default.
        home: SAGE's home directory, instead of ``$SAGE_HOME``.

    Raises:
        DataError: at first use, if there is no such collection, or FAISS does not keep it.
    """

    def __init__(
        self,
        *,
        collection: str = "default",
        top_k: TopK = 5,
        model: str | None = None,
        home: str | os.PathLike[str] | None = None,
    ) -> None:
        self.top_k = top_k
        self._source = PassageSource(
            "FaissRetriever", model=model, collection=collection, home=home, store_kind="faiss"
        )

    def _search(self, query: Query) -> Found:
        return self._dense(query, self.top_k)


@configurable
class BM25Retriever(IndexRetriever):
    """Finds the passages that share the rarest words with the question; needs no model.

    Args:
        top_k: How many passages to return; fewer come when fewer share a word.
        collection: As for `DenseRetriever`.
        documents: As for `DenseRetriever`.
        home: As for `DenseRetriever`.

    Raises:
        ConfigError: if it is told to look in two places.
        DataError: at first use, if there is no such collection.

    Example:
        >>> retriever = BM25Retriever(documents=["Water boils.", "Iron rusts."])
        >>> [passage.text for passage in retriever.map("Does iron rust?")]
        ['Iron rusts.']
    """

    def __init__(
        self,
        *,
        top_k: TopK = 5,
        collection: str | None = None,
        documents: Documents | None = None,
        home: str | os.PathLike[str] | None = None,
    ) -> None:
        self.top_k = top_k
        self._source = PassageSource.of(
            "BM25Retriever", documents, collection=collection, home=home
        )

    def _search(self, query: Query) -> Found:
        return self._lexical(query, self.top_k)
