"""``map``: one record in, one record or nothing out.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> LocalEnvironment().from_collection([1, 2, 3]).map(lambda x: x * 10 or None).collect()
    [10, 20, 30]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sage.kernel.operators.function_spec import FunctionSpec, LiveFunction
from sage.kernel.operators.inline_expression import InlinedFunction, applied
from sage.kernel.operators.journalled import JournalledCall, check_journal
from sage.kernel.operators.operator import LiveOperator, Operator

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop
    from sage.kernel.operators.operator import Prove

__all__ = ["MapOperator"]


@dataclass(frozen=True)
class MapOperator(Operator):
    """Replaces each record by what the function returns; None means no output.

    Args:
        function: The function.
        inline: What it returns, where the optimizer proved it.
        journal: Whether results are journalled, see `sage.kernel.checkpoint.journal`.
    """

    kind = "map"
    has_state = True
    function: FunctionSpec
    inline: InlinedFunction | None = None
    journal: bool = False

    def __post_init__(self) -> None:
        check_journal(self.journal, self.function)

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The function."""
        return (self.function,)

    @property
    def is_journalled(self) -> bool:
        """As its option says."""
        return self.journal

    def inlined(self, prove: Prove) -> MapOperator:
        """With the function as an expression, where that can be proved."""
        return self if self.journal else replace(self, inline=prove(self.function))

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``v1 = f(v)``, and on to the next record if that is None."""
        function = live.functions[0]
        if live.journal is not None:
            counters = live.statistics.custom
            function = LiveFunction(JournalledCall(live.journal, function.call, counters))
        loop.value = applied(loop, function, self.inline, "v")
        if self.inline is None or not self.inline.is_never_none:
            loop.drop_if(f"{loop.value} is None", "no_output")
