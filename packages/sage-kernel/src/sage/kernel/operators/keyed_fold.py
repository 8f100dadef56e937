"""``reduce``, ``aggregate`` and ``count`` on a keyed stream: running folds, one value a key.

For every record the value of its key is renewed and emitted, as in Flink's running reduce. The
state is one plain dict for each subtask; a key is checked only when it is seen for the first time,
and key groups are computed only where the stream is exchanged or the state is saved.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> numbers = LocalEnvironment().from_collection([1, 2, 3, 4])
    >>> numbers.key_by(lambda n: n % 2).reduce(lambda a, b: a + b).collect()
    [1, 2, 4, 6]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sage.common.core.functions import AggregateFunction
from sage.kernel.operators.function_spec import FunctionShape, FunctionSpec, LiveFunction
from sage.kernel.operators.inline_expression import InlinedFunction, call_of
from sage.kernel.operators.operator import LiveOperator, Operator
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, check_key

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop
    from sage.kernel.operators.operator import Prove

__all__ = ["AGGREGATE", "AggregateOperator", "CountOperator", "ReduceOperator"]

AGGREGATE = FunctionShape("aggregate", AggregateFunction, "add", takes_callable=False)
MISSING: Any = object()


class _LiveFold(LiveOperator):
    """The values of the keys of one subtask: a plain dict, which is what CPython is fastest at."""

    def __init__(self, operator: Operator, functions: list[LiveFunction]) -> None:
        super().__init__(operator, functions)
        self.state: dict[Any, Any] = {}


@dataclass(frozen=True)
class _FoldOperator(Operator):
    """What the folds share: state by key, and a check of each key when it is first seen."""

    def live(self, *, may_share: bool = True) -> _LiveFold:
        """Make the operator of one subtask, with empty state."""
        return _LiveFold(self, [spec.live(may_share=may_share) for spec in self.specs])

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """Write the fold, with the state bound."""
        assert isinstance(live, _LiveFold)
        self.write_fold(loop, live, loop.bind(live.state, "m"))

    def write_fold(self, loop: Loop, live: _LiveFold, state: str) -> None:
        """Write how one record changes ``state`` and what is emitted."""
        raise NotImplementedError

    @staticmethod
    def new_key(loop: Loop, assignment: str) -> list[str]:
        """Return the lines for a key that is seen for the first time."""
        plain, check = loop.bind(PLAIN_KEY_TYPES, "p"), loop.bind(check_key, "c")
        return [f"if type({loop.key}) not in {plain}: {check}({loop.key})", assignment]


@dataclass(frozen=True)
class ReduceOperator(_FoldOperator):
    """Emits a key's first record as it is, then each new value of ``reduce(value, record)``.

    Args:
        function: The reduce function.
        inline: What it returns, where the optimizer proved it.
    """

    kind = "reduce"
    function: FunctionSpec
    inline: InlinedFunction | None = None

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The reduce function."""
        return (self.function,)

    def inlined(self, prove: Prove) -> ReduceOperator:
        """With the function as an expression, where that can be proved."""
        return replace(self, inline=prove(self.function, parameters=2))

    def write_fold(self, loop: Loop, live: _LiveFold, state: str) -> None:
        """``state[k] = v1 = f(state[k], v)``, or ``v`` for a new key."""
        get, missing = loop.bind(live.state.get, "g"), loop.bind(MISSING, "x")
        record, key, value = loop.value, loop.key, loop.fresh()
        loop.line(f"{value} = {get}({key}, {missing})")
        loop.block(f"if {value} is {missing}:", self.new_key(loop, f"{value} = {record}"))
        reduced = call_of(loop, live.functions[0], self.inline, value, record)
        loop.block("else:", [f"{value} = {reduced}"])
        loop.line(f"{state}[{key}] = {value}")
        loop.value = value


@dataclass(frozen=True)
class CountOperator(_FoldOperator):
    """Emits ``(key, n)`` for the n-th record of a key."""

    kind = "count"

    def write_fold(self, loop: Loop, live: _LiveFold, state: str) -> None:
        """``state[k] = n = state[k] + 1``."""
        key, count = loop.key, loop.fresh("n")
        loop.block(f"if {key} in {state}:", [f"{count} = {state}[{key}] + 1"])
        loop.block("else:", self.new_key(loop, f"{count} = 1"))
        loop.line(f"{state}[{key}] = {count}")
        loop.assign(f"({key}, {count})")


@dataclass(frozen=True)
class AggregateOperator(_FoldOperator):
    """Emits ``result(add(acc, record))`` for each record of a key.

    Args:
        function: The aggregate function.
        inline: What its ``add`` returns, where the optimizer proved it.
    """

    kind = "aggregate"
    function: FunctionSpec
    inline: InlinedFunction | None = None

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The aggregate function."""
        return (self.function,)

    def inlined(self, prove: Prove) -> AggregateOperator:
        """With the function as an expression, where that can be proved."""
        return replace(self, inline=prove(self.function, parameters=2))

    def write_fold(self, loop: Loop, live: _LiveFold, state: str) -> None:
        """``state[k] = acc = add(acc, v)``, then ``v1 = result(acc)``."""
        owner: Any = live.functions[0].owner
        create, result = loop.bind(owner.create), loop.bind(owner.result)
        key, accumulator = loop.key, loop.fresh("a")
        loop.block(f"if {key} in {state}:", [f"{accumulator} = {state}[{key}]"])
        loop.block("else:", self.new_key(loop, f"{accumulator} = {create}()"))
        added = call_of(loop, live.functions[0], self.inline, accumulator, loop.value)
        loop.line(f"{accumulator} = {added}")
        loop.line(f"{state}[{key}] = {accumulator}")
        loop.assign(f"{result}({accumulator})")
        loop.drop_if(f"{loop.value} is None", "no_output")
