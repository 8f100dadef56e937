"""Retrieval by meaning and by words, joined, and reranked where that is asked for."""

from __future__ import annotations

import os
from typing import Any, Literal

from sage.common.config import configurable
from sage.common.records import Query, Retrieved
from sage.libs.embedding.embedder import Embedder
from sage.middleware.operators.rag.fusing import fused
from sage.middleware.operators.rag.reranking import RerankOperator
from sage.middleware.operators.rag.retrievers import Documents, IndexRetriever
from sage.middleware.operators.rag.retrieving import Found, Question, TopK, ranking
from sage.middleware.operators.rag.sources import PassageSource

__all__ = ["HybridRetriever"]

# From each leg: far more than are returned, so that what one leg ranks low can still be lifted by
# the other.
_CANDIDATES = 100
_RERANKED = 50


@configurable
class HybridRetriever(IndexRetriever):
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
        rerank: Whether a `RerankOperator` reads the 50 best once more: by late interaction over the
            same embedder, or by the cross-encoder of that name. Slow for passages that it has not
            read lately: about a second for 50 long ones on two cores.
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
        rerank: bool | str = False,
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
        self._rerank = rerank
        self._reranking: RerankOperator | None = None

    def open(self, context: Any) -> None:
        """Open the index, and load the reranker if there is to be one."""
        super().open(context)
        if self._rerank:
            self._reranker().open(context)

    def map(self, record: Question) -> Retrieved:
        """Return the passages for a question, as `RetrieveFunction.map`."""
        found = super().map(record)
        return self._reranker().map(found) if self._rerank else found

    def _search(self, query: Query) -> Found:
        wanted = max(_RERANKED, self.top_k) if self._rerank else self.top_k
        candidates = max(_CANDIDATES, wanted)
        by_meaning, dense, _ = self._dense(query, candidates)
        by_words, lexical, _ = self._lexical(query, candidates)
        share = self._source.open().reads(query.text)
        passages = fused([by_meaning, by_words], self.fusion, weights=[share, 1.0])
        detail = {**dense, **lexical, "fusion": self.fusion, "dense_weight": round(share, 3)}
        if query.explain:
            legs = {"dense": (dense, by_meaning), "lexical": (lexical, by_words)}
            detail["legs"] = [
                {
                    "leg": name,
                    "elapsed_s": took[f"{name}_s"],
                    "found": len(leg),
                    "candidates": ranking(leg),
                }
                for name, (took, leg) in legs.items()
            ]
            detail["candidates"] = ranking(passages)
        return Found(passages[:wanted], detail)

    def _reranker(self) -> RerankOperator:
        if self._reranking is None:
            if isinstance(self._rerank, str):
                self._reranking = RerankOperator(model=self._rerank, top_k=self.top_k)
            else:
                from sage.libs.rerank import LateInteractionReranker

                late = LateInteractionReranker(embedder=self._source.open().embedder)
                self._reranking = RerankOperator(reranker=late, top_k=self.top_k)
        return self._reranking
