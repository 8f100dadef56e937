"""``iterate``: records go round a body until a predicate lets them out.

A loop has a head, where records enter and where those that go round come back, and a tail, which
lets a record out or sends it back. How often a record has gone round rides beside it as a column,
so the body's functions see bare records.

A loop ends when its inputs have ended and nothing is inside it in any subtask, which the channels
count (`sage.kernel.runtime.channel.LoopTracker`); admission at the head is bounded, so the loop
cannot fill up with records that have only just entered.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> numbers = LocalEnvironment().from_collection([1, 5])
    >>> grown = numbers.iterate(lambda s: s.map(lambda n: n * 2), until=lambda n: n > 8)
    >>> sorted(grown.collect())
    [10, 16]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.operator import LiveOperator, Operator, with_rider

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop

__all__ = ["FEEDBACK", "FutureOperator", "LoopHeadOperator", "LoopTailOperator"]

FEEDBACK = "feedback"


@dataclass(frozen=True)
class LoopHeadOperator(Operator):
    """Where records enter (input 0, round 0) and come back (input 1)."""

    kind = "loop_head"
    starts_chain = True

    def layout_after(self, layout: tuple[str, ...]) -> tuple[str, ...]:
        """Behind it every record has a round."""
        return with_rider(layout, "round")

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``round = 0`` for a record that enters; one that comes back has its round."""
        if "round" not in loop.riders:
            rounds = loop.fresh("r")
            loop.line(f"{rounds} = 0")
            loop.riders["round"] = rounds


@dataclass(frozen=True)
class FutureOperator(Operator):
    """A stream that is promised before it is built; passes on what comes back."""

    kind = "future"
    starts_chain = True

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """Nothing: the value stays what it is."""


@dataclass(frozen=True)
class LoopTailOperator(Operator):
    """Lets a record out when ``until`` accepts it or it has gone round often enough."""

    kind = "loop_tail"
    one_to_one = False
    until: FunctionSpec | None = None
    max_iterations: int | None = None

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The predicate, if there is one."""
        return (self.until,) if self.until is not None else ()

    @property
    def label(self) -> str:
        """Its verb: a predicate's name would mislead."""
        return "until"

    def layout_after(self, layout: tuple[str, ...]) -> tuple[str, ...]:
        """Outside of the loop there is no round."""
        return tuple(name for name in layout if name != "round")

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``if not (until(v) or last round): send it back``."""
        rounds = loop.riders["round"]
        back = live.sides[FEEDBACK]
        tests = []
        if self.max_iterations is not None:
            tests.append(f"{rounds} + 1 < {self.max_iterations}")
        if self.until is not None:
            tests.append(f"not {loop.bind(live.functions[0].call)}({loop.value})")
        produced = loop.count("produced")
        loop.block(
            f"if {' and '.join(tests)}:",
            [*loop.collecting(back, round=f"{rounds} + 1"), "continue"],
        )
        loop.line(f"{produced} += 1")
        del loop.riders["round"]
