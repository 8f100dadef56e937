"""The checkout under test, and copies of it that a test may spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sage.tools.repository import Repository


@pytest.fixture(scope="session")
def repository() -> Repository:
    """The checkout that these tests are in."""
    return Repository.find(Path(__file__).parent)


@pytest.fixture
def copied_tree(repository: Repository, tmp_path: Path) -> Repository:
    """A copy of the packages' sources; nothing installed points at it."""
    for portion in repository.portions:
        package = portion.source.parent
        target = tmp_path / "packages" / package.name
        shutil.copytree(
            portion.source, target / "src", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(package / "pyproject.toml", target)
    return Repository(tmp_path)
