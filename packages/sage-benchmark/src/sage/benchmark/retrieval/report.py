"""The results on test collections: as table, JSON and Markdown, and what the goals say.

A mean over some hundred questions is not sure in its second digit, so each comes with its bootstrap
interval, and each system with its gain over another one on the same questions.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage.benchmark.page import markdown_row, measured
from sage.benchmark.report import Verdict, machine
from sage.benchmark.retrieval.measuring import SystemResult
from sage.benchmark.retrieval.systems import FIGURES, GOALS, PUBLISHED, Goal
from sage.benchmark.row import Target
from sage.libs.evaluation import Interval, bootstrap_difference, bootstrap_interval

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["CollectionResult", "RetrievalReport"]

POLICY = (
    "Each passage is one chunk of a collection on the disk; each system is the retriever that a "
    "user gets, with its defaults, asked every question once, one after the other. In brackets: "
    "95 % bootstrap interval over the questions (10,000 resamples, percentiles), of a gain the "
    "paired one. ms: median time of a question; again: of the first 30 questions asked once more. "
    "A dash: the ranking is shorter than the measure."
)
_QUICK = "A quick run on a few passages: these numbers mean nothing."


@dataclass
class CollectionResult:
    """What was measured on a test collection.

    Attributes:
        name: Its name.
        passages: How many.
        queries: How many questions.
        index_s: Seconds to bring the index up to date; little where it was there already.
        systems: In the order in which they ran.
    """

    name: str
    passages: int
    queries: int
    index_s: float
    systems: list[SystemResult]

    def mean(self, system: str, figure: str) -> float | None:
        """Return the mean of a figure over the questions, or None if it was not measured."""
        values = self._values(system, figure)
        return statistics.fmean(values) if values else None

    def interval(self, system: str, figure: str) -> Interval | None:
        """Return the mean with its interval, or None if it was not measured."""
        values = self._values(system, figure)
        return bootstrap_interval(values) if values else None

    def gain(self, result: SystemResult, figure: str) -> Interval | None:
        """Return the gain over the system that ``result`` is compared with, or None."""
        below, own = self._values(result.system.over, figure), result.measured.get(figure)
        return bootstrap_difference(below, own) if below and own else None

    def _values(self, system: str | None, figure: str) -> list[float]:
        found = (r.measured.get(figure, []) for r in self.systems if r.system.name == system)
        return next(found, []) if system else []


@dataclass
class RetrievalReport:
    """The results of the suite.

    Attributes:
        suite: Its name.
        command: What to type to measure again.
        started_at: ISO time.
        elapsed_s: How long it took.
        results: One for each test collection.
        quick: Whether only a small part of the work was done.
    """

    suite: str
    command: str
    started_at: str
    elapsed_s: float
    results: list[CollectionResult]
    quick: bool = False

    @property
    def verdicts(self) -> list[Verdict]:
        """What the goals say; nothing after a quick run, which measures nothing."""
        if self.quick:
            return []
        return [verdict for result in self.results for verdict in _verdicts(result)]

    @property
    def failures(self) -> list[str]:
        """Who stopped with an error."""
        return [
            f"{result.name} {found.system.name}: {found.failed}"
            for result in self.results
            for found in result.systems
            if found.failed
        ]

    def table(self) -> RenderableType:
        """Return everything for a terminal, as a Rich renderable."""
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = []
        for result in self.results:
            parts += [_table(result), Text(f"{_published(result)}\n", style="dim")]
        for verdict in self.verdicts:
            parts.append(Text(str(verdict), style="green" if verdict.reached else "bold red"))
        parts += [Text(f"FAILED {failure}", style="bold red") for failure in self.failures]
        parts.append(Text(f"\n{_QUICK if self.quick else POLICY}", style="dim"))
        return Group(*parts)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON, nDCG@10 of each question included."""
        return {
            "suite": self.suite,
            "command": self.command,
            "started_at": self.started_at,
            "elapsed_s": round(self.elapsed_s, 1),
            "quick": self.quick,
            "machine": machine(),
            "policy": POLICY,
            "collections": [_collection_dict(result) for result in self.results],
            "targets": [
                {
                    "row": verdict.row,
                    "figure": verdict.figure,
                    "value": verdict.value,
                    "must": verdict.target.must,
                    "aim": verdict.target.aim,
                    "reached": verdict.reached,
                }
                for verdict in self.verdicts
            ],
        }

    def markdown(self, chart: str | None) -> str:
        """Return everything for a page; ``chart`` is the picture beside it, or None."""
        lines = [measured(self.started_at, self.command, self.elapsed_s), "", POLICY, ""]
        lines += [_QUICK, ""] if self.quick else []
        lines += [f"![Bar charts of the test collections]({chart})", ""] if chart else []
        for result in self.results:
            titles, rows = _cells(result)
            lines += [f"### {result.name}: {_size(result)}", ""]
            lines += [markdown_row(titles)]
            lines += [markdown_row(["---", *["---:"] * (len(titles) - 2), "---"])]
            lines += [*map(markdown_row, rows), ""]
            lines += [_published(result), ""] if result.name in PUBLISHED else []
        verdicts = [f"- {verdict}" for verdict in self.verdicts]
        lines += ["### Targets", "", *verdicts, ""] if verdicts else []
        failures = [f"- {failure}" for failure in self.failures]
        lines += ["### Failures", "", *failures, ""] if failures else []
        return "\n".join(lines)

    def charts(self, stem: Path) -> list[Path]:
        """Draw a bar chart for each test collection."""
        from sage.benchmark.retrieval.chart import write_charts

        return write_charts(self.results, stem)


def _verdicts(result: CollectionResult) -> Iterator[Verdict]:
    for goal in GOALS.get(result.name, ()):
        value, must = result.mean(goal.system, goal.figure), _required(result, goal)
        if value is not None and must is not None:
            # Whoever ties has not fallen under: a mean is a sum of floats.
            target = Target(figure=goal.figure, must=must - 1e-9, aim=goal.aim or must)
            yield Verdict(f"{result.name} {goal.system}", goal.figure, value, target)


def _required(result: CollectionResult, goal: Goal) -> float | None:
    return result.mean(goal.must, goal.figure) if isinstance(goal.must, str) else goal.must


def _size(result: CollectionResult) -> str:
    return f"{result.passages:,} passages, {result.queries:,} questions"


def _published(result: CollectionResult) -> str:
    numbers = PUBLISHED.get(result.name, {})
    said = ", ".join(f"{name} {number:.3f}".replace("0.", ".") for name, number in numbers.items())
    return f"Published nDCG@10: {said}." if said else ""


def _cells(result: CollectionResult) -> tuple[list[str], list[list[str]]]:
    """Return the titles and the lines of a collection's table, as text."""
    titles = ["system", "nDCG@10", "gain", *(f.label for f in FIGURES[1:]), "ms", "again", ""]
    return titles, [_line(result, found) for found in result.systems]


def _line(result: CollectionResult, found: SystemResult) -> list[str]:
    name = found.system.name
    if found.failed:
        return [name, *["-"] * (len(FIGURES) + 3), f"FAILED: {found.failed}"]
    first, gain = result.interval(name, FIGURES[0].key), result.gain(found, FIGURES[0].key)
    means = [result.mean(name, figure.key) for figure in FIGURES[1:]]
    return [
        name,
        f"{_short(first.mean)} [{_short(first.low)}, {_short(first.high)}]" if first else "-",
        f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] over {found.system.over}"
        if gain
        else "",
        *("-" if mean is None else _short(mean) for mean in means),
        *(f"{statistics.median(ms):.1f}" if ms else "-" for ms in (found.ms, found.ms_again)),
        found.system.note,
    ]


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _table(result: CollectionResult) -> RenderableType:
    from rich.table import Table

    titles, lines = _cells(result)
    title = f"{result.name}  {_size(result)}"
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(titles[:-1]):
        table.add_column(column, justify="right" if number else "left", no_wrap=not number)
    for line in lines:
        table.add_row(*line[:-1])
    return table


def _collection_dict(result: CollectionResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "passages": result.passages,
        "queries": result.queries,
        "index_s": round(result.index_s, 2),
        "published": PUBLISHED.get(result.name, {}),
        "systems": [_system_dict(result, found) for found in result.systems],
    }


def _system_dict(result: CollectionResult, found: SystemResult) -> dict[str, Any]:
    name = found.system.name
    intervals = {f.key: result.interval(name, f.key) for f in FIGURES}
    gain = result.gain(found, FIGURES[0].key)
    return {
        "name": name,
        "note": found.system.note,
        "failed": found.failed,
        "figures": {key: _interval(i) for key, i in intervals.items() if i is not None},
        "gain": {"over": found.system.over, **_interval(gain)} if gain else None,
        "ms": round(statistics.median(found.ms), 3) if found.ms else None,
        "ms_again": round(statistics.median(found.ms_again), 3) if found.ms_again else None,
        "ndcg_10_by_query": [round(v, 4) for v in found.measured.get(FIGURES[0].key, [])],
    }


def _interval(found: Interval) -> dict[str, float]:
    return {key: round(getattr(found, key), 5) for key in ("mean", "low", "high")}
