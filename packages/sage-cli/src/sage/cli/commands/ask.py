"""``sage ask "question"``: answer from a collection, with numbered citations."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sage.cli.options import CollectionOption, DebugOption, HomeOption, JsonOption

__all__ = ["ask"]


class GeneratorName(StrEnum):
    """The generators that ``sage ask`` offers."""

    EXTRACTIVE = "extractive"
    OPENAI = "openai"


def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What you want to know.")],
    collection: CollectionOption = "default",
    home: HomeOption = None,
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", min=1, max=100, help="How many passages to use.")
    ] = 5,
    generator: Annotated[
        GeneratorName,
        typer.Option(
            "--generator",
            help="extractive quotes the documents, offline; openai asks an endpoint.",
        ),
    ] = GeneratorName.EXTRACTIVE,
    model: Annotated[
        str | None, typer.Option("--model", metavar="ID", help="The generator's model.")
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Answer a question from the index, with citations."""
    from sage.cli.answers import print_answer
    from sage.middleware.pipelines.answering import answer_question

    answer = answer_question(
        question,
        collection,
        top_k=top_k,
        generator=generator.value,
        model=model,
        home=home,
    )
    if as_json:
        from sage.cli.screen import print_json

        print_json(answer.to_dict())
    else:
        print_answer(answer)
