"""What every retriever is: a question in, the passages that fit it best out.

Invariant: what goes wrong is raised, and never looks like "nothing found". A retriever works with
and without ``open``, in any number of copies, and says in its step who searched where, how long it
took and, for a query that asks to be explained, which candidates it had.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sage.common.config import Annotated, Meta
from sage.common.core.functions import MapFunction
from sage.common.errors import ConfigError, Problem, UnknownNameError
from sage.common.ids import content_id
from sage.common.records import Passage, Query, Retrieved
from sage.common.registry import registry

__all__ = [
    "Found",
    "Question",
    "RetrieveFunction",
    "Retriever",
    "RetrieverOption",
    "TopK",
    "as_retriever",
    "passage_key",
    "ranking",
]

Question = Query | Mapping[str, Any] | str
TopK = Annotated[int, Meta(ge=1)]


@runtime_checkable
class Retriever(Protocol):
    """Anything that finds passages; a `MapFunction` that returns `Retrieved` is one."""

    def open(self, context: Any) -> None:
        """Acquire what is needed, so that what is missing is told before the first question."""

    def map(self, record: Any) -> Retrieved | None:
        """Return the passages for a question."""

    def close(self) -> None:
        """Let go of it."""


RetrieverOption = Retriever | Mapping[str, Any]


class Found(NamedTuple):
    """What a search gives: passages, best first, and what its step shall say."""

    passages: Sequence[Passage]
    detail: Mapping[str, Any]
    partial: bool = False


class RetrieveFunction(MapFunction[Question, Retrieved]):
    """What the retrievers share: coercion, timing, explanation. They differ in how they search."""

    @abstractmethod
    def _search(self, query: Query) -> Found:
        """Return the passages, best first, and what the step shall say."""

    @property
    def source(self) -> str:
        """What the passages are said to come from where several retrievers are asked."""
        return type(self).__name__

    def map(self, record: Question) -> Retrieved:
        """Return the passages for a question.

        Raises:
            DataError: if the question is empty, or there is no such collection.
            ConfigError: if its filter is not valid.
        """
        started = time.perf_counter()
        query = Query.of(record)
        passages, detail, partial = self._search(query)
        if query.explain and "legs" not in detail:
            detail = {**detail, "candidates": ranking(passages)}
        return Retrieved(query, tuple(passages), partial, query.steps).with_step(
            "retrieve",
            time.perf_counter() - started,
            retriever=type(self).__name__,
            source=self.source,
            found=len(passages),
            **detail,
        )


def ranking(passages: Sequence[Passage]) -> list[dict[str, Any]]:
    """Return passages as the steps of an explained query list them.

    Example:
        >>> ranking([Passage("Water boils.", "a", 0.5, passage_id="a#0", source="a.md")])
        [{'rank': 1, 'score': 0.5, 'id': 'a#0', 'doc_id': 'a', 'place': 'a.md'}]
    """
    return [
        {
            "rank": rank,
            "score": round(float(passage.score), 6),
            "id": passage_key(passage),
            "doc_id": passage.doc_id,
            "place": passage.place,
        }
        for rank, passage in enumerate(passages, start=1)
    ]


def passage_key(passage: Passage) -> str:
    """Return what makes two passages the same: the id where there is one, else document and text.

    Example:
        >>> passage_key(Passage("a", passage_id="a#0")), passage_key(Passage("a", "d")) != "d"
        ('a#0', True)
    """
    return passage.passage_id or content_id(passage.doc_id, passage.text)


def as_retriever(owner: str, path: str, given: RetrieverOption) -> Retriever:
    """Return a retriever that was given as such, or as a pipeline file names one.

    Args:
        owner: Who was given it, for errors.
        path: Where, for errors.
        given: A retriever, or ``{"use": name, "with": {...}}``.

    Raises:
        ConfigError: if it is neither, nothing has the name, or it refuses its options.

    Example:
        >>> as_retriever("x", "$.first", {"use": "bm25_retriever", "with": {"top_k": 3}}).top_k
        3
    """
    if isinstance(given, Mapping):
        unknown = sorted(set(map(str, given)) - {"use", "with"})
        if "use" not in given or unknown:
            message = f"expected {{'use': NAME, 'with': {{...}}}}, got {dict(given)!r:.100}"
            raise ConfigError(owner, [Problem(path, message)])
        given = _made(owner, path, given["use"], given.get("with") or {})
    if not isinstance(given, Retriever):
        message = f"expected a retriever, got {type(given).__name__}: {given!r:.80}"
        raise ConfigError(owner, [Problem(path, message)])
    return given


def _made(owner: str, path: str, name: Any, options: Mapping[str, Any]) -> Any:
    """Return the registered operator, its problems told as those of whom it is a part of."""
    try:
        return registry("operators").get(name)(**options)
    except UnknownNameError as error:
        raise ConfigError(owner, [Problem(f"{path}.use", error.message)]) from error
    except ConfigError as error:
        inner = [
            Problem(f"{path}.with{p.path.removeprefix('$')}", p.message) for p in error.problems
        ]
        raise ConfigError(owner, inner, hint=error.hint) from error
