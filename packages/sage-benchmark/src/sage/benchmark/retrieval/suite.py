"""The suite ``retrieval``: quality, with the time that it takes, on test collections."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from sage.benchmark.publishing import publish
from sage.benchmark.retrieval.judged import JudgedCollection, find_collections
from sage.benchmark.retrieval.measuring import PASSAGES_AT_ONCE, ask_all, index
from sage.benchmark.retrieval.report import CollectionResult, RetrievalReport
from sage.benchmark.retrieval.systems import SYSTEMS
from sage.benchmark.schedule import Progress
from sage.common.errors import DataError
from sage.common.paths import sage_home

__all__ = ["SUITE", "RetrievalSuite"]

# Where the project's own test collections lie beside a checkout; nothing of it is installed.
_BESIDE: Final = Path("..", "shared", "data")


@dataclass(frozen=True)
class RetrievalSuite:
    """Every system on every test collection; each is asked every question once.

    Args:
        name: As in ``sage bench NAME``.
        data: A BEIR folder, or a directory of test collections; None for ``../shared/data``.
        model: The embedder's; None for the default.
    """

    name: str = "retrieval"
    data: Path | None = None
    model: str | None = None

    def on(self, data: Path) -> RetrievalSuite:
        """Return the suite over the test collections of a directory."""
        return replace(self, data=data)

    def runs(
        self, keys: Sequence[str] | None, *, rounds: int, peers: bool, quick: bool = False
    ) -> int:
        """Return how often `measure` calls ``progress`` at most."""
        return sum(
            math.ceil(len(judged.passages) / PASSAGES_AT_ONCE) + len(SYSTEMS) * len(judged.queries)
            for judged in self._collections(keys, quick)
        )

    def measure(
        self,
        keys: Sequence[str] | None = None,
        *,
        rounds: int = 1,
        peers: bool = False,
        quick: bool = False,
        progress: Progress | None = None,
        command: str = "",
    ) -> RetrievalReport:
        """Measure all systems on the test collections.

        Args:
            keys: Names of test collections; None for all there are.
            rounds: Of no effect: the same ranking comes each time.
            peers: Of no effect: other systems' numbers are published ones.
            quick: Whether to ask a few questions of a few passages; the numbers mean nothing.
            progress: Called before each batch of passages and before each question.
            command: What the report says to type.

        Raises:
            DataError: if there are no test collections.
            ConfigError: if one that was asked for is not there.
        """
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        started = time.perf_counter()
        results = [
            self._measured(judged, quick, progress or _silent)
            for judged in self._collections(keys, quick)
        ]
        elapsed = time.perf_counter() - started
        command = command or f"sage bench {self.name}"
        return RetrievalReport(self.name, command, started_at, elapsed, results, quick)

    @staticmethod
    def write(report: RetrievalReport, directory: Path) -> list[Path]:
        """Write the results into a directory, see `publish`."""
        return publish(report, directory)

    def _measured(
        self, judged: JudgedCollection, quick: bool, progress: Progress
    ) -> CollectionResult:
        home = sage_home() / "cache" / "benchmarks"
        name = f"{judged.name}-quick" if quick else judged.name
        started = time.perf_counter()
        index(judged, name, home, model=self.model, progress=partial(progress, f"{name}: index"))
        index_s = time.perf_counter() - started
        asked = [
            ask_all(
                system, judged, name, home, progress=partial(progress, f"{name}: {system.name}")
            )
            for system in SYSTEMS
        ]
        return CollectionResult(
            judged.name, len(judged.passages), len(judged.queries), index_s, asked
        )

    def _collections(self, keys: Sequence[str] | None, quick: bool) -> list[JudgedCollection]:
        if self.data is None and not _BESIDE.is_dir():
            raise DataError(
                "there are no test collections to measure on",
                hint="sage bench retrieval --data DIR, where DIR is a BEIR folder such as SciFact "
                "(corpus.jsonl, queries.jsonl, qrels/test.tsv) or holds several",
            )
        found = find_collections(self.data or _BESIDE, None if keys is None else list(keys))
        read = [load() for load in found.values()]
        return [judged.small() for judged in read] if quick else read


def _silent(stage: str, detail: str) -> None:
    pass


SUITE = RetrievalSuite()
