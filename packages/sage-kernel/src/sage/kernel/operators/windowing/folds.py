"""Windows that are folded as records come, in the generated loop: what the fast paths share.

A *fold* is a content (`contents`) that grows by one record with one expression, which is written
into the loop. The fast paths are for windows that fire once, at their end: `sliced_windows` for
tumbling and sliding ones, `folded_sessions` for sessions. `live_windows` does everything else, and
the same in these cases; whichever runs, results are the same.

Fates are counted by window and not by key and window: a record counts as emitted when its last
window has fired, also if ``emit`` gave None for its key.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from sage.kernel.operators.event_time import LiveEventTimeOperator, just_before
from sage.kernel.operators.function_spec import LiveFunction
from sage.kernel.operators.inline_expression import InlinedFunction, call_of
from sage.kernel.operators.operator import Operator
from sage.kernel.operators.windowing.assigners import Window
from sage.kernel.operators.windowing.contents import (
    AggregateContents,
    Contents,
    CountContents,
    ReduceContents,
)

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop

__all__ = ["AggregateFold", "CountFold", "Fold", "LiveFoldedWindows", "ReduceFold"]

_IMMUTABLE = frozenset({int, float, complex, bool, str, bytes, type(None)})


class Fold(Contents, Protocol):
    """A content, here called accumulator, that is written into the loop."""

    def begin(self, accumulator: Any) -> Any:
        """Return an accumulator to merge, leaving this one as it is."""

    def result(self, accumulator: Any) -> Any:
        """Return what it stands for."""

    def first_of(self, loop: Loop) -> str:
        """Return the expression for `first` of the loop's current value."""

    def with_one_more(self, loop: Loop, accumulator: str) -> str:
        """Return the expression for `add` of the loop's current value."""


class CountFold(CountContents):
    """The number of records."""

    def begin(self, accumulator: int) -> int:
        """Return the number."""
        return accumulator

    result = begin

    def first_of(self, loop: Loop) -> str:
        """``1``."""
        return "1"

    def with_one_more(self, loop: Loop, accumulator: str) -> str:
        """``n + 1``."""
        return f"{accumulator} + 1"


class ReduceFold(ReduceContents):
    """The reduced record.

    Args:
        function: The reduce function.
        inline: What it returns, where the optimizer proved it.
    """

    def __init__(self, function: LiveFunction, inline: InlinedFunction | None) -> None:
        super().__init__(function.call)
        self._function, self._inline = function, inline

    def begin(self, accumulator: Any) -> Any:
        """Return the record."""
        return accumulator

    result = begin

    def first_of(self, loop: Loop) -> str:
        """``v``."""
        return loop.value

    def with_one_more(self, loop: Loop, accumulator: str) -> str:
        """``f(a, v)``."""
        return call_of(loop, self._function, self._inline, accumulator, loop.value)


class AggregateFold(AggregateContents):
    """The accumulator of an `AggregateFunction`.

    Args:
        function: The function.
        inline: What its ``add`` returns, where the optimizer proved it.
        is_shared: Whether several windows have an accumulator.
    """

    def __init__(
        self, function: LiveFunction, inline: InlinedFunction | None, *, is_shared: bool
    ) -> None:
        owner: Any = function.owner
        super().__init__(owner)
        self._function, self._inline, self._is_shared = function, inline, is_shared

    def begin(self, accumulator: Any) -> Any:
        """Return a copy, if it could be changed: another window has it too."""
        return accumulator if type(accumulator) in _IMMUTABLE else copy.deepcopy(accumulator)

    def result(self, accumulator: Any) -> Any:
        """Return the function's result, which must not grow with the accumulator."""
        return self.value(accumulator, is_kept=self._is_shared)

    def first_of(self, loop: Loop) -> str:
        """``add(create(), v)``."""
        return f"{loop.bind(self.add)}({loop.bind(self._create)}(), {loop.value})"

    def with_one_more(self, loop: Loop, accumulator: str) -> str:
        """``add(a, v)``."""
        return call_of(loop, self._function, self._inline, accumulator, loop.value)


class LiveFoldedWindows(LiveEventTimeOperator):
    """Base of the fast paths: what they say when a window ends.

    Args:
        operator: The description.
        functions: Its live functions.
        fold: What is made of records.
        emit: Makes a record of key, window and value; None for the value itself.
        with_key: Whether the value itself is given as ``(key, value)``.
    """

    def __init__(
        self,
        operator: Operator,
        functions: list[LiveFunction],
        fold: Fold,
        *,
        emit: Callable[[Any, Window, Any], Any] | None = None,
        with_key: bool = False,
    ) -> None:
        super().__init__(operator, functions)
        self._fold = fold
        self._value_of = fold.result
        self._emit = emit
        self._with_key = with_key

    def write(self, loop: Loop) -> None:
        """Write how one record is folded."""
        raise NotImplementedError

    def say(self, window: Window, cells: Mapping[Any, Any]) -> None:
        """Emit what is in a window; what a user's function raises belongs to no record."""
        results: list[Any] = []
        value_of, emit, with_key = self._value_of, self._emit, self._with_key
        for key, accumulator in cells.items():
            try:  # as in `_result`, without a call for each
                result = value_of(accumulator)
                if emit is not None:
                    result = emit(key, window, result)
                elif with_key:
                    result = (key, result)
            except Exception as error:
                call = partial(self._result, key, window, accumulator)
                result = self.try_again(call, (key, window, accumulator), error)
            if result is not None:
                results.append(result)
        if results:
            self.come_to_end(window.end_s)
            self.emit_all(results, just_before(window.end_s))

    def _result(self, key: Any, window: Window, accumulator: Any) -> Any:
        value = self._value_of(accumulator)
        if self._emit is not None:
            return self._emit(key, window, value)
        return (key, value) if self._with_key else value
