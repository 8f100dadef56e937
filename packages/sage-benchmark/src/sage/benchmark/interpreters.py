"""Which interpreter runs a contestant, and whether it can.

A peer whose requirements contradict SAGE's gets an environment of its own, found at
``<prefix>/peers/<distribution>`` beside the packages of the running environment::

    python -m venv .venv/peers/pathway
    .venv/peers/pathway/bin/python -m pip install pathway

Everybody else runs in the interpreter that runs the benchmark.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import sage.benchmark.row
from sage.benchmark.row import Contestant

__all__ = ["Interpreter", "environment", "interpreter_for"]


@dataclass(frozen=True)
class Interpreter:
    """A Python that can run a contestant.

    Attributes:
        path: The executable.
        version: Version of the distribution that the contestant needs, or None.
    """

    path: str
    version: str | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is the one that runs the benchmark."""
        return self.path == sys.executable


@functools.cache
def _installed(needs: str) -> Interpreter | None:
    own = Path(sys.prefix) / "peers" / needs / "bin" / "python"
    if own.exists():
        code = f"from importlib.metadata import version; print(version({needs!r}))"
        found = subprocess.run([str(own), "-c", code], capture_output=True, text=True)
        if found.returncode == 0:
            return Interpreter(str(own), found.stdout.strip())
    try:
        return Interpreter(sys.executable, version(needs))
    except PackageNotFoundError:
        return None


def interpreter_for(contestant: Contestant) -> Interpreter | None:
    """Return what runs a contestant, or None if what it needs is not installed."""
    if contestant.needs is None:
        return Interpreter(sys.executable)
    return _installed(contestant.needs)


def environment(interpreter: Interpreter) -> dict[str, str]:
    """Return the environment variables of a worker process."""
    variables = dict(os.environ)
    # Hashes of strings decide how a dict is laid out; with one seed every run has the same luck.
    variables["PYTHONHASHSEED"] = "0"
    if not interpreter.is_own:
        source = Path(sage.benchmark.row.__file__).parents[2]
        variables["PYTHONPATH"] = str(source)
    return variables
