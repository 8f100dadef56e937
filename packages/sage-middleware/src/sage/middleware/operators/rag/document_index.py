"""Passages in memory, searched by meaning and by words; made for ``documents=``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sage.common.records import Passage
from sage.libs.embedding.embedder import Embedder
from sage.libs.embedding.scripts import readable_share
from sage.libs.vectors.filters import matches, parse_filter
from sage.middleware.operators.rag.sources import Where

if TYPE_CHECKING:
    from sage.libs.lexical.bm25 import Bm25Index
    from sage.libs.vectors.numpy_store import NumpyStore

__all__ = ["DocumentIndex", "filterable"]


class DocumentIndex:
    """Searches passages that are given, each as it is; either index is built when it is needed.

    Args:
        passages: What to search.
        embedder: Called at the first dense search, never for a lexical one.

    Example:
        >>> index = DocumentIndex(
        ...     (Passage("Water boils.", "a"), Passage("Iron rusts.", "b")), lambda: None
        ... )
        >>> [p.doc_id for p in index.lexical("rust", 5, None)]
        ['b']
        >>> index.lexical("rust", 5, {"doc_id": {"$ne": "b"}})
        []
    """

    def __init__(self, passages: Sequence[Passage], embedder: Callable[[], Embedder]) -> None:
        self._passages = passages
        self._load_embedder = embedder
        self._metadatas = [filterable(passage) for passage in passages]

    def dense(self, text: str, top_k: int, where: Where) -> list[Passage]:
        """Return at most ``top_k`` passages, nearest in meaning first, scored by cosine."""
        (vector,) = self.embedder.embed([text])
        (hits,) = self._vectors.search(vector, top_k, where)
        return [replace(self._passages[int(hit.id)], score=hit.score) for hit in hits]

    def lexical(self, text: str, top_k: int, where: Where) -> list[Passage]:
        """Return at most ``top_k`` passages that share words with ``text``, scored by BM25."""
        import numpy as np

        condition = parse_filter(where)
        allowed = None
        if condition is not None:
            allowed = np.array([matches(condition, m) for m in self._metadatas], dtype=np.bool_)
        found = self._words.search(text, top_k, allowed=allowed)
        return [replace(self._passages[int(row)], score=score) for row, score in found]

    def reads(self, text: str) -> float:
        """Return how much of ``text`` the embedder can read, 0 to 1."""
        return readable_share(self.embedder, text)

    @property
    def index_kind(self) -> str:
        """``flat``: all passages are compared."""
        return "flat"

    def close(self) -> None:
        """Nothing to let go of but memory."""

    @cached_property
    def embedder(self) -> Embedder:
        """The embedder, loaded now if that has not happened yet."""
        return self._load_embedder()

    @cached_property
    def _vectors(self) -> NumpyStore:
        from sage.libs.vectors.numpy_store import NumpyStore

        store = NumpyStore(dim=self.embedder.dim)
        texts = [passage.text for passage in self._passages]
        if texts:
            store.upsert(self._rows, self.embedder.embed(texts), self._metadatas)
        return store

    @cached_property
    def _words(self) -> Bm25Index:
        from sage.libs.lexical.bm25 import Bm25Index

        return Bm25Index(self._rows, [passage.text for passage in self._passages])

    @property
    def _rows(self) -> list[str]:
        return [str(row) for row in range(len(self._passages))]


def filterable(passage: Passage) -> dict[str, Any]:
    """Return what a filter can ask of a passage: its scalar metadata, ``doc_id`` and ``source``."""
    scalars = {k: v for k, v in passage.metadata.items() if isinstance(v, (str, int, float, bool))}
    return {**scalars, "doc_id": passage.doc_id, "source": passage.source}
