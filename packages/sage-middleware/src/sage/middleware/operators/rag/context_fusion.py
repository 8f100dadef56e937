"""Joins what several retrievers on several branches of a stream found for one question."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from sage.common.config import Meta, configurable
from sage.common.core.functions import MapFunction
from sage.common.errors import ConfigError, DataError, Problem
from sage.common.records import Retrieved
from sage.middleware.operators.rag.fusing import Fusion, Quotas, Weights, fused_sources, leg_of
from sage.middleware.operators.rag.promptors import as_retrieved
from sage.middleware.operators.rag.retrieving import TopK

if TYPE_CHECKING:
    from sage.kernel import DataStream, Gathered

__all__ = ["ContextFusionOperator"]


@configurable
class ContextFusionOperator(MapFunction[Any, Retrieved]):
    """Makes one ranking of what several retrievers found for a question.

    Behind a ``union`` it waits, for each question, until every branch of the union has answered,
    and joins the answers: ``a.union(b).union(c).map(ContextFusionOperator())``. What has not come
    after ``timeout_s`` (or at the end of the input) is missing, and the result is marked partial.
    Answers belong together by the id of their query: where the very same question may be asked
    again before its answers are joined, give the queries ids of their own.

    Each passage says in ``metadata["found_in"]`` which sources found it, by the name of their
    collection. Called by itself it joins a list of answers.

    Args:
        top_k: How many passages to return.
        fusion: ``rrf`` joins by reciprocal rank; ``weighted`` averages scaled scores.
        weights: How much a source counts, by name; 1 where none is given.
        quotas: The most passages of a source, by name; no limit where none is given.
        timeout_s: Longest wait for the rest of the answers to a question; None waits to the end.
        expected: How many answers a question has; by default as many as the union has branches.

    Raises:
        ConfigError: where it is put on a stream, if that is no union and ``expected`` is not given.

    Example:
        >>> from sage.kernel import LocalEnvironment
        >>> from sage.middleware.operators.rag import BM25Retriever
        >>> questions = LocalEnvironment().from_collection(["Does iron rust?"])
        >>> docs = questions.map(BM25Retriever(documents=["Iron rusts."]))
        >>> web = questions.map(BM25Retriever(documents=["Rust is a language."]))
        >>> [found] = docs.union(web).map(ContextFusionOperator()).collect()
        >>> sorted(passage.text for passage in found)
        ['Iron rusts.', 'Rust is a language.']
    """

    def __init__(
        self,
        *,
        top_k: TopK = 5,
        fusion: Fusion = "rrf",
        weights: Weights | None = None,
        quotas: Quotas | None = None,
        timeout_s: Annotated[float, Meta(gt=0)] | None = 30.0,
        expected: Annotated[int, Meta(ge=1)] | None = None,
    ) -> None:
        self.top_k = top_k
        self.fusion = fusion
        self._weights = weights
        self._quotas = quotas
        self._timeout_s = timeout_s
        self._expected = expected

    def expand(self, stream: DataStream[Any], **options: Any) -> DataStream[Retrieved]:
        """Put the operator on a stream: gather the answers by question, then join them."""
        expected = self._expected or _branches(stream)
        name = options.pop("name", None) or type(self).__name__
        spread = {key: options[key] for key in ("parallelism",) if key in options}
        return stream.gather(
            _question, expected, timeout_s=self._timeout_s, name=f"{name}: gather", **spread
        ).map(_FuseGathered(self, expected), name=name, **options)

    def map(self, record: Sequence[Retrieved | Mapping[str, Any]]) -> Retrieved:
        """Return one ranking for the answers to one question.

        Raises:
            DataError: if it is no list of answers, or they are to several questions.
        """
        if isinstance(record, (Retrieved, Mapping, str)) or not isinstance(record, Sequence):
            raise DataError(
                f"ContextFusionOperator expected a list of answers to one question, got "
                f"{type(record).__name__}: {record!r:.100}",
                hint="on a stream it goes behind a union of retrievers",
            )
        return self.fuse([as_retrieved("ContextFusionOperator", answer) for answer in record])

    def fuse(self, answers: Sequence[Retrieved], expected: int = 0) -> Retrieved:
        """Return one ranking; partial if there are fewer answers than expected, or one is.

        Raises:
            DataError: if there is no answer, or they are to several questions.
        """
        started = time.perf_counter()
        if len({answer.query.id for answer in answers}) != 1:
            raise DataError(f"expected answers to one question, got {len(answers)} of several")
        query = answers[0].query
        # Branches answer in any order; by name, equal questions have equal results.
        named = _named(answers)
        passages = fused_sources(
            {name: answer.passages for name, answer in named.items()},
            self.fusion,
            self.top_k,
            weights=self._weights,
            quotas=self._quotas,
        )
        missing = max(expected - len(answers), 0)
        partial = bool(missing) or any(answer.partial for answer in answers)
        detail: dict[str, Any] = {
            "fusion": self.fusion,
            "found": len(passages),
            "legs": [leg_of(name, answer, query) for name, answer in named.items()],
        }
        if missing:
            detail["missing"] = missing
        slowest = max(
            (answer.steps[len(query.steps) :] for answer in answers),
            key=lambda steps: sum(step.elapsed_s for step in steps),
        )
        fused = Retrieved(query, tuple(passages), partial, (*query.steps, *slowest))
        return fused.with_step("fuse", time.perf_counter() - started, **detail)


class _FuseGathered(MapFunction["Gathered", Retrieved]):
    """The operator as it is called behind ``gather``."""

    def __init__(self, operator: ContextFusionOperator, expected: int) -> None:
        self._operator = operator
        self._expected = expected

    def map(self, record: Gathered) -> Retrieved:
        answers = [as_retrieved("ContextFusionOperator", answer) for answer in record.results]
        return self._operator.fuse(answers, self._expected)


def _question(record: Any) -> str:
    return as_retrieved("ContextFusionOperator", record).query.id


def _named(answers: Sequence[Retrieved]) -> dict[str, Retrieved]:
    """Return answers by the name of their source, in the order of names."""
    named: dict[str, Retrieved] = {}
    for answer in sorted(answers, key=_source):
        name, number = _source(answer), 2
        while name in named:
            name, number = f"{_source(answer)}#{number}", number + 1
        named[name] = answer
    return named


def _source(answer: Retrieved) -> str:
    told = [str(step.detail["source"]) for step in answer.steps if "source" in step.detail]
    return told[-1] if told else "source"


def _branches(stream: DataStream[Any]) -> int:
    """Return how many streams a union of unions is made of."""
    from sage.kernel.operators.union import UnionOperator

    graph = stream.env.graph()

    def leaves(uid: str) -> int:
        node = graph[uid]
        if not isinstance(node.operator, UnionOperator):
            return 1
        return sum(leaves(edge.upstream) for edge in node.inputs)

    branches = leaves(stream.uid)
    if branches == 1:
        message = "the stream is no union, so it is unknown how many answers a question has"
        raise ConfigError(
            "ContextFusionOperator",
            [Problem("$.expected", message)],
            hint="a.union(b).map(ContextFusionOperator()), or say expected=",
        )
    return branches
