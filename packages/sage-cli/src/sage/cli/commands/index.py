"""``sage index DIR``: bring a collection up to date with a directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sage.cli.options import (
    CollectionOption,
    DebugOption,
    HomeOption,
    JsonOption,
    ModelOption,
)

if TYPE_CHECKING:
    from sage.middleware.indexing import IndexReport

__all__ = ["index"]

_SHOWN_FAILURES = 10


def index(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The directory with the documents.")
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
    from sage.middleware.indexing import build_index

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
    if as_json:
        from sage.cli.screen import print_json

        print_json(report.to_dict())
    else:
        _print_report(report)
    nothing_indexed = not (report.indexed or report.unchanged or report.removed)
    if report.failed and nothing_indexed:
        raise typer.Exit(1)


def _print_report(report: IndexReport) -> None:
    from rich.table import Table

    from sage.cli.screen import results, shown_path

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_row("added", str(len(report.added)))
    table.add_row("changed", str(len(report.changed)))
    table.add_row("removed", str(len(report.removed)))
    table.add_row("unchanged", str(report.unchanged))
    table.add_row("failed", str(len(report.failed)), style="red" if report.failed else None)
    table.add_row("chunks", str(report.chunks))
    table.add_row("seconds", f"{report.elapsed_s:.1f}")
    if report.indexed:
        table.add_row("docs/s", f"{report.documents_per_s:.1f}")
    console = results()
    console.print(f"collection {report.collection!r} ← {shown_path(report.root)}", style="bold")
    console.print(table)
    _print_failures(report)


def _print_failures(report: IndexReport) -> None:
    from rich.text import Text

    from sage.cli.screen import messages, shown_path

    if not report.failed:
        return
    console = messages()
    verb = "document was" if len(report.failed) == 1 else "documents were"
    console.print(f"\n{len(report.failed)} {verb} not indexed:", style="bold red")
    for failure in report.failed[:_SHOWN_FAILURES]:
        line = Text(f"  {shown_path(failure.source)}: ", style="bold")
        line.append(failure.reason, style="default")
        if failure.kept:
            line.append(" (the version indexed before still answers)", style="dim")
        console.print(line, soft_wrap=True)
    if (rest := len(report.failed) - _SHOWN_FAILURES) > 0:
        console.print(f"  ... and {rest} more (--json lists them all)")
