"""The options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "CollectionOption",
    "DebugOption",
    "HomeOption",
    "JsonOption",
    "ModelOption",
]

JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print JSON on stdout, errors too; progress goes to stderr."),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]
CollectionOption = Annotated[
    str,
    typer.Option("--collection", "-c", metavar="NAME", help="The collection of documents."),
]
HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="Where collections are kept, instead of $SAGE_HOME or ~/.sage.",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="ID", help="The embedding model: an id or a directory."),
]
