"""``sage doctor``: what is there, what is missing, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from sage.cli.options import DebugOption, HomeOption, JsonOption

if TYPE_CHECKING:
    from sage.cli.health.finding import Finding

__all__ = ["doctor"]


def doctor(
    home: HomeOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Check the set-up and say what to do about it."""
    from sage.cli.health.checkup import examine
    from sage.cli.health.finding import Status

    findings = examine(home)
    failed = any(finding.status is Status.FAIL for finding in findings)
    if as_json:
        from sage.cli.screen import print_json

        print_json({"ok": not failed, "findings": [finding.to_dict() for finding in findings]})
    else:
        _print_findings(findings)
    if failed:
        raise typer.Exit(1)


def _print_findings(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    from sage.cli.health.finding import Status
    from sage.cli.screen import results

    styles = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(width=4)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        detail = Text(finding.detail)
        if finding.advice:
            detail.append(f"\n→ {finding.advice}", style=styles[finding.status])
        table.add_row(
            Text(finding.status.value, style=styles[finding.status]), finding.subject, detail
        )
    console = results()
    console.print(table)
    counts = {status: sum(f.status is status for f in findings) for status in Status}
    console.print(
        f"\n{counts[Status.OK]} ok, {counts[Status.WARN]} to know about, "
        f"{counts[Status.FAIL]} to mend",
        style="bold",
    )
