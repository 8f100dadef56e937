"""``sage index DIR``: bring a collection up to date with a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sage.cli.failure import InterruptedByUser
from sage.cli.options import (
    CollectionOption,
    DebugOption,
    HomeOption,
    JsonOption,
    ModelOption,
)

__all__ = ["index"]


def index(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", readable=False, help="The directory with the documents."),
    ],
    collection: CollectionOption = "default",
    home: HomeOption = None,
    model: ModelOption = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="KIND",
            help="Vector store of a new collection: 'sage list vector_stores'.",
        ),
    ] = None,
    allow_empty: Annotated[
        bool,
        typer.Option(
            "--allow-empty", help="Empty the index if the directory holds no documents any more."
        ),
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Index a directory; again, only what changed is touched."""
    from sage.cli.progress import indexing_progress
    from sage.cli.reports import print_report
    from sage.middleware.indexing import IndexingStopped, build_index

    try:
        with indexing_progress() as progress:
            report = build_index(
                directory,
                collection,
                model=model,
                store=store,
                home=home,
                allow_empty=allow_empty,
                progress=progress,
            )
    except IndexingStopped as stop:
        raise InterruptedByUser(str(stop)) from None
    if as_json:
        from sage.cli.screen import print_json

        print_json(report.to_dict())
    else:
        print_report(report)
    nothing_indexed = not (report.indexed or report.unchanged or report.removed)
    if report.failed and nothing_indexed:
        raise typer.Exit(1)
