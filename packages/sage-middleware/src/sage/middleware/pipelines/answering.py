"""The question-answering pipeline: query → retrieve → prompt → generate, on the kernel."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from sage.common.errors import SageError
from sage.common.records import Answer, Query

if TYPE_CHECKING:
    from sage.common.core.functions import MapFunction
    from sage.kernel import DataStream

__all__ = ["GeneratorKind", "answer_question", "answers"]

GeneratorKind = Literal["extractive", "openai"]


def answer_question(
    question: str,
    collection: str = "default",
    *,
    top_k: int = 5,
    generator: GeneratorKind = "extractive",
    model: str | None = None,
    home: str | os.PathLike[str] | None = None,
    where: Mapping[str, Any] | None = None,
    rerank: bool | str = False,
    explain: bool = False,
) -> Answer:
    """Answer one question from a collection.

    Args:
        question: What to answer.
        collection: Name of the collection.
        top_k: How many passages the generator is given.
        generator: ``extractive`` quotes the passages; ``openai`` asks an endpoint.
        model: The generator's model, where it has one.
        home: SAGE's home directory, instead of ``$SAGE_HOME``.
        where: Only passages whose metadata match this filter, in Chroma's language.
        rerank: Whether the best candidates are read once more, or the model that does so; see
            `HybridRetriever`.
        explain: Whether the steps of the answer list the candidates of each leg.

    Raises:
        DataError: if the question is empty or the collection does not exist.
        ConfigError: if the filter is not valid.
    """
    from sage.kernel import LocalEnvironment
    from sage.kernel.errors import JobFailedError
    from sage.libs.vectors.filters import parse_filter

    parse_filter(where)
    query = replace(Query.of(question), filter=where, explain=explain)
    stream = answers(
        LocalEnvironment("ask").from_collection([query]),
        collection,
        top_k=top_k,
        generator=generator,
        model=model,
        home=home,
        rerank=rerank,
    )
    try:
        (answer,) = stream.collect()
    except JobFailedError as failure:
        # To whoever asked one question, what is wrong says more than the operator it struck.
        if isinstance(failure.__cause__, SageError):
            raise failure.__cause__ from None
        raise
    return answer


def answers(
    questions: DataStream[Query],
    collection: str = "default",
    *,
    top_k: int = 5,
    generator: GeneratorKind = "extractive",
    model: str | None = None,
    home: str | os.PathLike[str] | None = None,
    rerank: bool | str = False,
) -> DataStream[Answer]:
    """Return the stream of answers to a stream of questions; nothing runs yet.

    Args are those of `answer_question`; a filter, and whether to explain, are in each `Query`.
    """
    from sage.libs.collection import Collection
    from sage.middleware.operators.rag import HybridRetriever, QAPromptor

    with Collection.open(collection, home) as opened:
        embedder_model = opened.model
    options = {"model": embedder_model, "top_k": top_k, "collection": collection, "home": home}
    return (
        questions.map(HybridRetriever, {**options, "rerank": rerank}, name="retrieve")
        .map(QAPromptor, name="prompt")
        .map(_generator(generator, model), name="generate")
    )


def _generator(kind: GeneratorKind, model: str | None) -> MapFunction[Any, Answer]:
    from sage.middleware.operators.rag import ExtractiveGenerator, OpenAIGenerator

    if kind == "extractive":
        return ExtractiveGenerator()
    return OpenAIGenerator(model=model) if model else OpenAIGenerator()
