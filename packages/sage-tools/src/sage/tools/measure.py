"""The numbers the project promises, measured: start-up times and the size of an installation."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["Number", "installed_bytes", "measure_all", "seconds_of"]


@dataclass(frozen=True)
class Number:
    """One promised number.

    Args:
        what: What is measured.
        measured: What came out.
        limit: What it must stay under.
        unit: Of both, ``s`` or ``MB``.
    """

    what: str
    measured: float
    limit: float
    unit: str

    @property
    def kept(self) -> bool:
        """Whether the promise holds here and now."""
        return self.measured < self.limit

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the verdict, ready for JSON."""
        return {**asdict(self), "kept": self.kept}


def measure_all() -> list[Number]:
    """Measure everything that can be measured in an environment that is set up."""
    sage = str(Path(sys.executable).with_name("sage"))
    imports = [sys.executable, "-c", "import sage.kernel"]
    megabytes = round(installed_bytes("isage[core]") / 1e6, 1)
    return [
        Number("sage --help", seconds_of([sage, "--help"]), 0.35, "s"),
        Number("import sage.kernel", seconds_of(imports), 0.12, "s"),
        Number("isage[core] installed", megabytes, 350, "MB"),
    ]


def seconds_of(command: Sequence[str], *, runs: int = 7) -> float:
    """Return the median wall time of `command` in seconds, its first run (cold caches) left out."""
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - started)
    return round(statistics.median(times[1:]), 3)


def installed_bytes(requirement: str) -> int:
    """Return the bytes on disk of what `requirement` installs, with all that it needs.

    Raises:
        importlib.metadata.PackageNotFoundError: if a part of it is not installed.
    """
    return sum(_bytes(distribution(name)) for name in _closure(Requirement(requirement)))


def _closure(wanted: Requirement) -> set[str]:
    """Return the names of all distributions that `wanted` stands for on this machine."""
    parts: set[tuple[str, str]] = set()
    pending = [wanted]
    while pending:
        requirement = pending.pop()
        for part in {(requirement.name, extra) for extra in ("", *requirement.extras)} - parts:
            parts.add(part)
            needed = map(Requirement, distribution(part[0]).requires or [])
            pending += [n for n in needed if not n.marker or n.marker.evaluate({"extra": part[1]})]
    return {canonicalize_name(name) for name, _ in parts}


def _bytes(part: Distribution) -> int:
    paths = [Path(str(part.locate_file(file))) for file in part.files or []]
    return sum(path.stat().st_size for path in paths if path.is_file())
