"""The results as one picture of bar charts, PNG and SVG; needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sage.benchmark.report import Report, ratio_of
from sage.benchmark.row import Role
from sage.benchmark.schedule import RowResult
from sage.benchmark.statistics import Summary, summary
from sage.common.errors import MissingExtraError

__all__ = ["COLOURS", "new_figure", "save", "write_charts"]

COLOURS = {Role.LIMIT: "#8a8f98", Role.SAGE: "#1f7a4d", Role.PEER: "#b9a16b"}


def write_charts(report: Report, stem: Path) -> list[Path]:
    """Draw the charted rows of a report into ``stem.png`` and ``stem.svg``.

    Returns:
        The files written; none if no row of the report is charted.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    results = [r for r in report.results if r.row.charted and any(e.samples for e in r.entries)]
    if not results:
        return []
    heights = [0.6 + 0.32 * sum(1 for e in r.entries if e.samples) for r in results]
    figure = new_figure(8, sum(heights) + 0.3 * len(heights))
    axes = figure.subplots(len(results), 1, squeeze=False, height_ratios=heights)
    for result, axis in zip(results, axes[:, 0], strict=True):
        _draw(result, axis)
    return save(figure, stem)


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of matplotlib, in inches.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", extra="isage-benchmark[peers]") from error
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Any, stem: Path) -> list[Path]:
    """Write a figure of matplotlib as ``stem.png`` and ``stem.svg``; equal figures, equal bytes."""
    import matplotlib

    files = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    # Dates and random ids would make every run a new file to version control.
    figure.savefig(files[0], dpi=110, metadata={"Software": None})
    with matplotlib.rc_context({"svg.hashsalt": "sage", "svg.fonttype": "none"}):
        figure.savefig(files[1], metadata={"Date": None})
    return files


def _draw(result: RowResult, axis: Any) -> None:
    bars = [(e.contestant, found) for e in result.entries if (found := _charted(result, e))]
    names = [contestant.name for contestant, _ in bars]
    medians = [found.median for _, found in bars]
    errors = [
        [found.median - found.low for _, found in bars],
        [found.high - found.median for _, found in bars],
    ]
    colours = [COLOURS[contestant.role] for contestant, _ in bars]
    places = range(len(bars))
    axis.barh(places, medians, xerr=errors, color=colours, error_kw={"lw": 0.8, "alpha": 0.6})
    axis.set_yticks(places, names, fontsize=8)
    axis.invert_yaxis()
    ratio = result.row.charted == "ratio"
    label = "ratio to the limit, more is better"
    if not ratio:
        label = next(f.label for f in result.row.figures if f.key == result.row.charted)
        label += ", less is better"
        if max(medians) > 20 * min(medians):
            axis.set_xscale("log")
    for place, value, high in zip(places, medians, (f.high for _, f in bars), strict=True):
        text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        axis.text(high, place, f"  {text}", va="center", fontsize=8)
    axis.margins(x=0.12)
    axis.set_xlabel(label, fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_title(f"{result.row.key}  {result.row.title}", fontsize=9, loc="left")
    axis.spines[["top", "right"]].set_visible(False)


def _charted(result: RowResult, entry: Any) -> Summary | None:
    if result.row.charted == "ratio":
        return ratio_of(result, entry)
    values = entry.figures(result.row.charted)
    return summary(values) if values else None
