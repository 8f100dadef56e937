"""Suites: rows under a name, registered in the entry-point group ``sage.benchmarks``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sage.benchmark.publishing import publish
from sage.benchmark.report import Report
from sage.benchmark.row import Contestant, Role, Row
from sage.benchmark.schedule import Progress, measure_row
from sage.common.errors import ConfigError, Problem
from sage.common.suggestions import did_you_mean

__all__ = ["Suite"]


@dataclass(frozen=True)
class Suite:
    """Rows that are measured together.

    Args:
        name: As in ``sage bench NAME``.
        rows: In the order in which they run.
    """

    name: str
    rows: tuple[Row, ...]

    def select(self, keys: Sequence[str] | None) -> tuple[Row, ...]:
        """Return the rows of these names, in the suite's order; all for None.

        Raises:
            ConfigError: if a name is unknown.
        """
        if keys is None:
            return self.rows
        known = {row.key.lower(): row for row in self.rows}
        problems = [
            Problem("--rows", f"unknown row {key!r}{did_you_mean(key, [r.key for r in self.rows])}")
            for key in keys
            if key.lower() not in known
        ]
        if problems:
            names = ", ".join(row.key for row in self.rows)
            raise ConfigError("sage bench", problems, hint=f"the rows are {names}")
        wanted = {key.lower() for key in keys}
        return tuple(row for key, row in known.items() if key in wanted)

    def runs(
        self, keys: Sequence[str] | None, *, rounds: int, peers: bool, quick: bool = False
    ) -> int:
        """Return how many runs `measure` will make at most."""

        def counts(contestant: Contestant) -> bool:
            return peers or contestant.role is not Role.PEER

        return sum(
            min(rounds, row.most_rounds) * sum(map(counts, row.contestants))
            for row in self.select(keys)
        )

    def measure(
        self,
        keys: Sequence[str] | None = None,
        *,
        rounds: int = 5,
        peers: bool = False,
        quick: bool = False,
        progress: Progress | None = None,
        command: str = "",
    ) -> Report:
        """Measure rows, one after the other.

        Args:
            keys: Names of the rows; None for all.
            rounds: How often each contestant runs.
            peers: Whether other systems take part, as far as they are installed.
            quick: Whether to do a small part of the work; its numbers mean nothing.
            progress: Called before each run.
            command: What the report says to type.

        Raises:
            ConfigError: if a row is unknown.
        """
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        started = time.perf_counter()
        results = [
            measure_row(row, rounds=rounds, peers=peers, quick=quick, progress=progress)
            for row in self.select(keys)
        ]
        elapsed = time.perf_counter() - started
        command = command or f"sage bench {self.name}"
        return Report(self.name, command, started_at, elapsed, results, quick)

    @staticmethod
    def write(report: Report, directory: Path) -> list[Path]:
        """Write the results into a directory, see `publish`."""
        return publish(report, directory)
