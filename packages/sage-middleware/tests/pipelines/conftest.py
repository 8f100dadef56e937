"""Operators of these tests, registered for this process, and a way to write pipeline files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest

from sage.common.config import Meta, configurable
from sage.common.core.functions import FilterFunction, MapFunction, SinkFunction, SourceFunction
from sage.common.registry import registry


@configurable
class Numbers(SourceFunction[int]):
    """Counts.

    Args:
        count: How far.
    """

    def __init__(self, *, count: Annotated[int, Meta(ge=0)] = 3) -> None:
        self.left = list(range(count))

    def read(self, max_records: int) -> list[int] | None:
        """Return the next numbers."""
        if not self.left:
            return None
        taken, self.left = self.left[:max_records], self.left[max_records:]
        return taken


@configurable
class Times(MapFunction[int, int]):
    """Multiplies.

    Args:
        factor: By what.
    """

    def __init__(self, *, factor: int) -> None:
        self.factor = factor

    def map(self, record: int) -> int:
        """Return the product."""
        return record * self.factor


@configurable
class AtLeast(FilterFunction[int]):
    """Keeps what is large enough.

    Args:
        minimum: The least that is kept.
    """

    def __init__(self, *, minimum: int = 0) -> None:
        self.minimum = minimum

    def filter(self, record: int) -> bool:
        """Tell whether to keep it."""
        return record >= self.minimum


@configurable
class Lines(SinkFunction[Any]):
    """Appends each record to a file.

    Args:
        path: The file.
    """

    def __init__(self, *, path: str) -> None:
        self.path = path

    def write(self, record: Any) -> None:
        """Append one line."""
        with Path(self.path).open("a", encoding="utf-8") as file:
            file.write(f"{record}\n")


registry("sources").add("test_numbers", Numbers)
registry("operators").add("test_times", Times)
registry("operators").add("test_at_least", AtLeast)
registry("sinks").add("test_lines", Lines)


@pytest.fixture
def pipeline_file(tmp_path: Path) -> Callable[[str], Path]:
    """Write a pipeline file and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "job.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
