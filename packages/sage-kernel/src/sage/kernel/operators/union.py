"""``union``: several streams as one; each input keeps its own order.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> env = LocalEnvironment()
    >>> both = env.from_collection([1, 2]).union(env.from_collection([3]))
    >>> sorted(both.collect())
    [1, 2, 3]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sage.kernel.operators.operator import LiveOperator, Operator

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop

__all__ = ["UnionOperator"]


@dataclass(frozen=True)
class UnionOperator(Operator):
    """Passes every record on, whichever input it came from."""

    kind = "union"

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """Nothing: the value stays what it is."""
