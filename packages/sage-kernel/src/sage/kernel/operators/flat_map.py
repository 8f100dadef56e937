"""``flat_map``: one record in, any number out, taken lazily one by one.

A generator's items go down the chain as it yields them, so that a function that streams (tokens of
an answer, pages of a document) is seen by the next operator at once.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> LocalEnvironment().from_collection(["a b", "", "c"]).flat_map(str.split).collect()
    ['a', 'b', 'c']
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.operator import LiveOperator, Operator

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop

__all__ = ["FlatMapOperator"]


@dataclass(frozen=True)
class FlatMapOperator(Operator):
    """Replaces each record by the items of what the function returns; None means no output."""

    kind = "flat_map"
    one_to_one = False
    function: FunctionSpec

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The function."""
        return (self.function,)

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """An inner loop over the items; a record counts as empty until its first one."""
        function, items = loop.bind(live.functions[0].call), loop.bind(_items)
        iterator = loop.fresh("i")
        produced, empty = loop.count("produced"), loop.count("empty")
        loop.line(f"{iterator} = {items}({function}({loop.value}))")
        before = f"b{loop.index}"
        loop.line(f"{empty} += 1")
        loop.line(f"{before} = {produced}")
        loop.each(iterator)
        # The record stops being empty with its first item; later ones compare two unequal ints.
        loop.block(f"if {before} == {produced}:", [f"{empty} -= 1"])
        loop.line(f"{produced} += 1")


def _items(result: Iterable[Any] | None) -> Iterator[Any]:
    """Return an iterator over a function's result, refusing text, which is never meant."""
    if result is None:
        return iter(())
    if isinstance(result, (str, bytes)):
        raise TypeError(
            f"flat_map function returned {type(result).__name__} {result!r:.60}, which would be "
            f"split into {'letters' if isinstance(result, str) else 'bytes'}; "
            f"return a list of one item instead"
        )
    return iter(result)
