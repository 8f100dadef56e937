"""Running the programs that do the work of a check, each in this interpreter's environment."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Outcome", "run"]


@dataclass(frozen=True)
class Outcome:
    """What came of one check.

    Args:
        name: What was checked, as the developer reads it.
        passed: Whether it is all right.
        seconds: How long it took.
        output: What the program printed, both streams.
    """

    name: str
    passed: bool
    seconds: float
    output: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)


def run(
    name: str,
    arguments: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
) -> Outcome:
    """Run this interpreter with `arguments` and return the outcome, called `name`."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = round(time.monotonic() - started, 2)
    return Outcome(name, done.returncode == 0, seconds, done.stdout.strip())
