"""Writes the results of a suite into a directory of the documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from sage.benchmark.page import refresh_page

__all__ = ["Results", "publish"]


class Results(Protocol):
    """What a suite has measured, whatever its kind."""

    @property
    def suite(self) -> str: ...

    @property
    def failures(self) -> list[str]:
        """Who stopped with an error or produced something wrong."""
        ...

    def table(self) -> Any:
        """Return everything for a terminal, as a Rich renderable."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        ...

    def markdown(self, chart: str | None) -> str:
        """Return everything for a page; ``chart`` is the picture beside it, or None."""
        ...

    def charts(self, stem: Path) -> list[Path]:
        """Draw the results into files of that stem and return them."""
        ...


def publish(results: Results, directory: Path) -> list[Path]:
    """Write ``<suite>.json``, ``.png``, ``.svg``, and the results into ``<suite>.md``.

    Args:
        results: What a suite's ``measure`` returned.
        directory: Made if it is not there; text around the results in the page stays.

    Returns:
        The files written.

    Raises:
        MissingExtraError: if matplotlib is not installed; the rest is written by then.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stem = directory / results.suite
    numbers, page = stem.with_suffix(".json"), stem.with_suffix(".md")
    numbers.write_text(json.dumps(results.to_dict(), indent=1, ensure_ascii=False) + "\n")
    refresh_page(page, results.suite, results.markdown(None))
    charts = results.charts(stem)
    if charts:
        refresh_page(page, results.suite, results.markdown(charts[0].name))
    return [numbers, page, *charts]
