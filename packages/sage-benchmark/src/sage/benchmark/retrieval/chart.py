"""Bars with intervals for each test collection, and lines for what was published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sage.benchmark.chart import COLOURS, new_figure, save
from sage.benchmark.retrieval.report import CollectionResult
from sage.benchmark.retrieval.systems import PUBLISHED
from sage.benchmark.row import Role

__all__ = ["write_charts"]


def write_charts(results: Sequence[CollectionResult], stem: Path) -> list[Path]:
    """Draw nDCG@10 of each system into ``stem.png`` and ``stem.svg``.

    Returns:
        The files written; none if nothing was measured.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    drawn = [r for r in results if any(not found.failed for found in r.systems)]
    if not drawn:
        return []
    figure = new_figure(8, 2.2 * len(drawn))
    axes = figure.subplots(len(drawn), 1, squeeze=False)
    for result, axis in zip(drawn, axes[:, 0], strict=True):
        _draw(result, axis)
    return save(figure, stem)


def _draw(result: CollectionResult, axis: Any) -> None:
    names = [found.system.name for found in result.systems if not found.failed]
    found = [interval for name in names if (interval := result.interval(name, "ndcg_10"))]
    means = [interval.mean for interval in found]
    errors = [[i.mean - i.low for i in found], [i.high - i.mean for i in found]]
    places = range(len(found))
    axis.barh(
        places,
        means,
        xerr=errors,
        color=COLOURS[Role.SAGE],
        error_kw={"lw": 0.8, "alpha": 0.6},
    )
    axis.set_yticks(places, names, fontsize=8)
    axis.invert_yaxis()
    published = PUBLISHED.get(result.name, {})
    for line, (name, value) in enumerate(published.items()):
        dashes = (0, (3, 1 + line))
        axis.axvline(
            value, color=COLOURS[Role.PEER], lw=1.2, ls=dashes, label=f"{name} {value:.3f}"
        )
    if published:
        above = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": len(published)}
        axis.legend(fontsize=6.5, frameon=False, **above)
    for place, interval in zip(places, found, strict=True):
        axis.text(interval.high, place, f"  {interval.mean:.3f}", va="center", fontsize=8)
    low = min([*(interval.low for interval in found), *published.values()])
    axis.set_xlim(max(0.0, low - 0.1), min(1.0, max(i.high for i in found)) + 0.05)
    axis.set_xlabel("nDCG@10 with its 95 % interval", fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_title(result.name, fontsize=9, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
