"""Reads what a retriever found once more, together with the question, and orders it anew."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from sage.common.config import Meta, configurable
from sage.common.core.functions import MapFunction
from sage.common.errors import MissingExtraError
from sage.common.records import Passage, Retrieved
from sage.libs.embedding.scripts import readable_share
from sage.libs.rerank.reranker import LATE_INTERACTION, Reranker, load_reranker, rerank
from sage.middleware.operators.rag.promptors import as_retrieved
from sage.middleware.operators.rag.retrieving import TopK, passage_key, ranking

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["RerankOperator"]


@configurable
class RerankOperator(MapFunction[Retrieved | Mapping[str, Any], Retrieved]):
    """Puts the passages that answer the question best in front, and keeps those.

    Give it more passages than it shall keep: a retriever with ``top_k=50`` before it. By default
    it compares token by token (late interaction) with the embedder's own weights, offline; a model
    id names a cross-encoder, which needs torch. Each passage keeps the scores of both stages in
    ``metadata["scores"]``.

    Args:
        model: None for late interaction over all-MiniLM-L6-v2, ``late-interaction:MODEL`` over
            another embedder; anything else is a cross-encoder.
        top_k: How many passages to keep.
        weight: How much the reranker's scores count against the first stage's, 0 to 1; by default
            half for late interaction, all for a cross-encoder.
        reranker: A reranker of your own, in place of ``model``.

    Raises:
        MissingExtraError: at first use (``open`` in a pipeline), if a cross-encoder is asked for
            and torch is not installed.
        MissingWeightsError: at first use, if the model is nowhere on this machine.
        DataError: if a record is not retrieved passages.

    Example:
        >>> found = {"query": "Does iron rust?", "passages": ["Gold shines.", "Iron rusts."]}
        >>> RerankOperator(model="late-interaction:mock:64", top_k=1).map(found)[0].text
        'Iron rusts.'
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        top_k: TopK = 5,
        weight: Annotated[float, Meta(ge=0, le=1)] | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self.model = model
        self.top_k = top_k
        self._weight = weight
        self._given = reranker

    @cached_property
    def _reranker(self) -> Reranker:
        try:
            return self._given or load_reranker(self.model)
        except MissingExtraError as error:
            error.hint = f"{error.hint}; without model= the RerankOperator works offline"
            raise

    def open(self, context: Any) -> None:
        """Load the model, so that what is missing stops the job before its first record."""
        _ = self._reranker

    def map(self, record: Retrieved | Mapping[str, Any]) -> Retrieved:
        """Return the best ``top_k`` passages in their new order.

        Raises:
            DataError: if ``record`` is not retrieved passages.
        """
        started = time.perf_counter()
        found = as_retrieved("RerankOperator", record)
        heard = _Heard(self._reranker)
        passages = found.passages
        order = rerank(
            heard,
            found.query.text,
            [passage.text for passage in passages],
            [passage.score for passage in passages],
            weight=self._share,
        )
        best = [_scored(passages[at], joined, heard.told(at)) for at, joined in order[: self.top_k]]
        detail: dict[str, Any] = {"model": self._reranker.model, "candidates_read": len(passages)}
        if found.query.explain:
            told = [_scored(passages[at], joined, heard.told(at)) for at, joined in order]
            detail["candidates"] = _explained(found, told)
        return replace(found, passages=tuple(best)).with_step(
            "rerank", time.perf_counter() - started, found=len(best), **detail
        )

    @property
    def _share(self) -> float:
        if self._weight is not None:
            return self._weight
        return 0.5 if self._reranker.model.startswith(LATE_INTERACTION) else 1.0


class _Heard:
    """A reranker that remembers what it said, so that passages can keep it."""

    def __init__(self, reranker: Reranker) -> None:
        self._reranker = reranker
        self.model = reranker.model
        self._said: npt.NDArray[np.float32] | None = None

    def scores(self, query: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self._said = self._reranker.scores(query, texts)
        return self._said

    def reads(self, text: str) -> float:
        return readable_share(self._reranker, text)

    def told(self, at: int) -> float | None:
        """Return the score of a passage; None if the reranker cannot read the question."""
        return None if self._said is None else float(self._said[at])


def _scored(passage: Passage, joined: float, score: float | None) -> Passage:
    scores = {**passage.metadata.get("scores", {}), "retrieve": passage.score}
    if score is not None:
        scores["rerank"] = score
    return replace(passage, score=joined, metadata={**passage.metadata, "scores": scores})


def _explained(found: Retrieved, told: Sequence[Passage]) -> list[dict[str, Any]]:
    """Return the new ranking with the places and scores that the passages had before."""
    before = {passage_key(p): rank for rank, p in enumerate(found.passages, start=1)}
    return [
        {**line, "was": before[line["id"]], "scores": passage.metadata["scores"]}
        for line, passage in zip(ranking(told), told, strict=True)
    ]
