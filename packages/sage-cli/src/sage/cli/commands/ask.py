"""``sage ask "question"``: answer from a collection, with numbered citations."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from sage.cli.options import CollectionOption, DebugOption, HomeOption, JsonOption

if TYPE_CHECKING:
    from sage.common.records import Answer

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


def print_answer(answer: Answer) -> None:
    """Print an answer, its numbered citations and the time of each stage."""
    from rich.padding import Padding
    from rich.text import Text

    from sage.cli.screen import results, shown_path

    console = results()
    console.print(Padding(Text(answer.text), (0, 0, 1, 0)))
    for citation in answer.citations:
        line = Text(f"[{citation.number}] ", style="bold cyan")
        line.append(shown_path(citation.place), style="default")
        console.print(line, soft_wrap=True)
    console.print(Text(stage_times(answer), style="dim"), soft_wrap=True)


def stage_times(answer: Answer) -> str:
    """Return the stages of an answer with their times, such as ``retrieve 12 ms · generate 3 ms``.

    Example:
        >>> from sage.common.records import Answer, Query, Step
        >>> stage_times(Answer("a", Query("q"), steps=(Step("retrieve", 0.012),), model="m"))
        'retrieve 12 ms · total 12 ms · m'
    """
    parts = [f"{step.name} {step.elapsed_s * 1000:.0f} ms" for step in answer.steps]
    parts.append(f"total {sum(step.elapsed_s for step in answer.steps) * 1000:.0f} ms")
    return " · ".join([*parts, answer.model] if answer.model else parts)
