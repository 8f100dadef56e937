"""Retrievers: a question in, the passages that fit it best out.

All take the same three places to look (``documents=``, ``index=`` or ``collection=``), the same
filters (Chroma's language, in the ``filter`` of the query), and a question as text, as a mapping
or as a `Query`. An error is raised; it never looks like "nothing found".
"""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sage.common.config import Annotated, Meta, configurable
from sage.common.core.functions import MapFunction
from sage.common.records import Passage, Query, Retrieved
from sage.libs.embedding.embedder import Embedder
from sage.libs.vectors.store import VectorStore
from sage.middleware.operators.rag.fusing import fused
from sage.middleware.operators.rag.sources import PassageSource

__all__ = [
    "BM25Retriever",
    "ChromaRetriever",
    "ChromaRetrieverOperator",
    "DenseRetriever",
    "FaissRetriever",
    "HybridRetriever",
]

Question = Query | Mapping[str, Any] | str
Documents = Sequence[Mapping[str, Any] | Passage | str]
TopK = Annotated[int, Meta(ge=1)]

# From each leg of a hybrid search: far more than are returned, so that what one leg ranks low can
# still be lifted by the other.
_CANDIDATES = 100

Found = tuple[list[Passage], dict[str, Any]]


class RetrieveFunction(MapFunction[Question, Retrieved]):
    """What the retrievers share: life cycle, coercion, timing. They differ in how they search."""

    top_k: int
    _source: PassageSource

    @abstractmethod
    def _search(self, query: Query) -> Found:
        """Return the passages, best first, and what the step shall say."""

    def open(self, context: Any) -> None:
        """Open the index, so that a missing collection stops the job before its first record."""
        self._source.open()

    def close(self) -> None:
        """Close the index; using the retriever again opens it again."""
        self._source.close()

    def map(self, record: Question) -> Retrieved:
        """Return the passages for a question.

        Raises:
            DataError: if the question is empty, or there is no such collection.
            ConfigError: if its filter is not valid.
        """
        started = time.perf_counter()
        query = Query.of(record)
        passages, detail = self._search(query)
        return Retrieved(query, tuple(passages), steps=query.steps).with_step(
            "retrieve",
            time.perf_counter() - started,
            retriever=type(self).__name__,
            found=len(passages),
            **detail,
        )

    def _dense(self, query: Query, top_k: int) -> Found:
        started = time.perf_counter()
        passages = self._source.open().dense(query.text, top_k, query.filter)
        return passages, {"dense_s": time.perf_counter() - started}

    def _lexical(self, query: Query, top_k: int) -> Found:
        started = time.perf_counter()
        passages = self._source.open().lexical(query.text, top_k, query.filter)
        return passages, {"lexical_s": time.perf_counter() - started}


@configurable
class DenseRetriever(RetrieveFunction):
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
class ChromaRetriever(RetrieveFunction):
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
class FaissRetriever(RetrieveFunction):
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
class BM25Retriever(RetrieveFunction):
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


@configurable
class HybridRetriever(RetrieveFunction):
    """Finds passages by meaning and by words, and joins the two rankings.

    Takes the 100 best of each. Their scores are not comparable as they are: by default each
    ranking is brought to 0..1 by its own smallest and largest score, and a passage's score is the
    mean of the two. Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval"
    (TOIS 2023), find such a combination better than reciprocal ranks, and so does the test set of
    SciFact (nDCG@10 .725 against .712) and XQuAD (English, recall@1 .954 against .926). Nothing
    was tuned: the weights are equal, but for a question in a script that the embedder was not
    trained on, where meaning counts only as far as the embedder can read.

    Args:
        model: As for `DenseRetriever`.
        top_k: How many passages to return.
        fusion: ``weighted`` averages scaled scores; ``rrf`` joins by reciprocal rank (k = 60).
        collection: As for `DenseRetriever`.
        documents: As for `DenseRetriever`.
        home: As for `DenseRetriever`.
        embedder: An embedder of your own, in place of ``model``.

    Raises:
        ConfigError: if it is told to look in two places.
        DataError: at first use, if there is no such collection.

    Example:
        >>> documents = ["Water boils.", "Iron rusts.", "Gold shines."]
        >>> retriever = HybridRetriever(model="mock:64", documents=documents, top_k=2)
        >>> retriever.map({"query": "Does iron rust?"})[0].text
        'Iron rusts.'
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        top_k: TopK = 5,
        fusion: Literal["weighted", "rrf"] = "weighted",
        collection: str | None = None,
        documents: Documents | None = None,
        home: str | os.PathLike[str] | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self.top_k = top_k
        self.fusion = fusion
        self._source = PassageSource.of(
            "HybridRetriever",
            documents,
            model=model,
            collection=collection,
            home=home,
            embedder=embedder,
        )

    def _search(self, query: Query) -> Found:
        candidates = max(_CANDIDATES, self.top_k)
        by_meaning, dense = self._dense(query, candidates)
        by_words, lexical = self._lexical(query, candidates)
        share = self._source.open().reads(query.text)
        passages = fused([by_meaning, by_words], self.fusion, weights=[share, 1.0])
        detail = {"fusion": self.fusion, "dense_weight": round(share, 3)}
        return passages[: self.top_k], {**dense, **lexical, **detail}
