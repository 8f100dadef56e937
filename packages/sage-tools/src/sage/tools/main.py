"""Assembles the ``sage-dev`` command and turns errors into a message and an exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from sage.common.errors import SageError
from sage.tools.process import Outcome
from sage.tools.repository import Repository

__all__ = ["app", "main"]

app = typer.Typer(
    name="sage-dev",
    help="Check and test a checkout of SAGE.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="The checkout; default: the one you are in."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
PASSES_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command()
def architecture(root: Root = None, as_json: Json = False) -> None:
    """Check who imports whom: layers, siblings, third-party containment."""
    from sage.tools.architecture import check_architecture

    report = check_architecture(Repository.find(root))
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        for sentence, kept in report.contracts.items():
            _verdict(kept, sentence)
        if not report.outcome.passed:
            print(report.outcome.output, file=sys.stderr)
    raise typer.Exit(not report.outcome.passed)


@app.command()
def quality(
    root: Root = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what ruff can mend.")] = False,
    as_json: Json = False,
) -> None:
    """Check format, lint, types and architecture."""
    from sage.tools.quality import check_quality

    outcomes = []
    for outcome in check_quality(Repository.find(root), fix=fix):
        outcomes.append(outcome)
        if not as_json:
            _show(outcome)
    if as_json:
        print(json.dumps([outcome.to_dict() for outcome in outcomes], indent=2))
    raise typer.Exit(not all(outcome.passed for outcome in outcomes))


@app.command("test", context_settings=PASSES_ON)
def run_pytest(
    context: typer.Context,
    root: Root = None,
    fast: Annotated[bool, typer.Option("--fast", help="Leave out what is marked slow.")] = False,
) -> None:
    """Run all tests and doctests; further arguments go to pytest."""
    from sage.tools.tests import run_tests

    raise typer.Exit(run_tests(Repository.find(root), context.args, fast=fast))


@app.command()
def docs(root: Root = None) -> None:
    """Build the documentation into site/, strictly."""
    from sage.tools.docs import build_docs

    outcome = build_docs(Repository.find(root))
    _show(outcome)
    raise typer.Exit(not outcome.passed)


@app.command()
def measure(as_json: Json = False) -> None:
    """Measure the start-up times and the size that the documentation promises."""
    from sage.tools.measure import measure_all

    numbers = measure_all()
    if as_json:
        print(json.dumps([number.to_dict() for number in numbers], indent=2))
    else:
        for number in numbers:
            unit = number.unit
            _verdict(
                number.kept,
                f"{number.what}: {number.measured} {unit} (limit {number.limit} {unit})",
            )
    raise typer.Exit(not all(number.kept for number in numbers))


def _show(outcome: Outcome) -> None:
    _verdict(outcome.passed, f"{outcome.name}  ({outcome.seconds:.1f} s)")
    if not outcome.passed:
        print(outcome.output, flush=True)


def _verdict(passed: bool, what: str) -> None:
    mark = "[green]ok  [/green]" if passed else "[red]FAIL[/red]"
    Console(highlight=False, soft_wrap=True).print(f"{mark}  {escape(what)}")


def main() -> None:
    """Run the command line; the entry point of ``sage-dev``."""
    try:
        app()
    except SageError as error:
        print(f"sage-dev: {error}", file=sys.stderr)
        sys.exit(1)
