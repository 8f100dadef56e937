"""``filter``: keeps the records for which the function says yes.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> LocalEnvironment().from_collection([0, 1, 2]).filter(lambda x: x < 2).collect()
    [0, 1]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.inline_expression import InlinedFunction, drop_unless
from sage.kernel.operators.operator import LiveOperator, Operator

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop
    from sage.kernel.operators.operator import Prove

__all__ = ["FilterOperator"]


@dataclass(frozen=True)
class FilterOperator(Operator):
    """Keeps a record if the function returns something true.

    Args:
        function: The predicate.
        inline: What it returns, where the optimizer proved it.
    """

    kind = "filter"
    has_state = True
    function: FunctionSpec
    inline: InlinedFunction | None = None

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The predicate."""
        return (self.function,)

    def inlined(self, prove: Prove) -> FilterOperator:
        """With the function as an expression, where that can be proved."""
        return replace(self, inline=prove(self.function))

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``if not f(v): continue``."""
        drop_unless(loop, live.functions[0], self.inline)
