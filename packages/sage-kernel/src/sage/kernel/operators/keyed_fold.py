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

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sage.common.core.functions import AggregateFunction
from sage.kernel.operators.function_spec import FunctionShape, FunctionSpec, LiveFunction
from sage.kernel.operators.operator import LiveOperator, Operator
from sage.kernel.state.key_group import check_key

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop

__all__ = ["AGGREGATE", "AggregateOperator", "CountOperator", "KeyedState", "ReduceOperator"]

AGGREGATE = FunctionShape("aggregate", AggregateFunction, "add")
MISSING: Any = object()


class KeyedState(dict[Any, Any]):
    """The values of the keys of one subtask; `None` is a value like any other."""


class _LiveFold(LiveOperator):
    def __init__(self, operator: Operator, functions: list[LiveFunction]) -> None:
        super().__init__(operator, functions)
        self.state = KeyedState()


@dataclass(frozen=True)
class ReduceOperator(Operator):
    """Emits a key's first record as it is, then each new value of ``reduce(value, record)``."""

    kind = "reduce"
    function: FunctionSpec

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The reduce function."""
        return (self.function,)

    def live(self, *, may_share: bool = True) -> LiveOperator:
        """Make the operator of one subtask, with empty state."""
        return _LiveFold(self, [self.function.live(may_share=may_share)])

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``state[k] = v1 = f(state[k], v)``, or ``v`` for a new key."""
        assert isinstance(live, _LiveFold)
        get, state, missing, check, reduce = (
            loop.bind(live.state.get, "g"),
            loop.bind(live.state, "m"),
            loop.bind(MISSING, "x"),
            loop.bind(check_key, "c"),
            loop.bind(live.functions[0].call),
        )
        record, key = loop.value, loop.key
        value = loop.fresh()
        loop.line(f"{value} = {get}({key}, {missing})")
        loop.block(f"if {value} is {missing}:", [f"{check}({key})", f"{value} = {record}"])
        loop.block("else:", [f"{value} = {reduce}({value}, {record})"])
        loop.line(f"{state}[{key}] = {value}")
        loop.value = value


@dataclass(frozen=True)
class CountOperator(Operator):
    """Emits ``(key, n)`` for the n-th record of a key."""

    kind = "count"

    def live(self, *, may_share: bool = True) -> LiveOperator:
        """Make the operator of one subtask, with empty state."""
        return _LiveFold(self, [])

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``state[k] = n = state[k] + 1``."""
        assert isinstance(live, _LiveFold)
        state, check = loop.bind(live.state, "m"), loop.bind(check_key, "c")
        key, count = loop.key, loop.fresh("n")
        loop.block(f"if {key} in {state}:", [f"{count} = {state}[{key}] + 1"])
        loop.block("else:", [f"{check}({key})", f"{count} = 1"])
        loop.line(f"{state}[{key}] = {count}")
        loop.assign(f"({key}, {count})")


@dataclass(frozen=True)
class AggregateOperator(Operator):
    """Emits ``result(add(acc, record))`` for each record of a key."""

    kind = "aggregate"
    function: FunctionSpec

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The aggregate function."""
        return (self.function,)

    def live(self, *, may_share: bool = True) -> LiveOperator:
        """Make the operator of one subtask, with empty state."""
        return _LiveFold(self, [self.function.live(may_share=may_share)])

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``state[k] = acc = add(acc, v)``, then ``v1 = result(acc)``."""
        assert isinstance(live, _LiveFold)
        owner: Any = live.functions[0].owner
        fold = _folded(owner.create, live.state)
        get, state = loop.bind(fold, "g"), loop.bind(live.state, "m")
        add, result = loop.bind(owner.add), loop.bind(owner.result)
        accumulator = loop.fresh("a")
        loop.line(f"{accumulator} = {add}({get}({loop.key}), {loop.value})")
        loop.line(f"{state}[{loop.key}] = {accumulator}")
        loop.assign(f"{result}({accumulator})")
        loop.drop_if(f"{loop.value} is None", "no_output")


def _folded(create: Callable[[], Any], state: KeyedState) -> Callable[[Any], Any]:
    """Return a look-up that checks a new key and gives it an empty accumulator."""

    def accumulator_of(key: Any) -> Any:
        try:
            return state[key]
        except KeyError:
            check_key(key)
            return create()

    return accumulator_of
