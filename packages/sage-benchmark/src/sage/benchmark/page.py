"""The results as tables in a page of the documentation, between two marks that stay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sage.benchmark.report import POLICY, Report, cells, machine, remark_on
from sage.benchmark.schedule import RowResult

__all__ = ["BEGIN", "END", "markdown_row", "measured", "refresh_page", "results_markdown"]

BEGIN = "<!-- results: begin; written by `sage bench`, do not edit by hand -->"
END = "<!-- results: end -->"


def results_markdown(report: Report, chart: str | None) -> str:
    """Return machine, tables and targets as Markdown.

    Args:
        report: The results.
        chart: File name of the picture beside the page, or None.
    """
    lines = [measured(report.started_at, report.command, report.elapsed_s), "", POLICY, ""]
    if chart:
        lines += [f"![Bar charts of the rows]({chart})", ""]
    for result in report.results:
        lines += _section(result)
    if report.verdicts:
        lines += ["### Targets", "", *(f"- {verdict}" for verdict in report.verdicts), ""]
    if report.failures:
        lines += ["### Failures", "", *(f"- {failure}" for failure in report.failures), ""]
    return "\n".join(lines)


def measured(started_at: str, command: str, elapsed_s: float) -> str:
    """Return the sentence that says when, how and on what something was measured."""
    about = machine()
    return (
        f"Measured {started_at[:10]} with `{command}` in {elapsed_s:.0f} s, "
        f"on {about['cores']} cores ({about['processor']}, {about['system']}), "
        f"{about['python']}; load at the end {about['load_1min']}."
    )


def _section(result: RowResult) -> list[str]:
    titles, rows = cells(result)
    lines = [f"### {result.row.key}: {result.row.title}", ""]
    lines += [f"1.00 = {result.row.limit}. {result.rounds} rounds.", ""]
    lines += [
        markdown_row([*titles, ""]),
        markdown_row(["---", *["---:"] * (len(titles) - 1), "---"]),
    ]
    for entry, row in zip(result.entries, rows, strict=True):
        is_absent = entry.skipped is not None and entry.version is None
        remark = "not installed" if is_absent else remark_on(result, entry)
        lines.append(markdown_row([*row, remark]))
    return [*lines, ""]


def markdown_row(fields: Sequence[str]) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(fields) + " |"


def refresh_page(page: Path, title: str, results: str) -> None:
    """Put the results between the marks of a page; what is around them stays.

    A page that is not there yet, or has no marks, gets them at its end.

    Args:
        page: A Markdown file.
        title: Of a page that is not there yet.
        results: As Markdown.
    """
    text = page.read_text() if page.exists() else f"# Benchmark: {title}\n"
    before, mark, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if mark else "\n"
    page.write_text(f"{before.rstrip()}\n\n{BEGIN}\n\n{results}\n{END}{after}")
