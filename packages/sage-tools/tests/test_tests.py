"""What `sage-dev test` asks of pytest."""

from __future__ import annotations

from sage.tools.repository import Repository
from sage.tools.tests import pytest_arguments


def test_everything_is_run_by_default(repository: Repository) -> None:
    """Sources (for their doctests) and tests of each package are handed to pytest."""
    arguments = pytest_arguments(repository, [])
    assert "--doctest-modules" in arguments
    assert "packages/sage-common/src" in arguments
    assert "packages/sage-tools/tests" in arguments


def test_a_named_path_is_run_alone(repository: Repository) -> None:
    """Whoever names a file or a test gets that and no more."""
    wanted = "packages/sage-tools/tests/test_tests.py::test_everything_is_run_by_default"
    assert pytest_arguments(repository, [wanted, "-x"]) == ["--doctest-modules", wanted, "-x"]


def test_an_option_alone_does_not_narrow_the_run(repository: Repository) -> None:
    """`-x` goes on to pytest beside all paths; `--fast` leaves out what is slow."""
    arguments = pytest_arguments(repository, ["-x"], fast=True)
    assert arguments[-1] == "-x"
    assert arguments[1:3] == ["-m", "not slow"]
    assert "packages/sage-common/tests" in arguments
