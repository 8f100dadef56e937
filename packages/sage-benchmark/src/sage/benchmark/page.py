"""The results as tables in a page of the documentation, between two marks that stay."""

from __future__ import annotations

from pathlib import Path

from sage.benchmark.report import POLICY, Report, cells, machine, remark_on
from sage.benchmark.schedule import RowResult

__all__ = ["BEGIN", "END", "refresh_page", "results_markdown"]

BEGIN = "<!-- results: begin; written by `sage bench`, do not edit by hand -->"
END = "<!-- results: end -->"


def results_markdown(report: Report, chart: str | None) -> str:
    """Return machine, tables and targets as Markdown.

    Args:
        report: The results.
        chart: File name of the picture beside the page, or None.
    """
    about = machine()
    lines = [
        f"Measured {report.started_at[:10]} with `{report.command}` in {report.elapsed_s:.0f} s, "
        f"on {about['cores']} cores ({about['processor']}, {about['system']}), "
        f"{about['python']}; load at the end {about['load_1min']}.",
        "",
        POLICY,
        "",
    ]
    if chart:
        lines += [f"![Bar charts of the rows]({chart})", ""]
    for result in report.results:
        lines += _section(result)
    if report.verdicts:
        lines += ["### Targets", "", *(f"- {verdict}" for verdict in report.verdicts), ""]
    if report.failures:
        lines += ["### Failures", "", *(f"- {failure}" for failure in report.failures), ""]
    return "\n".join(lines)


def _section(result: RowResult) -> list[str]:
    titles, rows = cells(result)
    lines = [f"### {result.row.key}: {result.row.title}", ""]
    lines += [f"1.00 = {result.row.limit}. {result.rounds} rounds.", ""]
    lines += [_line([*titles, ""]), _line(["---", *["---:"] * (len(titles) - 1), "---"])]
    for entry, row in zip(result.entries, rows, strict=True):
        remark = "not installed" if entry.skipped else remark_on(result, entry)
        lines.append(_line([*row, remark]))
    return [*lines, ""]


def _line(fields: list[str]) -> str:
    return "| " + " | ".join(fields) + " |"


def refresh_page(page: Path, report: Report, chart: str | None) -> None:
    """Put the results between the marks of a page; what is around them stays.

    A page that is not there yet, or has no marks, gets them at its end.
    """
    text = page.read_text() if page.exists() else f"# Benchmark: {report.suite}\n"
    before, mark, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if mark else "\n"
    results = results_markdown(report, chart)
    page.write_text(f"{before.rstrip()}\n\n{BEGIN}\n\n{results}\n{END}{after}")
