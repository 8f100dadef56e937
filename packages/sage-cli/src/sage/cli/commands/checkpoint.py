"""``sage checkpoint list|show|verify DIR``: what a job could go on from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sage.cli.options import DebugOption, JsonOption

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sage.kernel.checkpoint.inventory import ListedCheckpoint
    from sage.kernel.checkpoint.manifest import Manifest

__all__ = ["list_checkpoints", "show", "verify"]

DirectoryArgument = Annotated[
    str,
    typer.Argument(
        metavar="DIR",
        help="A checkpoint_dir, a job's folder in it, a checkpoint or a savepoint; path or URL.",
        show_default=False,
    ),
]

_STYLES = {
    "complete": "green",
    "intact": "green",
    "unfinished": "dim",
    "fenced": "dim",
    "damaged": "bold red",
    "newer format": "bold red",
}


def list_checkpoints(
    directory: DirectoryArgument, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """List the checkpoints in a directory, without reading their state."""
    from sage.kernel.checkpoint.inventory import checkpoints_in

    found = checkpoints_in(directory)
    if as_json:
        _print_json({"checkpoints": [_summary(one) for one in found]})
    else:
        _print_checkpoints(found)


def show(
    directory: DirectoryArgument, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Show what the newest complete checkpoint in a directory consists of."""
    from sage.kernel.checkpoint.inventory import checkpoints_in
    from sage.kernel.errors import CheckpointError

    found = checkpoints_in(directory)
    complete = [
        (one, one.manifest)
        for one in found
        if one.manifest is not None and one.condition == "complete"
    ]
    if not complete:
        raise CheckpointError(
            f"there is no complete checkpoint in {directory!r}: {found[-1].problem}",
            hint=f"sage checkpoint list {directory}",
        )
    newest, manifest = max(complete, key=lambda pair: (pair[1].created_at, pair[1].checkpoint))
    if as_json:
        _print_json({**_summary(newest), **_contents(manifest)})
    else:
        _print_contents(newest.path, manifest)


def verify(
    directory: DirectoryArgument, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Read every checkpoint in a directory; exit with 1 if one is damaged."""
    from sage.kernel.checkpoint.inventory import checkpoints_in, verified

    checked = [verified(directory, one) for one in checkpoints_in(directory)]
    found = [one for one in checked if one is not None]
    damaged = sum(one.is_damaged for one in found)
    if as_json:
        _print_json({"ok": not damaged, "checkpoints": [_summary(one, "intact") for one in found]})
    else:
        _print_checkpoints(found, complete="intact")
    if damaged:
        raise typer.Exit(1)


def _summary(one: ListedCheckpoint, complete: str = "complete") -> dict[str, Any]:
    manifest = one.manifest
    told: dict[str, Any] = {
        "path": one.path,
        "condition": complete if one.condition == "complete" else one.condition,
        "problem": one.problem,
    }
    if manifest is not None:
        told |= {
            "job": manifest.job,
            "checkpoint": manifest.checkpoint,
            "epoch": manifest.epoch,
            "kind": manifest.kind,
            "created_at": manifest.created_at,
            "duration_s": manifest.duration_s,
            "bytes": manifest.total_bytes,
            "own_bytes": manifest.own_bytes,
        }
    return told


def _contents(manifest: Manifest) -> dict[str, Any]:
    from dataclasses import asdict

    contents = asdict(manifest)
    return {name: contents[name] for name in ("format", "operators", "tasks")}


def _print_json(value: Any) -> None:
    from sage.cli.screen import print_json

    print_json(value)


def _print_checkpoints(found: list[ListedCheckpoint], complete: str = "complete") -> None:
    from os.path import commonpath

    from rich.table import Table
    from rich.text import Text

    from sage.cli.screen import messages, results, safe, shown_path

    table = Table(box=None, pad_edge=False)
    for column in ("job", "number", "kind", "taken", "size", "condition"):
        right = column in ("number", "size")
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "job")
    table.add_column("folder", no_wrap=True)
    root = commonpath([one.path.rpartition("/")[0] for one in found])
    for one in found:
        condition = complete if one.condition == "complete" else one.condition
        condition_text = Text(condition, style=_STYLES[condition])
        folder = safe(one.path.removeprefix(f"{root}/"))
        table.add_row(*_columns(one.manifest), condition_text, folder)
    console = results()
    console.print(f"in {safe(shown_path(root))}:", style="bold", soft_wrap=True)
    # A row as wide as it is: a path that is broken in two can neither be copied nor searched for.
    console.width = max(console.width, _widest(table, console))
    console.print(table, soft_wrap=True)
    for one in found:
        if one.is_damaged:
            messages().print(safe(one.problem), style=_STYLES[one.condition], soft_wrap=True)


def _widest(table: Table, console: Console) -> int:
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum


def _columns(manifest: Manifest | None) -> list[str]:
    from sage.cli.screen import safe

    if manifest is None:
        return ["-"] * 5
    return [
        safe(manifest.job),
        str(manifest.checkpoint),
        manifest.kind,
        _moment(manifest.created_at),
        _size(manifest.total_bytes),
    ]


def _print_contents(path: str, manifest: Manifest) -> None:
    from rich.table import Table

    from sage.cli.screen import results, safe, shown_path

    console = results()
    console.print(
        f"{manifest.kind} {manifest.checkpoint} of {safe(manifest.job)!r}, taken "
        f"{_moment(manifest.created_at)} in {manifest.duration_s:.2f} s by run {manifest.epoch}",
        style="bold",
    )
    console.print(
        f"{safe(shown_path(path))}: {_size(manifest.total_bytes)}, "
        f"{_size(manifest.own_bytes)} of them written for this one\n"
    )
    names = {operator.uid: operator for operator in manifest.operators}
    table = Table(box=None, pad_edge=False)
    for column in ("task", "subtask", "operators", "size", "rests on"):
        table.add_column(column, justify="right" if column == "size" else "left")
    for task in manifest.tasks:
        earlier = {file.path for base in task.bases for file in base.files}
        operators = (names[uid].name if uid in names else uid for uid in task.operators)
        table.add_row(
            safe(task.head),
            f"{task.subtask + 1} of {task.parallelism}" + (" (ended)" if task.finished else ""),
            safe(" → ".join(operators)),
            _size(task.file.bytes) if task.file is not None else "-",
            f"{len(earlier)} earlier files" if earlier else "-",
        )
    console.print(table)


def _moment(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="seconds")


def _size(count: float) -> str:
    """Return a number of bytes for people.

    Example:
        >>> _size(999), _size(1_500), _size(2_000_000_000)
        ('999 B', '1.5 kB', '2.0 GB')
    """
    if count < 1000:
        return f"{count:.0f} B"
    power = min(len(str(round(count))) - 1, 9) // 3
    return f"{count / 1000**power:.1f} {' kMG'[power]}B"
