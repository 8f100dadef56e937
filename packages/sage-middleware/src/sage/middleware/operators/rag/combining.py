"""Retrievers made of retrievers: several at once, one inside another, one after another.

They take any retriever, their own kind too, and open and close what they are made of. A failure of
a part is the failure of the whole, with a note on which part it was.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from sage.common.config import Meta, configurable
from sage.common.core.functions import Function
from sage.common.errors import ConfigError, Problem, UnreachableError
from sage.common.records import Passage, Query, Retrieved
from sage.libs.process_threads import ProcessThreads
from sage.middleware.operators.rag.fusing import (
    Fusion,
    Quotas,
    Weights,
    check_names,
    fused_sources,
    leg_of,
)
from sage.middleware.operators.rag.promptors import as_retrieved
from sage.middleware.operators.rag.retrieving import (
    Found,
    RetrieveFunction,
    Retriever,
    RetrieverOption,
    TopK,
    as_retriever,
    passage_key,
)

__all__ = [
    "CombiningRetriever",
    "FallbackRetriever",
    "HierarchicalRetriever",
    "MultiSourceRetriever",
]


class CombiningRetriever(RetrieveFunction):
    """What the retrievers made of retrievers share: the life cycle of their parts."""

    _parts: Mapping[str, Retriever]

    def open(self, context: Any) -> None:
        """Open every part, so that a missing collection stops the job before its first record."""
        for name, part in self._parts.items():
            with _told(type(self).__name__, name):
                if context is not None and isinstance(part, Function):
                    part.attach(context)
                part.open(context)

    def close(self) -> None:
        """Close every part, also if one of them cannot be closed."""
        with contextlib.ExitStack() as closing:
            for part in self._parts.values():
                closing.callback(part.close)

    def _ask(self, name: str, query: Query) -> Retrieved:
        with _told(type(self).__name__, name):
            found = self._parts[name].map(query)
            return as_retrieved(type(self).__name__, found)


@contextlib.contextmanager
def _told(owner: str, name: str) -> Iterator[None]:
    """Say of which part of a retriever an error is."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in {name!r} of {owner}")
        raise


class _Workers:
    """A thread for each source, so that a slow one holds up only itself.

    Calls of one source wait for one another; those that nobody waits for any more are dropped
    before they start. Copies and pickles start with none.
    """

    def __init__(self) -> None:
        self._threads: dict[str, ProcessThreads] = {}

    def __reduce__(self) -> tuple[type[_Workers], tuple[()]]:
        return _Workers, ()

    def submit(self, name: str, call: Any) -> concurrent.futures.Future[Retrieved]:
        if name not in self._threads:
            self._threads[name] = ProcessThreads(1, f"retrieve-{name}")
        return self._threads[name].submit(call)

    def close(self) -> None:
        for thread in self._threads.values():
            thread.shutdown(wait=False, cancel_futures=True)
        self._threads = {}


@configurable
class MultiSourceRetriever(CombiningRetriever):
    """Asks several retrievers each question and joins what they find.

    Each passage says in ``metadata["found_in"]`` which sources found it. Rankings are joined by
    reciprocal rank, because scores of different sources cannot be compared.

    Args:
        retrievers: Retrievers by the name of their source.
        top_k: How many passages to return.
        fusion: ``rrf`` joins by reciprocal rank; ``weighted`` averages scaled scores.
        weights: How much a source counts, by name; 1 where none is given.
        quotas: The most passages of a source, by name; no limit where none is given.
        timeout_s: Ask all sources at the same time and wait so long; what comes later is missing,
            and the result is marked partial. None asks one after the other and waits for each.

    Raises:
        ConfigError: if there is no source, one is no retriever, or a weight or quota is of none.
        UnreachableError: from ``map``, if no source at all answers in time.

    Example:
        >>> from sage.middleware.operators.rag import BM25Retriever
        >>> docs = BM25Retriever(documents=["Iron rusts.", "Iron melts."])
        >>> code = BM25Retriever(documents=["class Iron: ..."])
        >>> retriever = MultiSourceRetriever({"docs": docs, "code": code}, quotas={"docs": 1})
        >>> [(p.text, p.metadata["found_in"]) for p in retriever.map("iron")]
        [('Iron rusts.', ['docs']), ('class Iron: ...', ['code'])]
    """

    def __init__(
        self,
        retrievers: Mapping[str, Any],
        *,
        top_k: TopK = 5,
        fusion: Fusion = "rrf",
        weights: Weights | None = None,
        quotas: Quotas | None = None,
        timeout_s: Annotated[float, Meta(gt=0)] | None = None,
    ) -> None:
        owner = "MultiSourceRetriever"
        if not retrievers:
            raise ConfigError(owner, [Problem("$.retrievers", "expected at least one retriever")])
        self._parts = {
            name: as_retriever(owner, f"$.retrievers.{name}", given)
            for name, given in retrievers.items()
        }
        check_names(owner, "weights", weights, self._parts)
        check_names(owner, "quotas", quotas, self._parts)
        self.top_k = top_k
        self.fusion = fusion
        self._weights = weights
        self._quotas = quotas
        self._timeout_s = timeout_s
        self._workers = _Workers()

    def close(self) -> None:
        """Close every source; one that still searches is not waited for."""
        self._workers.close()
        super().close()

    def _search(self, query: Query) -> Found:
        found = self._answers(query)
        passages = fused_sources(
            {name: answer.passages for name, answer in found.items()},
            self.fusion,
            self.top_k,
            weights=self._weights,
            quotas=self._quotas,
        )
        missing = sorted(self._parts.keys() - found.keys())
        detail: dict[str, Any] = {
            "fusion": self.fusion,
            "legs": [leg_of(name, answer, query) for name, answer in found.items()],
        }
        if missing:
            detail["missing"] = missing
        partial = bool(missing) or any(answer.partial for answer in found.values())
        return Found(passages, detail, partial)

    def _answers(self, query: Query) -> dict[str, Retrieved]:
        if self._timeout_s is None:
            return {name: self._ask(name, query) for name in self._parts}
        calls = {
            name: self._workers.submit(name, functools.partial(self._ask, name, query))
            for name in self._parts
        }
        done, late = concurrent.futures.wait(calls.values(), self._timeout_s)
        for call in late:
            call.cancel()
        if not done:
            raise UnreachableError(
                f"no source answered within {self._timeout_s:g} s: {', '.join(calls)}",
                sources=list(calls),
            )
        return {name: call.result() for name, call in calls.items() if call in done}


@configurable
class HierarchicalRetriever(CombiningRetriever):
    """Finds documents first, then passages within those: coarse, then fine.

    The first search may be over summaries, titles or whole documents; what joins the two is the
    ``doc_id``. A filter of the query holds for both.

    Args:
        coarse: Finds documents; its ``top_k`` says how many.
        fine: Finds the passages, with a metadata filter for those documents.

    Raises:
        ConfigError: if one of them is no retriever.

    Example:
        >>> from sage.middleware.operators.rag import BM25Retriever
        >>> summaries = [
        ...     {"text": "On metals.", "doc_id": "m"},
        ...     {"text": "On games.", "doc_id": "g"},
        ... ]
        >>> chunks = [{"text": "Rules of gold.", "doc_id": "g"}, {"text": "Gold.", "doc_id": "m"}]
        >>> retriever = HierarchicalRetriever(
        ...     BM25Retriever(documents=summaries), BM25Retriever(documents=chunks)
        ... )
        >>> [passage.text for passage in retriever.map("Which metals are gold?")]
        ['Gold.']
    """

    def __init__(self, coarse: RetrieverOption, fine: RetrieverOption) -> None:
        owner = "HierarchicalRetriever"
        self._parts = {
            "coarse": as_retriever(owner, "$.coarse", coarse),
            "fine": as_retriever(owner, "$.fine", fine),
        }

    def _search(self, query: Query) -> Found:
        coarse = self._ask("coarse", query)
        documents = list(dict.fromkeys(passage.doc_id for passage in coarse))
        legs = [leg_of("coarse", coarse, query)]
        if not documents:  # the search found nothing, which is an answer and not a failure
            return Found((), {"documents": 0, "legs": legs}, coarse.partial)
        within: dict[str, Any] = {"doc_id": {"$in": documents}}
        if query.filter:
            within = {"$and": [query.filter, within]}
        fine = self._ask("fine", replace(query, filter=within))
        legs.append(leg_of("fine", fine, query))
        detail = {"documents": len(documents), "legs": legs}
        return Found(fine.passages, detail, coarse.partial or fine.partial)


@configurable
class FallbackRetriever(CombiningRetriever):
    """Asks a second retriever where the first one finds too little.

    What the first one found stays in front; the second's follow, without those that are there
    already. A failure of the first is an error and no reason to fall back: an index that cannot be
    read must not look like one that holds nothing.

    Args:
        first: Asked for every question.
        second: Asked where the first found fewer than ``min_results``.
        min_results: How many passages are enough.
        min_score: Passages of the first that score less do not count, and are left out.

    Raises:
        ConfigError: if one of them is no retriever.

    Example:
        >>> from sage.middleware.operators.rag import BM25Retriever
        >>> manual = BM25Retriever(documents=["Turn the key."])
        >>> forum = BM25Retriever(documents=["Mine beeps when it is cold."])
        >>> retriever = FallbackRetriever(manual, forum, min_results=1)
        >>> [p.text for q in ("which key?", "why does it beep?") for p in retriever.map(q)]
        ['Turn the key.', 'Mine beeps when it is cold.']
    """

    def __init__(
        self,
        first: RetrieverOption,
        second: RetrieverOption,
        *,
        min_results: Annotated[int, Meta(ge=1)] = 1,
        min_score: float | None = None,
    ) -> None:
        owner = "FallbackRetriever"
        self._parts = {
            "first": as_retriever(owner, "$.first", first),
            "second": as_retriever(owner, "$.second", second),
        }
        self.min_results = min_results
        self.min_score = min_score

    def _search(self, query: Query) -> Found:
        first = self._ask("first", query)
        legs = [leg_of("first", first, query)]
        kept = _found_in("first", self._good(first.passages))
        if len(kept) >= self.min_results:
            return Found(kept, {"fell_back": False, "legs": legs}, first.partial)
        second = self._ask("second", query)
        legs.append(leg_of("second", second, query))
        known = {passage_key(passage) for passage in kept}
        more = [p for p in second.passages if passage_key(p) not in known]
        detail = {"fell_back": True, "legs": legs}
        return Found([*kept, *_found_in("second", more)], detail, first.partial or second.partial)

    def _good(self, passages: Sequence[Passage]) -> Sequence[Passage]:
        if self.min_score is None:
            return passages
        return [passage for passage in passages if passage.score >= self.min_score]


def _found_in(name: str, passages: Sequence[Passage]) -> list[Passage]:
    return [replace(p, metadata={**p.metadata, "found_in": [name]}) for p in passages]
