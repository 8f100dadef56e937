"""Joins what several retrievers on several branches of a stream found for one question."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from sage.common.config import Meta, configurable
from sage.common.core.functions import CompositeFunction, ProcessFunction
from sage.common.core.state import ValueState
from sage.common.errors import ConfigError, DataError, Problem
from sage.common.records import Retrieved
from sage.middleware.operators.rag.fusing import Fusion, Quotas, Weights, fused_sources, leg_of
from sage.middleware.operators.rag.promptors import as_retrieved
from sage.middleware.operators.rag.retrieving import TopK

if TYPE_CHECKING:
    from sage.kernel import DataStream

__all__ = ["ContextFusionOperator"]

# What waits so long is let go at the end of the input, when every timer fires.
_FOR_EVER_S: Final = 1e9


@configurable
class ContextFusionOperator(CompositeFunction[Any, Retrieved]):
    """Makes one ranking of what several retrievers found for a question.

    Behind a ``union`` it waits, for each question, until every branch of the union has answered,
    and joins the answers: ``a.union(b).union(c).map(ContextFusionOperator())``. What has not come
    after ``timeout_s`` (or at the end of the input) is missing, and the result is marked partial.
    Answers belong together by the id of their query; a question that is asked twice is answered
    twice.

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
        self.timeout_s = timeout_s if timeout_s is not None else _FOR_EVER_S
        self._expected = expected

    def expand(self, stream: DataStream[Any], **options: Any) -> DataStream[Retrieved]:
        """Put the operator on a stream: bring the answers to a question together, and join them."""
        name = options["name"]
        branches = _branches(stream)
        if len(branches) == 1 and self._expected is None:
            message = "the stream is no union, so it is unknown how many answers a question has"
            raise ConfigError(
                "ContextFusionOperator",
                [Problem("$.expected", message)],
                hint="a.union(b).map(ContextFusionOperator()), or say expected=",
            )
        marks = range(len(branches)) if len(branches) > 1 else [None]
        first, *others = [
            branch.map(functools.partial(_branched, mark), name=f"{name}: branch {number}")
            for number, (mark, branch) in enumerate(zip(marks, branches, strict=True))
        ]
        answers = first.union(*others, name=f"{name}: branches") if others else first
        gather = _FuseAnswers(self, self._expected or len(branches))
        return answers.key_by(_question, name=f"{name}: question").process(gather, **options)

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


class _Answer(NamedTuple):
    """An answer on its way to the others: its branch, and until when it waits for them."""

    branch: int | str
    due_s: float
    answer: Retrieved


class _FuseAnswers(ProcessFunction[_Answer, Retrieved]):
    """The operator behind ``key_by(question)``: waits for an answer of each branch.

    A question that is asked again while its answers are under way has answers of its own: one of
    each branch, in the order in which they came.
    """

    def __init__(self, operator: ContextFusionOperator, expected: int) -> None:
        self._operator = operator
        self._expected = expected
        self._waiting: Any = None

    def open(self, context: Any) -> None:
        self._waiting = context.state(ValueState("answers"))

    def process(self, record: _Answer, ctx: Any) -> Iterator[Retrieved]:
        due_s = ctx.timers.now_s + self._operator.timeout_s
        waiting = [*self._kept(), record._replace(due_s=due_s)]
        group = _one_of_each(waiting)
        if len(group) < self._expected:
            ctx.timers.set_processing_timer(due_s)
            self._keep(waiting)
            return
        yield self._fused(group, waiting, ctx)

    def on_timer(self, timestamp_s: float, ctx: Any) -> Iterator[Retrieved]:
        while (waiting := self._kept()) and waiting[0].due_s <= timestamp_s:
            yield self._fused(_one_of_each(waiting), waiting, ctx)

    def _fused(self, group: list[_Answer], waiting: list[_Answer], ctx: Any) -> Retrieved:
        taken = set(map(id, group))
        left = [answer for answer in waiting if id(answer) not in taken]
        # Answers that came at one moment share a timer.
        for due_s in {answer.due_s for answer in group} - {answer.due_s for answer in left}:
            ctx.timers.delete_processing_timer(due_s)
        self._keep(left)
        return self._operator.fuse([answer.answer for answer in group], self._expected)

    def _kept(self) -> list[_Answer]:
        return [_Answer(*answer) for answer in self._waiting.get() or ()]

    def _keep(self, waiting: list[_Answer]) -> None:
        if waiting:
            self._waiting.set([tuple(answer) for answer in waiting])
        else:
            self._waiting.clear()


def _one_of_each(waiting: Sequence[_Answer]) -> list[_Answer]:
    """Return the oldest answer of each branch."""
    oldest: dict[int | str, _Answer] = {}
    for answer in waiting:
        oldest.setdefault(answer.branch, answer)
    return list(oldest.values())


def _branched(branch: int | None, record: Any) -> _Answer:
    """Return an answer with the branch it came by; by its source where there is only one."""
    answer = as_retrieved("ContextFusionOperator", record)
    return _Answer(_source(answer) if branch is None else branch, 0.0, answer)


def _question(record: _Answer) -> str:
    return record.answer.query.id


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


def _branches(stream: DataStream[Any]) -> list[DataStream[Any]]:
    """Return the streams that a union, also one of unions, is made of; else the stream itself."""
    from sage.kernel import DataStream
    from sage.kernel.operators.union import UnionOperator

    node = stream.env.graph()[stream.uid]
    if not isinstance(node.operator, UnionOperator):
        return [stream]
    inputs: list[DataStream[Any]] = [
        DataStream(stream.env, edge.upstream, partitioning=edge.partitioning, tag=edge.tag)
        for edge in node.inputs
    ]
    return [branch for one in inputs for branch in _branches(one)]
