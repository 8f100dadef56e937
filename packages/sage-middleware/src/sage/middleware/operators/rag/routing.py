"""Sends each question where it is answered best: by rules, or by the examples it is nearest to."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sage.common.config import configurable
from sage.common.core.functions import Function, MapFunction
from sage.common.errors import ConfigError, DataError, Problem
from sage.common.records import Query, Retrieved
from sage.common.suggestions import did_you_mean
from sage.libs.embedding.embedder import DEFAULT_MODEL, Embedder, load_embedder
from sage.libs.vectors.filters import Filter, matches, parse_filter
from sage.middleware.operators.rag.promptors import as_retrieved
from sage.middleware.operators.rag.retrieving import Question, Retriever, as_retriever

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["RoutingOperator"]

_KEYS = ("route", "pattern", "where", "when", "examples", "min_score")


@dataclass(frozen=True)
class _Rule:
    """One rule, checked: what it asks of a question, and the route it stands for."""

    route: str
    pattern: re.Pattern[str] | None = None
    where: Filter | None = None
    when: Callable[[Query], object] | None = None
    examples: tuple[str, ...] = ()
    min_score: float = 0.5

    def accepts(self, query: Query) -> bool:
        """Whether every condition of it holds; examples are compared by `_Nearest`."""
        if self.examples:
            return False
        if self.pattern is not None and not self.pattern.search(query.text):
            return False
        if self.where is not None and not matches(self.where, query.metadata):
            return False
        return self.when is None or bool(self.when(query))


@configurable
class RoutingOperator(MapFunction[Question, Query | Retrieved]):
    """Chooses a route for each question, and asks that route's retriever or notes the choice.

    A rule is a mapping with ``route`` and one or more conditions, all of which must hold:
    ``pattern`` (a regular expression that occurs in the text), ``where`` (a filter on the query's
    metadata, in Chroma's language), ``when`` (a function of the `Query`). The first rule that
    accepts decides. If none does, rules with ``examples`` are compared: the question goes where the
    example of the highest cosine is, if that is at least the rule's ``min_score`` (0.5).

    With ``retrievers`` the passages of the chosen one come out. Without, the query comes out with
    the choice in ``metadata["route"]``, for ``stream.route`` or a step of your own.

    Args:
        rules: The rules, in the order in which they are tried.
        default: The route of questions that no rule accepts; None makes such a question an error.
        retrievers: A retriever for each route.
        model: The embedder's model that compares examples.
        embedder: An embedder of your own, in place of ``model``.

    Raises:
        ConfigError: if a rule is not valid, or a route has no retriever: all problems at once.
        DataError: from ``map``, if no rule accepts a question and there is no default.

    Example:
        >>> rules = [
        ...     {"route": "errors", "pattern": r"E-\\d+"},
        ...     {"route": "recent", "where": {"year": {"$gte": 2024}}},
        ...     {"route": "billing", "examples": ["pay an invoice", "refund money"]},
        ... ]
        >>> router = RoutingOperator(rules, default="docs", model="mock:256")
        >>> asked = ["What is E-4711?", {"query": "news", "year": 2025}, "refund an invoice", "hi"]
        >>> [router.map(question).metadata["route"] for question in asked]
        ['errors', 'recent', 'billing', 'docs']
    """

    def __init__(
        self,
        rules: Sequence[Any],
        *,
        default: str | None = None,
        retrievers: Mapping[str, Any] | None = None,
        model: str = DEFAULT_MODEL,
        embedder: Embedder | None = None,
    ) -> None:
        owner = "RoutingOperator"
        problems: list[Problem] = []
        self._rules = [_rule(given, f"$.rules[{n}]", problems) for n, given in enumerate(rules)]
        if not rules:
            problems.append(Problem("$.rules", "expected at least one rule"))
        self.default = default
        routes = {rule.route for rule in self._rules} | ({default} if default else set())
        for route in sorted(routes - set(retrievers or routes)):
            known = did_you_mean(route, retrievers or ())
            problems.append(Problem("$.retrievers", f"no retriever for the route {route!r}{known}"))
        if problems:
            raise ConfigError(owner, problems)
        self._retrievers: dict[str, Retriever] = {
            name: as_retriever(owner, f"$.retrievers.{name}", given)
            for name, given in (retrievers or {}).items()
        }
        self._model = model
        self._given = embedder

    @cached_property
    def _nearest(self) -> _Nearest:
        return _Nearest(self._given or load_embedder(self._model), self._rules)

    def open(self, context: Any) -> None:
        """Open every retriever, and embed the examples."""
        for retriever in self._retrievers.values():
            if context is not None and isinstance(retriever, Function):
                retriever.attach(context)
            retriever.open(context)
        _ = self._nearest

    def close(self) -> None:
        """Close every retriever."""
        for retriever in self._retrievers.values():
            retriever.close()

    def map(self, record: Question) -> Query | Retrieved:
        """Return the passages of the chosen retriever, or the query with the choice noted.

        Raises:
            DataError: if the question is empty, or no rule accepts it and there is no default.
        """
        started = time.perf_counter()
        query = Query.of(record)
        route, detail = self._choice(query)
        query = replace(query, metadata={**query.metadata, "route": route}).with_step(
            "route", time.perf_counter() - started, route=route, **detail
        )
        if not self._retrievers:
            return query
        try:
            return as_retrieved("RoutingOperator", self._retrievers[route].map(query))
        except Exception as error:
            error.add_note(f"in the retriever of the route {route!r} of RoutingOperator")
            raise

    def _choice(self, query: Query) -> tuple[str, dict[str, Any]]:
        for number, rule in enumerate(self._rules):
            if rule.accepts(query):
                return rule.route, {"by": f"rules[{number}]"}
        found = self._nearest.to(query.text)
        if found is not None:
            route, example, score = found
            return route, {"by": "example", "example": example, "score": score}
        if self.default is None:
            raise DataError(
                f"no rule of RoutingOperator accepts the question {query.text!r:.80}",
                hint="give default=, the route of such questions",
            )
        return self.default, {"by": "default"}


class _Nearest:
    """The examples of all rules, to be compared with questions."""

    def __init__(self, embedder: Embedder, rules: Sequence[_Rule]) -> None:
        self._embedder = embedder
        self._examples = [(rule, text) for rule in rules for text in rule.examples]
        self._vectors: npt.NDArray[np.float32] | None = None
        if self._examples:
            self._vectors = embedder.embed([text for _, text in self._examples])

    def to(self, text: str) -> tuple[str, str, float] | None:
        """Return route, example and cosine of the nearest example that is near enough."""
        if self._vectors is None:
            return None
        (vector,) = self._embedder.embed([text])
        scores = self._vectors @ vector
        for at in (-scores).argsort(kind="stable"):
            rule, example = self._examples[int(at)]
            if scores[at] >= rule.min_score:
                return rule.route, example, round(float(scores[at]), 4)
        return None


def _rule(given: Any, path: str, problems: list[Problem]) -> _Rule:
    """Return a rule, its mistakes added to ``problems``."""
    if not isinstance(given, Mapping) or not isinstance(given.get("route"), str):
        message = f"expected a mapping with 'route', got {given!r:.100}"
        problems.append(Problem(path, message))
        return _Rule("")
    for key in given:
        if key not in _KEYS:
            known = did_you_mean(str(key), _KEYS)
            problems.append(Problem(f"{path}.{key}", f"unknown key {key!r}{known}"))
    if not given.keys() & {"pattern", "where", "when", "examples"}:
        problems.append(Problem(path, "has no condition: pattern, where, when or examples"))
    when, examples = given.get("when"), given.get("examples", ())
    if when is not None and not callable(when):
        problems.append(Problem(f"{path}.when", f"expected a function, got {when!r:.80}"))
    if isinstance(examples, str) or not all(isinstance(text, str) for text in examples):
        problems.append(Problem(f"{path}.examples", f"expected texts, got {examples!r:.80}"))
        examples = ()
    if examples and given.keys() & {"pattern", "where", "when"}:
        message = "examples stand alone: a rule has them or other conditions"
        problems.append(Problem(f"{path}.examples", message))
    return _Rule(
        given["route"],
        _pattern(given.get("pattern"), f"{path}.pattern", problems),
        _condition(given.get("where"), f"{path}.where", problems),
        when,
        tuple(examples),
        float(given.get("min_score", 0.5)),
    )


def _pattern(given: Any, path: str, problems: list[Problem]) -> re.Pattern[str] | None:
    if given is None:
        return None
    try:
        return re.compile(given)
    except (re.error, TypeError) as error:
        problems.append(Problem(path, f"is no regular expression: {error}, got {given!r:.80}"))
        return None


def _condition(given: Any, path: str, problems: list[Problem]) -> Filter | None:
    try:
        return parse_filter(given)
    except ConfigError as error:
        problems.extend(Problem(path + p.path.removeprefix("$"), p.message) for p in error.problems)
        return None
