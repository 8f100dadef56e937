"""``sage ask "question"``: answer from a collection, with numbered citations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

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
    filter_json: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="JSON",
            help='Only passages whose metadata match, such as \'{"page": {"$lt": 5}}\'.',
        ),
    ] = None,
    rerank: Annotated[
        bool,
        typer.Option("--rerank", help="Read the 50 best passages once more; better and slower."),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Show what each leg of the search found, with ranks and times."
        ),
    ] = False,
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
        where=_filter(filter_json),
        rerank=rerank,
        explain=explain,
    )
    if as_json:
        from sage.cli.screen import print_json

        print_json(answer.to_dict())
    else:
        print_answer(answer)
        if explain:
            from sage.cli.explanation import print_explanation

            print_explanation(answer)


def _filter(given: str | None) -> Mapping[str, Any] | None:
    """Return what ``--filter`` says.

    Raises:
        ConfigError: if it is not a JSON object.
    """
    if given is None:
        return None
    from sage.common.errors import ConfigError, Problem

    hint = 'quote it for the shell: --filter \'{"media_type": "text/markdown"}\''
    try:
        found = json.loads(given)
    except ValueError as error:
        problem = Problem("", f"is not JSON: {error}, got {given!r:.100}")
        raise ConfigError("--filter", [problem], hint=hint) from error
    if not isinstance(found, dict):
        problem = Problem("", f"expected a JSON object, got {given!r:.100}")
        raise ConfigError("--filter", [problem], hint=hint)
    return found
