"""``key_by``: says which key each record belongs to.

The key is computed once, rides beside the record as a column, and decides the subtask wherever the
stream is exchanged. Which types can be keys, and how they hash, is in ``state.key_group``.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> words = LocalEnvironment().from_collection(["a", "b", "a"])
    >>> words.key_by(lambda word: word).count().collect()
    [('a', 1), ('b', 1), ('a', 2)]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.inline_expression import InlinedFunction, applied
from sage.kernel.operators.operator import LiveOperator, Operator, with_rider

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop
    from sage.kernel.operators.operator import Prove

__all__ = ["GIVE_KEYS", "KeyByOperator", "SingleKeyOperator"]

GIVE_KEYS = ("key_by", "single_key")  # the kinds behind which every record has a key


@dataclass(frozen=True)
class KeyByOperator(Operator):
    """Computes the key; the record goes on as it is.

    Args:
        selector: The key selector.
        inline: What it returns, where the optimizer proved it.
    """

    kind = "key_by"
    selector: FunctionSpec
    inline: InlinedFunction | None = None

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The key selector."""
        return (self.selector,)

    def layout_after(self, layout: tuple[str, ...]) -> tuple[str, ...]:
        """Behind it every record has a key."""
        return with_rider(layout, "key")

    def inlined(self, prove: Prove) -> KeyByOperator:
        """With the function as an expression, where that can be proved."""
        return replace(self, inline=prove(self.selector))

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``k = f(v)``."""
        key = applied(loop, live.functions[0], self.inline, "k")
        loop.riders["key"] = key


@dataclass(frozen=True)
class SingleKeyOperator(Operator):
    """Gives every record the same key: folds on a stream without keys."""

    kind = "single_key"

    def layout_after(self, layout: tuple[str, ...]) -> tuple[str, ...]:
        """Behind it every record has a key."""
        return with_rider(layout, "key")

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``k = 0``."""
        key = loop.fresh("k")
        loop.line(f"{key} = 0")
        loop.riders["key"] = key
