"""``reduce``, ``aggregate`` and ``count`` on a keyed stream: running folds, one value a key.

For every record the value of its key is renewed and emitted, as in Flink's running reduce. The
state is one plain dict for each subtask; a key is checked only when it is seen for the first time,
and key groups are computed only where the stream is exchanged or the state is saved.

A snapshot is a list of the values as they are: for a million keys five milliseconds, or fifty when
they lie scattered in memory, where merging a layer of changes into the state takes two hundred. A
key is never removed, so keys and values are in the same order in all snapshots, and a list of the
keys only grows. What follows from that:

* a value that a function may change in place is copied first, if a snapshot has it that has not
  been read; for that ``touched`` knows which keys came since the last one. It takes the place of
  the state in the question whether a key is known, and so costs a record next to nothing;
* which keys changed is what ``touched`` says as well. Counts need neither: they are replaced, never
  changed, and written all of them in the order of their keys, which are written once. That is a
  third of the work of finding out which ones are new.

Invariant: a value in ``state`` whose key is in ``touched`` is in no snapshot that is still read.

Example:
    >>> from sage.kernel import LocalEnvironment
    >>> numbers = LocalEnvironment().from_collection([1, 2, 3, 4])
    >>> numbers.key_by(lambda n: n % 2).reduce(lambda a, b: a + b).collect()
    [1, 2, 4, 6]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import compress, islice
from typing import TYPE_CHECKING, Any

from sage.common.core.functions import AggregateFunction
from sage.kernel.checkpoint.operator_state import CHUNK, Chunk, OperatorState, RestoredState
from sage.kernel.operators.function_spec import FunctionShape, FunctionSpec, LiveFunction
from sage.kernel.operators.inline_expression import InlinedFunction, call_of
from sage.kernel.operators.operator import LiveOperator, Operator
from sage.kernel.state.key_group import PLAIN_KEY_TYPES, check_key
from sage.kernel.state.unread import ReadOnce, UnreadSnapshots

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop
    from sage.kernel.operators.operator import Prove
    from sage.kernel.state.codec import StateCodec

__all__ = ["AGGREGATE", "AggregateOperator", "CountOperator", "ReduceOperator"]

AGGREGATE = FunctionShape("aggregate", AggregateFunction, "add", takes_callable=False)
MISSING: Any = object()
_FEW = 100  # so many times longer than a step through a large state takes a look-up in it


class _LiveFold(LiveOperator):
    """The values of the keys of one subtask: a plain dict, which is what CPython is fastest at.

    Attributes:
        state: The values.
        touched: Keys that came since the last snapshot; kept only if snapshots are taken.
    """

    def __init__(self, operator: Operator, functions: list[LiveFunction]) -> None:
        super().__init__(operator, functions)
        self.state: dict[Any, Any] = {}
        self.touched: set[Any] = set()
        self._keys: list[Any] = []
        self._unread = UnreadSnapshots()

    def touch(self, key: Any, value: Any) -> Any:
        """Return what a function may change of a value that comes for the first time since."""
        if self._unread:
            value = self.state[key] = self._codec.copied(value)
        self.touched.add(key)
        return value

    @cached_property
    def _codec(self) -> StateCodec:
        from sage.kernel.state.codec import StateCodec  # slow to import, and rarely needed

        return StateCodec(self.operator.label)

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put all values, or those of the keys that came since the snapshot before."""
        super().snapshot(state, full=full)
        taken = self._unread.added(ReadOnce(self._taken(full=full)))
        state.put_lazily("values", taken, changes=not full)

    def _taken(self, *, full: bool) -> partial[Iterator[Chunk]]:
        touched, self.touched = self.touched, set()
        if full:
            return partial(_chunks, *self._pairs())
        if len(touched) < len(self.state) // _FEW:
            keys = list(touched)
            return partial(_chunks, keys, list(map(self.state.__getitem__, keys)))
        keys, values = self._pairs()
        return partial(_chunks, keys, values, map(touched.__contains__, keys))

    def _pairs(self) -> tuple[list[Any], list[Any]]:
        """Return the values as they are, and their keys, to which others may be added later."""
        if not self._keys:
            self._keys = list(self.state)
        new = list(islice(reversed(self.state), len(self.state) - len(self._keys)))
        self._keys.extend(reversed(new))
        return self._keys, list(self.state.values())

    def restore(self, state: RestoredState) -> None:
        """Take the values back."""
        super().restore(state)
        self.state.update(state.keyed("values"))
        self._keys = list(self.state)


class _LiveCount(_LiveFold):
    """Counts: ints, which nothing changes in place."""

    def __init__(self, operator: Operator, functions: list[LiveFunction]) -> None:
        super().__init__(operator, functions)
        self._said = 0  # so many keys are in the snapshots before

    def snapshot(self, state: OperatorState, *, full: bool = True) -> None:
        """Put all counts, and beside them the keys, or those that are new."""
        LiveOperator.snapshot(self, state, full=full)
        keys, values = self._pairs()
        first, self._said = 0 if full else self._said, len(values)
        state.put_lazily("keys", _without_values(keys, first, len(values)), changes=not full)
        state.put_column("counts", values)

    def restore(self, state: RestoredState) -> None:
        """Take the counts back."""
        LiveOperator.restore(self, state)
        self.state.update(state.paired("keys", "counts"))
        self._keys = list(self.state)


def _without_values(keys: list[Any], first: int, end: int) -> Iterator[Chunk]:
    """Yield keys from one on to another; further ones may be added meanwhile."""
    for start in range(first, end, CHUNK):
        part = keys[start : min(start + CHUNK, end)]
        yield Chunk(part, [None] * len(part))


def _chunks(
    keys: list[Any], values: list[Any], chosen: Iterator[bool] | None = None
) -> Iterator[Chunk]:
    """Yield the pairs, or those that are chosen; there may be more keys than values by now."""
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        chunk = Chunk(keys[start : start + len(part)], part)
        if chosen is not None:
            which = list(islice(chosen, len(part)))
            chunk = Chunk(*(list(compress(side, which)) for side in chunk))
        if chunk.keys:
            yield chunk


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

    def write_touching(
        self, loop: Loop, live: _LiveFold, value: str, *, first: list[str], folded: list[str]
    ) -> None:
        """Write how ``value`` becomes the key's new value where snapshots are taken.

        Args:
            loop: The loop to write into.
            live: The live operator.
            value: Variable of the value.
            first: Lines that make the value of a new key.
            folded: Lines that renew the value of a known one.
        """
        from sage.kernel.state.codec import UNCHANGEABLE_TYPES

        key, touched, touch = loop.key, loop.fresh("t"), loop.bind(live.touch)
        state, missing = loop.bind(live.state, "m"), loop.bind(MISSING, "x")
        unchangeable = loop.bind(UNCHANGEABLE_TYPES, "u")
        loop.at_start(f"{touched} = {loop.bind(live, 'l')}.touched")
        loop.block(f"if {key} in {touched}:", [f"{value} = {state}[{key}]", *folded])
        known = [f"if type({value}) not in {unchangeable}: {value} = {touch}({key}, {value})"]
        lines = [f"{value} = {loop.bind(live.state.get, 'g')}({key}, {missing})"]
        lines += [f"if {value} is {missing}:", *_deeper(first), "else:", *_deeper(known + folded)]
        loop.block("else:", [*lines, f"{touched}.add({key})"])

    @staticmethod
    def new_key(loop: Loop, assignment: str) -> list[str]:
        """Return the lines for a key that is seen for the first time."""
        plain, check = loop.bind(PLAIN_KEY_TYPES, "p"), loop.bind(check_key, "c")
        return [f"if type({loop.key}) not in {plain}: {check}({loop.key})", assignment]


def _deeper(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


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
        record, key, value = loop.value, loop.key, loop.fresh()
        reduced = f"{value} = {call_of(loop, live.functions[0], self.inline, value, record)}"
        if live.is_checkpointed:
            first = self.new_key(loop, f"{value} = {record}")
            self.write_touching(loop, live, value, first=first, folded=[reduced])
        else:
            get, missing = loop.bind(live.state.get, "g"), loop.bind(MISSING, "x")
            loop.line(f"{value} = {get}({key}, {missing})")
            loop.block(f"if {value} is {missing}:", self.new_key(loop, f"{value} = {record}"))
            loop.block("else:", [reduced])
        loop.line(f"{state}[{key}] = {value}")
        loop.value = value


@dataclass(frozen=True)
class CountOperator(_FoldOperator):
    """Emits ``(key, n)`` for the n-th record of a key."""

    kind = "count"

    def live(self, *, may_share: bool = True) -> _LiveCount:
        """Make the operator of one subtask, with empty state."""
        return _LiveCount(self, [])

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
        added = call_of(loop, live.functions[0], self.inline, accumulator, loop.value)
        created, added = f"{accumulator} = {create}()", f"{accumulator} = {added}"
        if live.is_checkpointed:
            first = [*self.new_key(loop, created), added]
            self.write_touching(loop, live, accumulator, first=first, folded=[added])
        else:
            loop.block(f"if {key} in {state}:", [f"{accumulator} = {state}[{key}]"])
            loop.block("else:", self.new_key(loop, created))
            loop.line(added)
        loop.line(f"{state}[{key}] = {accumulator}")
        loop.assign(f"{result}({accumulator})")
        loop.drop_if(f"{loop.value} is None", "no_output")
