"""A source that does what its script says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sage.kernel.testing.gate import Gate

__all__ = ["ScriptedSource"]


class ScriptedSource:
    """A callable for ``from_source``: records, silences and errors, in the order of a script.

    Args:
        steps: Records; a `Gate` makes the source silent until it is opened, an exception is raised.

    Example:
        >>> from sage.kernel import LocalEnvironment
        >>> LocalEnvironment().from_source(ScriptedSource(1, 2)).collect()
        [1, 2]
    """

    def __init__(self, *steps: Any) -> None:
        self._steps = steps
        self.given = 0

    def __call__(self) -> Iterator[Any]:
        for step in self._steps:
            if isinstance(step, Gate):
                step.wait()
            elif isinstance(step, BaseException):
                raise step
            else:
                self.given += 1
                yield step
