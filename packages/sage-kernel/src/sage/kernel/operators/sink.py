"""``sink``: where records leave the pipeline.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> got = []
    >>> env = LocalEnvironment()
    >>> _ = env.from_collection([1, 2]).sink(got.append)
    >>> _ = env.execute()
    >>> got
    [1, 2]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sage.common.core.functions import SinkFunction
from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.operator import LiveOperator, Operator

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop

__all__ = ["LiveSink", "SinkOperator"]


class LiveSink(LiveOperator):
    """A sink in one subtask."""

    def flush(self) -> None:
        """Make what was written visible, where the function can."""
        for function in self.functions:
            if isinstance(function.owner, SinkFunction):
                function.owner.flush()


@dataclass(frozen=True)
class SinkOperator(Operator):
    """Gives each record to the function; nothing follows."""

    kind = "sink"
    has_state = True
    terminal = True
    function: FunctionSpec

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The sink's function."""
        return (self.function,)

    def live(self, *, may_share: bool = True) -> LiveSink:
        """Make the sink of one subtask."""
        return LiveSink(self, [self.function.live(may_share=may_share)])

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``f(v)``."""
        loop.line(f"{loop.bind(live.functions[0].call)}({loop.value})")
