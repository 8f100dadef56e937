"""The results of a suite: as a table, as JSON, and what the targets say."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage.benchmark.row import Figure, Role, Sample, Target
from sage.benchmark.schedule import Entry, RowResult
from sage.benchmark.statistics import Summary, paired_ratios, summary

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Report", "Verdict", "cells", "machine", "ratio_of", "ratios", "remark_on"]

POLICY = (
    "Each run is a fresh process; contestants take turns in every round. Throughput: the clock "
    "runs from building the pipeline to the return of the call that ran it, after a warm-up on "
    "a small input and gc.collect(), with the garbage collector on; imports, input, checks and a "
    "cluster's start are not timed. Ratios are limit / contestant of the same round; medians."
)


@dataclass(frozen=True)
class Verdict:
    """Whether the judged contestant of a row reached a target."""

    row: str
    figure: str
    value: float
    target: Target

    @property
    def reached(self) -> bool:
        """Whether what is required was reached."""
        return self.target.met_by(self.value)

    def __str__(self) -> str:
        sign = "<=" if self.target.at_most else ">="
        word = "reached" if self.reached else "MISSED"
        return (
            f"{self.row} {self.figure} {self.value:.3g}: {word} "
            f"(must {sign} {self.target.must:g}, aim {self.target.aim:g})"
        )


@dataclass
class Report:
    """The results of a suite.

    Attributes:
        suite: Its name.
        command: What to type to measure again.
        started_at: ISO time.
        elapsed_s: How long it took.
        results: One for each row.
        quick: Whether only a small part of the work was done.
    """

    suite: str
    command: str
    started_at: str
    elapsed_s: float
    results: list[RowResult]
    quick: bool = False

    @property
    def verdicts(self) -> list[Verdict]:
        """What the targets say, row by row; nothing after a quick run, which measures nothing."""
        if self.quick:
            return []
        return [verdict for result in self.results for verdict in _verdicts(result)]

    @property
    def failures(self) -> list[str]:
        """Who stopped with an error or produced other output."""
        return [
            f"{result.row.key} {entry.contestant.name}: {entry.failed}"
            for result in self.results
            for entry in result.entries
            if entry.failed
        ]

    def table(self) -> RenderableType:
        """Return everything for a terminal, as a Rich renderable."""
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = []
        for result in self.results:
            parts += [_table(result), Text(_remarks(result), style="dim")]
        for verdict in self.verdicts:
            parts.append(Text(str(verdict), style="green" if verdict.reached else "bold red"))
        parts += [Text(f"FAILED {failure}", style="bold red") for failure in self.failures]
        about = "A quick run: these numbers mean nothing." if self.quick else POLICY
        parts.append(Text(f"\n{about}", style="dim"))
        return Group(*parts)

    def markdown(self, chart: str | None) -> str:
        """Return everything for a page; ``chart`` is the picture beside it, or None."""
        from sage.benchmark.page import results_markdown

        return results_markdown(self, chart)

    def charts(self, stem: Path) -> list[Path]:
        """Draw the charted rows, see `write_charts`."""
        from sage.benchmark.chart import write_charts

        return write_charts(self, stem)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "suite": self.suite,
            "command": self.command,
            "started_at": self.started_at,
            "elapsed_s": round(self.elapsed_s, 1),
            "quick": self.quick,
            "machine": machine(),
            "policy": POLICY,
            "rows": [_row_dict(result) for result in self.results],
            "targets": [
                {
                    "row": v.row,
                    "figure": v.figure,
                    "value": v.value,
                    "must": v.target.must,
                    "aim": v.target.aim,
                    "at_most": v.target.at_most,
                    "reached": v.reached,
                }
                for v in self.verdicts
            ],
        }


def machine() -> dict[str, Any]:
    """Return what the measurements ran on."""
    names = ("isage-kernel", "isage-common", "isage-benchmark", "aiohttp", "uvloop")
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {name: found for name in names if (found := _version(name))},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def ratios(result: RowResult, entry: Entry) -> list[float]:
    """Return the ratios of an entry: its own where the row has a floor, else against the limit."""
    own = entry.figures("ratio")
    limit = result.limit
    if own or limit is None:
        return own
    return paired_ratios(limit.figures("elapsed_s"), entry.figures("elapsed_s"))


def ratio_of(result: RowResult, entry: Entry) -> Summary | None:
    """Return the ratio of an entry with its spread, or None where the row has none."""
    values = ratios(result, entry)
    return summary(values) if values else None


def _figure(result: RowResult, entry: Entry, key: str) -> Summary | None:
    values = ratios(result, entry) if key == "ratio" else entry.figures(key)
    return summary(values) if values else None


def _verdicts(result: RowResult) -> Iterator[Verdict]:
    for entry in result.entries:
        if not entry.contestant.judged:
            continue
        for target in result.row.targets:
            found = _figure(result, entry, target.figure)
            if found is not None:
                yield Verdict(result.row.key, target.figure, found.median, target)


def cells(result: RowResult) -> tuple[list[str], list[list[str]]]:
    """Return the titles and the lines of a row's table, as text."""
    row = result.row
    has_ratio = any(ratios(result, entry) for entry in result.entries)
    titles = ["contestant", *(["ratio", "min - max"] if has_ratio else [])]
    titles += [figure.label for figure in row.figures]
    lines = []
    for entry in result.entries:
        line = [entry.contestant.name + (f" {entry.version}" if entry.version else "")]
        if has_ratio:
            line += _ratio_cells(ratio_of(result, entry))
        line += [_cell(entry, figure) for figure in row.figures]
        lines.append(line)
    return titles, lines


def remark_on(result: RowResult, entry: Entry) -> str:
    """Return what a reader should know about an entry: its set-up, or why it has no numbers."""
    if entry.skipped:
        return f"skipped: {entry.skipped}"
    remarks = [entry.contestant.note] if entry.contestant.note else []
    if entry.failed:
        remarks.append(f"FAILED: {entry.failed}")
    elif len(entry.samples) < result.rounds:
        remarks.append(f"slow, {len(entry.samples)} rounds only")
    return "; ".join(remarks)


def _ratio_cells(ratio: Summary | None) -> list[str]:
    if ratio is None:
        return ["-", "-"]
    digits = 4 if ratio.median < 0.01 else 3 if ratio.median < 0.1 or ratio.median > 0.9 else 2
    return [f"{ratio.median:.{digits}f}", f"{ratio.low:.{digits}f} - {ratio.high:.{digits}f}"]


def _cell(entry: Entry, figure: Figure) -> str:
    values = entry.figures(figure.key)
    if not values:
        return "-"
    found = summary(values)
    text = f"{found.median:,.{figure.digits}f}"
    return f"{text} ±{found.iqr / 2:,.{figure.digits}f}" if found.count > 2 else text


def _table(result: RowResult) -> RenderableType:
    from rich.table import Table

    titles, lines = cells(result)
    row = result.row
    table = Table(title=f"{row.key}  {row.title}", title_justify="left", title_style="bold")
    for index, title in enumerate(titles):
        table.add_column(title, justify="right" if index else "left", no_wrap=not index)
    for entry, line in zip(result.entries, lines, strict=True):
        table.add_row(*line, style="bold" if entry.contestant.role is Role.SAGE else None)
    return table


def _remarks(result: RowResult) -> str:
    lines = [f"  1.00 = {result.row.limit}"]
    for entry in result.entries:
        if remark := remark_on(result, entry):
            lines.append(f"  {entry.contestant.name}: {remark}")
    return "\n".join([*lines, ""])


def _row_dict(result: RowResult) -> dict[str, Any]:
    row = result.row
    return {
        "key": row.key,
        "title": row.title,
        "limit": row.limit,
        "size": result.size,
        "rounds": result.rounds,
        "contestants": [_entry_dict(result, entry) for entry in result.entries],
    }


def _rounded(sample: Sample) -> Sample:
    """Six digits are more than any of these numbers has, and half the file."""
    return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in sample.items()}


def _entry_dict(result: RowResult, entry: Entry) -> dict[str, Any]:
    ratio = ratio_of(result, entry)
    found = {f.key: _figure(result, entry, f.key) for f in result.row.figures}
    return {
        "name": entry.contestant.name,
        "role": entry.contestant.role.value,
        "note": entry.contestant.note,
        "version": entry.version,
        "skipped": entry.skipped,
        "failed": entry.failed,
        "ratio": ratio.to_dict() if ratio else None,
        "figures": {key: value.to_dict() for key, value in found.items() if value},
        "samples": [_rounded(sample) for sample in entry.samples],
    }
