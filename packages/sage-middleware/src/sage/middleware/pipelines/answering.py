"""The question-answering pipeline: query → retrieve → prompt → generate, on the kernel."""

from __future__ import annotations

import os
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
) -> Answer:
    """Answer one question from a collection.

    Args:
        question: What to answer.
        collection: Name of the collection.
        top_k: How many passages the generator is given.
        generator: ``extractive`` quotes the passages; ``openai`` asks an endpoint.
        model: The generator's model, where it has one.
        home: SAGE's home directory, instead of ``$SAGE_HOME``.

    Raises:
        DataError: if the question is empty or the collection does not exist.
    """
    from sage.kernel import LocalEnvironment
    from sage.kernel.errors import JobFailedError

    questions = LocalEnvironment("ask").from_collection([Query.of(question)])
    stream = answers(
        questions, collection, top_k=top_k, generator=generator, model=model, home=home
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
) -> DataStream[Answer]:
    """Return the stream of answers to a stream of questions; nothing runs yet.

    Args are those of `answer_question`.
    """
    from sage.libs.collection import Collection
    from sage.middleware.operators.rag import HybridRetriever, QAPromptor

    with Collection.open(collection, home) as opened:
        embedder_model = opened.model
    where = {"model": embedder_model, "top_k": top_k, "collection": collection, "home": home}
    return (
        questions.map(HybridRetriever, where, name="retrieve")
        .map(QAPromptor, name="prompt")
        .map(_generator(generator, model), name="generate")
    )


def _generator(kind: GeneratorKind, model: str | None) -> MapFunction[Any, Answer]:
    from sage.middleware.operators.rag import ExtractiveGenerator, OpenAIGenerator

    if kind == "extractive":
        return ExtractiveGenerator()
    return OpenAIGenerator(model=model) if model else OpenAIGenerator()
