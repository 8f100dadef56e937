"""``sage bench SUITE``: measure speed against hand-written code and peers, or quality."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sage.cli.options import DebugOption

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["bench"]


def bench(
    suite: Annotated[
        str, typer.Argument(metavar="SUITE", help="Name of the suite, such as kernel.")
    ],
    peers: Annotated[bool, typer.Option("--peers", help="Measure other systems too.")] = False,
    rows: Annotated[
        str | None, typer.Option("--rows", metavar="W1,W2", help="Only these rows.")
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Runs of each contestant.")] = 5,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers here.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write JSON, charts and a page of results."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Test collections: BEIR folders (retrieval)."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny sizes, to see that all runs; no measurement.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Measure a suite of benchmarks."""
    import json
    import sys

    from sage.cli.screen import results
    from sage.common.errors import MissingExtraError
    from sage.common.registry import registry

    suites = registry("benchmarks")
    if not suites.names():
        raise MissingExtraError("sage.benchmark", extra="isage-benchmark")
    chosen: Any = suites.get(suite)
    if data is not None:
        chosen = _over(chosen, suite, data)
    keys = rows.split(",") if rows else None
    with _progress(chosen.runs(keys, rounds=rounds, peers=peers, quick=quick)) as progress:
        report = chosen.measure(
            keys,
            rounds=rounds,
            peers=peers,
            quick=quick,
            progress=progress,
            command=" ".join(["sage", *sys.argv[1:]]),
        )
    results().print(report.table())
    if json_file is not None:
        json_file.write_text(json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n")
    if out is not None:
        for path in chosen.write(report, out):
            results().print(f"wrote {path}")
    if report.failures:
        raise typer.Exit(1)


def _over(chosen: Any, suite: str, data: Path) -> Any:
    """Return the suite over the data of a directory."""
    from sage.common.errors import ConfigError, Problem

    if not hasattr(chosen, "on"):
        problem = Problem("--data", f"the suite {suite!r} makes its data itself")
        raise ConfigError("sage bench", [problem])
    return chosen.on(data)


@contextmanager
def _progress(runs: int) -> Iterator[Callable[[str, str], None]]:
    import sys

    if sys.stderr.isatty():
        with _bar(runs) as show:
            yield show
    else:
        yield _lines()


@contextmanager
def _bar(runs: int) -> Iterator[Callable[[str, str], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from sage.cli.screen import messages

    columns = (
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=messages(), transient=True) as bar:
        task = bar.add_task("", total=runs, completed=-1)

        def show(stage: str, detail: str) -> None:
            bar.update(task, advance=1, description=f"{stage}: {detail}")

        yield show


def _lines() -> Callable[[str, str], None]:
    import sys

    shown: set[str] = set()

    def show(stage: str, detail: str) -> None:
        if stage not in shown:
            shown.add(stage)
            print(stage, file=sys.stderr, flush=True)

    return show
