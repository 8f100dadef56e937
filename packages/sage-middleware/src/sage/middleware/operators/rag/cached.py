"""A retriever that remembers: equal questions are searched once."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from sage.common.config import Meta, configurable
from sage.common.errors import ConfigError, Problem
from sage.common.records import Query, Retrieved
from sage.libs.cache import QueryCache, query_key
from sage.middleware.operators.rag.combining import CombiningRetriever
from sage.middleware.operators.rag.fusing import leg_of
from sage.middleware.operators.rag.retrieving import (
    Found,
    Retriever,
    RetrieverOption,
    as_retriever,
)

__all__ = ["CachedRetriever"]


@configurable
class CachedRetriever(CombiningRetriever):
    """Keeps what a retriever found, and lets equal questions at the same time share one search.

    Questions are equal if their text and their filter are; blanks at their ends do not count. Only
    passages are kept: whoever asked, and what came with the question, stays with the question. A
    failure is given to all who wait for it and is not kept, and neither is a partial result.

    What is kept does not know of a new version of the index: choose ``ttl_s``, or make a new
    retriever when it was indexed again. All copies of one retriever in a process share the cache.

    Args:
        retriever: What searches.
        max_entries: How many questions are kept; the least recently asked makes room.
        ttl_s: Seconds after which a question is searched again; None keeps it for good.
        cache: A cache of your own, such as one in Redis: ``QueryCache(url=..., value_type=
            Retrieved)``.
        name: Tells the retrievers that share a cache apart; needed with ``cache``.

    Raises:
        ConfigError: if the retriever is none, or shares a cache without a name.

    Example:
        >>> from sage.middleware.operators.rag import BM25Retriever
        >>> retriever = CachedRetriever(BM25Retriever(documents=["Iron rusts."]))
        >>> steps = [retriever.map("Does iron rust?").steps[-1] for _ in range(2)]
        >>> [step.detail["cached"] for step in steps]
        [False, True]
    """

    def __init__(
        self,
        retriever: RetrieverOption,
        *,
        max_entries: Annotated[int, Meta(ge=1)] = 1_000,
        ttl_s: Annotated[float, Meta(gt=0)] | None = 300.0,
        cache: QueryCache | None = None,
        name: str | None = None,
    ) -> None:
        if cache is not None and not name:
            message = "retrievers that share a cache need names, or they would mix their passages"
            raise ConfigError("CachedRetriever", [Problem("$.name", message)])
        self._parts = {"retriever": as_retriever("CachedRetriever", "$.retriever", retriever)}
        self._cache = cache or QueryCache(max_entries=max_entries, ttl_s=ttl_s)
        self._name = name or ""

    @property
    def source(self) -> str:
        """The source of the retriever that it remembers for."""
        inner: Retriever = self._parts["retriever"]
        return str(getattr(inner, "source", type(inner).__name__))

    def _search(self, query: Query) -> Found:
        if query.explain:  # whoever asks why wants to see a search
            found = self._ask("retriever", query)
            detail = {"cached": False, "legs": [leg_of("retriever", found, query)]}
            return Found(found.passages, detail, found.partial)
        searched: list[Retrieved] = []

        def search() -> Retrieved:
            # Without what only this question has: the answer is for all equal ones.
            found = self._ask("retriever", Query(query.text, filter=query.filter))
            searched.append(found)
            if found.partial:
                raise _PartialError(found)
            return replace(found, steps=())

        try:
            key = query_key(self._name, query.text.strip(), filter=query.filter)
            found = self._cache.get(key, search)
        except _PartialError as partial:
            found = partial.found
        return Found(found.passages, {"cached": not searched}, found.partial)


class _PartialError(Exception):
    """Carries a partial result past the cache, to all who wait for it."""

    def __init__(self, found: Retrieved) -> None:
        super().__init__("partial")
        self.found = found

    def __reduce__(self) -> tuple[Any, ...]:
        return _PartialError, (self.found,)
