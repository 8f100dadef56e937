"""The question-answering pipeline: query → retrieve → prompt → generate, on the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from sage.common.records import Answer, Query

if TYPE_CHECKING:
    from sage.common.core.functions import MapFunction
    from sage.common.records import Prompt
    from sage.kernel import DataStream, LocalEnvironment

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

    env = LocalEnvironment("ask")
    stream = answers(
        env,
        [Query.of(question)],
        collection,
        top_k=top_k,
        generator=generator,
        model=model,
        home=home,
    )
    (answer,) = stream.collect()
    return answer


def answers(
    env: LocalEnvironment,
    questions: Iterable[Query | str],
    collection: str,
    *,
    top_k: int = 5,
    generator: GeneratorKind = "extractive",
    model: str | None = None,
    home: str | os.PathLike[str] | None = None,
) -> DataStream[Answer]:
    """Build the stream of answers to questions; nothing runs yet."""
    from sage.middleware.operators.rag import HybridRetriever, QAPromptor

    retriever = HybridRetriever(top_k=top_k, collection=collection, home=home)
    return (
        env.from_collection(questions)
        .map(retriever, name="retrieve")
        .map(QAPromptor(), name="prompt")
        .map(_generator(generator, model), name="generate")
    )


def _generator(kind: GeneratorKind, model: str | None) -> MapFunction[Prompt, Answer]:
    from sage.middleware.operators.rag import ExtractiveGenerator, OpenAIGenerator

    if kind == "extractive":
        return ExtractiveGenerator()
    return OpenAIGenerator(model=model) if model else OpenAIGenerator()
