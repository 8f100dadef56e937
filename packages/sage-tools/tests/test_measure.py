"""What is promised is measured as a user would."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError

import pytest

from sage.tools.measure import Number, installed_bytes, seconds_of


def test_a_number_over_its_limit_is_not_kept() -> None:
    """The limit itself is already too much."""
    assert Number("size", 349.9, 350, "MB").kept
    assert not Number("size", 350, 350, "MB").kept


def test_a_command_that_fails_is_no_measurement() -> None:
    """A quick crash does not count as quick."""
    with pytest.raises(Exception, match="non-zero exit status 3"):
        seconds_of([sys.executable, "-c", "raise SystemExit(3)"], runs=1)


def test_an_extra_counts_with_what_it_needs() -> None:
    """The core is more than the metapackage, and standard more than the core."""
    bare, core = installed_bytes("isage"), installed_bytes("isage[core]")
    assert bare < 100_000 < core < installed_bytes("isage[standard]")


def test_what_is_not_installed_has_no_size() -> None:
    """A missing part is an error, not a smaller number."""
    with pytest.raises(PackageNotFoundError):
        installed_bytes("isage-that-does-not-exist")
