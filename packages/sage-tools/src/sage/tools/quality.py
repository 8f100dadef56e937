"""Format, lint, types and architecture: what a change must pass before its tests are run."""

from __future__ import annotations

from collections.abc import Iterator

from sage.tools.architecture import check_architecture
from sage.tools.process import Outcome, run
from sage.tools.repository import Repository

__all__ = ["check_quality"]


def check_quality(repository: Repository, *, fix: bool = False) -> Iterator[Outcome]:
    """Yield the outcome of each check as it is done.

    Args:
        repository: The checkout to check.
        fix: Whether to let ruff mend what it can instead of only reporting it.
    """
    if fix:  # lint first: what it rewrites is formatted after
        yield _ruff(repository, "lint", ["check", "--fix"])
        yield _ruff(repository, "format", ["format"])
    else:
        yield _ruff(repository, "format", ["format", "--check"])
        yield _ruff(repository, "lint", ["check"])
    yield check_types(repository)
    if outcome := check_typing_tests(repository):
        yield outcome
    yield check_architecture(repository).outcome


def _ruff(repository: Repository, name: str, arguments: list[str]) -> Outcome:
    return run(
        name,
        ["-m", "ruff", *arguments, "."],
        cwd=repository.root,
        environment=repository.environment(),
    )


def check_types(repository: Repository) -> Outcome:
    """Check every portion with ``mypy --strict``, under the name it is imported by."""
    packages = [argument for portion in repository.portions for argument in ("-p", portion.name)]
    return run(
        "types",
        ["-m", "mypy", "--strict", *packages],
        cwd=repository.root,
        environment=repository.environment(),
    )


def check_typing_tests(repository: Repository) -> Outcome | None:
    """Check the files that pin the types users see; None where there are none."""
    files = sorted((repository.root / "packages").glob("*/tests/typing/*.py"))
    if not files:
        return None
    return run(
        "types that users see",
        ["-m", "mypy", "--strict", *(str(path) for path in files)],
        cwd=repository.root,
        environment=repository.environment(),
    )
