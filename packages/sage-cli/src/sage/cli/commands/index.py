"""``sage index PATH...``: bring a collection up to date with directories, once or all the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sage.cli.failure import InterruptedByUser
from sage.cli.options import (
    CollectionOption,
    DebugOption,
    HomeOption,
    JsonOption,
    ModelOption,
)

if TYPE_CHECKING:
    from sage.common.errors import SageError
    from sage.middleware.indexing import IndexReport

__all__ = ["index"]


def index(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Directories, files or URLs with the documents."),
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
    chunker: Annotated[
        str | None,
        typer.Option("--chunker", metavar="NAME", help="How to cut: 'sage list chunkers'."),
    ] = None,
    chunk_tokens: Annotated[
        int | None, typer.Option("--chunk-tokens", min=8, help="Most tokens in a chunk.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, and index what changes, until Ctrl-C.")
    ] = False,
    allow_empty: Annotated[
        bool,
        typer.Option(
            "--allow-empty", help="Empty the index if the directory holds no documents any more."
        ),
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="HOST",
            help="Fetch URLs from this host, HOST:PORT or network, though it is not public; "
            "may be repeated.",
        ),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Index directories; again, only what changed is touched."""
    from sage.libs.documents import UrlPolicy
    from sage.middleware.indexing import IndexingStopped

    options = {
        "model": model,
        "store": store,
        "chunker": chunker,
        "chunk_tokens": chunk_tokens,
        "home": home,
        "allow_empty": allow_empty,
        "urls": UrlPolicy(allow=tuple(allow_host or ())),
    }
    try:
        if watch:
            _watch(paths, collection, as_json, options)
        else:
            _index(paths, collection, as_json, options)
    except IndexingStopped as stop:
        raise InterruptedByUser(str(stop)) from None


def _index(paths: list[str], collection: str, as_json: bool, options: dict[str, Any]) -> None:
    from sage.cli.progress import indexing_progress
    from sage.cli.reports import print_report
    from sage.cli.screen import print_json
    from sage.middleware.indexing import build_index

    with indexing_progress() as progress:
        report = build_index(paths, collection, progress=progress, **options)
    if as_json:
        print_json(report.to_dict())
    else:
        print_report(report)
    nothing_indexed = not (report.indexed or report.unchanged or report.removed)
    if report.failed and nothing_indexed:
        raise typer.Exit(1)


def _watch(paths: list[str], collection: str, as_json: bool, options: dict[str, Any]) -> None:
    """Index until Ctrl-C, which is how this ends, and no failure."""
    from sage.cli.failure import Failure, Presentation
    from sage.cli.progress import progress_lines
    from sage.cli.reports import print_change, print_report
    from sage.cli.screen import messages, print_json_line
    from sage.common.errors import SageError
    from sage.middleware.indexing import watch_index

    shown = 0

    def tell(told: IndexReport | SageError) -> None:
        nonlocal shown
        shown += 1
        if as_json:
            value = Failure.of(told) if isinstance(told, SageError) else told
            print_json_line(value.to_dict())
        elif isinstance(told, SageError):
            Presentation().show(told)
        elif shown == 1:
            print_report(told)
            messages().print("watching for changes; Ctrl-C ends it", style="dim")
        else:
            print_change(told)

    watch_index(paths, collection, tell=tell, progress=progress_lines(), **options)
    messages().print("\nstopped watching", style="dim")
