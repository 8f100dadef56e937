"""The tests: every package's own, the doctests of its sources, and the documentation's snippets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sage.tools.repository import Repository

__all__ = ["pytest_arguments", "run_tests"]

# Tests that belong to no single package.
SHARED = ("tests", "examples/tests", "docs-public/tests")


def run_tests(repository: Repository, arguments: Sequence[str], *, fast: bool = False) -> int:
    """Run pytest, which writes to this terminal, and return its exit code."""
    command = [sys.executable, "-m", "pytest", *pytest_arguments(repository, arguments, fast=fast)]
    return subprocess.run(
        command, cwd=repository.root, env=repository.environment(), check=False
    ).returncode


def pytest_arguments(
    repository: Repository, arguments: Sequence[str], *, fast: bool = False
) -> list[str]:
    """Return what pytest is called with.

    Args:
        repository: The checkout whose tests are run.
        arguments: Passed on to pytest; where they name a path, only what they name is run.
        fast: Whether to leave out what is marked slow.
    """
    chosen = ["--doctest-modules"]
    if fast:
        chosen += ["-m", "not slow"]
    if not any(_names_a_path(argument, repository.root) for argument in arguments):
        tests = sorted((repository.root / "packages").glob("*/tests"))
        places = [portion.source for portion in repository.portions] + tests
        places += [
            repository.root / place for place in SHARED if (repository.root / place).is_dir()
        ]
        chosen += [str(place.relative_to(repository.root)) for place in places]
    return [*chosen, *arguments]


def _names_a_path(argument: str, root: Path) -> bool:
    return not argument.startswith("-") and (root / argument.partition("::")[0]).exists()
