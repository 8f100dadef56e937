"""A place for collections."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A SAGE home of its own."""
    return tmp_path / "home"
