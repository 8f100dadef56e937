"""Shows what an indexing run did, and every document that it could not index."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sage.middleware.indexing import FailedDocument, IndexReport

__all__ = ["print_change", "print_report"]

_SHOWN_FAILURES = 10


def print_report(report: IndexReport) -> None:
    """Print the counts of a run on stdout and its failures on stderr."""
    from rich.table import Table

    from sage.cli.screen import messages, results, shown_path

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_row("added", str(len(report.added)))
    table.add_row("changed", str(len(report.changed)))
    table.add_row("removed", str(len(report.removed)))
    table.add_row("unchanged", str(report.unchanged))
    table.add_row("failed", str(len(report.failed)), style="red" if report.failed else None)
    table.add_row("chunks", str(report.chunks))
    if report.recalled:
        table.add_row("embedded before", str(report.recalled))
    if report.batch_halvings:
        table.add_row("chunks at once", f"{report.batch_size}, memory ran short")
    table.add_row("seconds", f"{report.elapsed_s:.1f}")
    if report.indexed:
        table.add_row("docs/s", f"{report.documents_per_s:.1f}")
    console = results()
    roots = " ".join(shown_path(root) for root in report.roots)
    console.print(f"collection {report.collection!r} ← {roots}", style="bold")
    console.print(table)
    for warning in report.warnings:
        messages().print(f"\nwarning: {warning}", style="yellow", markup=False, soft_wrap=True)
    _print_failures(report)


def print_change(report: IndexReport) -> None:
    """Print what a run did in one line, with the time of day; its failures on stderr."""
    import time

    from sage.cli.screen import results, shown_path

    did = [
        f"{word} {shown_path(sources[0])}" if len(sources) == 1 else f"{word} {len(sources)}"
        for word, sources in (
            ("added", report.added),
            ("changed", report.changed),
            ("removed", report.removed),
        )
        if sources
    ]
    if report.failed:
        did.append(f"failed {len(report.failed)}")
    line = f"{time.strftime('%H:%M:%S')} {', '.join(did)} ({report.elapsed_s:.1f} s)"
    results().print(line, soft_wrap=True)
    _print_failures(report)


def _print_failures(report: IndexReport) -> None:
    from rich.text import Text

    from sage.cli.screen import messages

    if not report.failed:
        return
    console = messages()
    verb = "document was" if len(report.failed) == 1 else "documents were"
    console.print(f"\n{len(report.failed)} {verb} not indexed:", style="bold red")
    for failure in report.failed[:_SHOWN_FAILURES]:
        line = Text(f"  {_told(failure)}")
        if failure.kept:
            line.append(" (the version indexed before still answers)", style="dim")
        console.print(line, soft_wrap=True)
    if (rest := len(report.failed) - _SHOWN_FAILURES) > 0:
        console.print(f"  ... and {rest} more (--json lists them all)")


def _told(failure: FailedDocument) -> str:
    """Return source and reason in one line, naming the source once."""
    from sage.cli.screen import safe, shown_path

    source = shown_path(failure.source)
    if failure.source in failure.reason:
        return safe(failure.reason.replace(failure.source, source))
    return safe(f"{source}: {failure.reason}")
