"""``flat_map``: one record in, any number out, taken lazily one by one.

A generator's items go down the chain as it yields them, so that a function that streams (tokens of
an answer, pages of a document) is seen by the next operator at once.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> LocalEnvironment().from_collection(["a b", "", "c"]).flat_map(str.split).collect()
    ['a', 'b', 'c']
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.journalled import JournalledCall, check_journal
from sage.kernel.operators.operator import LiveOperator, Operator

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop

__all__ = ["FlatMapOperator", "items_of"]


@dataclass(frozen=True)
class FlatMapOperator(Operator):
    """Replaces each record by the items of what the function returns; None means no output.

    Args:
        function: The function.
        journal: Whether results are journalled; a generator is then worked off before its first
            item goes on.
    """

    kind = "flat_map"
    has_state = True
    one_to_one = False
    function: FunctionSpec
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

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """An inner loop over the items."""
        call, items = live.functions[0].call, items_of("flat_map")
        if live.journal is not None:
            counters = live.statistics.custom
            call = JournalledCall(live.journal, call, counters, lambda result: list(items(result)))
        loop.each_of(f"{loop.bind(call)}({loop.value})", items=loop.bind(items))


@functools.cache
def items_of(verb: str) -> Callable[[Iterable[Any] | None], Iterator[Any]]:
    """Return what makes an iterator of a function's result, refusing text, which is never meant.

    Args:
        verb: Named in the error.
    """

    def items(result: Iterable[Any] | None) -> Iterator[Any]:
        if result is None:
            return iter(())
        if isinstance(result, (str, bytes)):
            parts = "letters" if isinstance(result, str) else "bytes"
            raise TypeError(
                f"{verb} function returned {type(result).__name__} {result!r:.60}, which would be "
                f"split into {parts}; return a list of one item instead"
            )
        try:
            return iter(result)
        except TypeError:
            raise TypeError(
                f"{verb} function returned {type(result).__name__} {result!r:.60}, which is not "
                f"iterable; return a list of what it emits, or yield it"
            ) from None

    return items
