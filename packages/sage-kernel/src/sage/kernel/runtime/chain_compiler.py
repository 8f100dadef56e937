"""Compiles the operators of a chain into one loop, and explains where that loop failed.

Invariant: for the same operators in the same order the same source comes out, so the code is
compiled once for each shape of chain and shared by all jobs and subtasks of the process; only the
functions bound to it differ.
"""

from __future__ import annotations

import functools
import itertools
import linecache
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any

from sage.kernel.metrics.fates import OperatorStatistics
from sage.kernel.operators.loop import Loop, Nesting, Source
from sage.kernel.operators.operator import LiveOperator
from sage.kernel.runtime.output import Columns
from sage.kernel.state.key_group import PLAIN_KEY_TYPES

if TYPE_CHECKING:
    from sage.kernel.state.keyed_state import KeyedState

__all__ = ["CompiledLoop", "Failure", "compile_loop"]

_serial = itertools.count(1)


@dataclass(frozen=True)
class Failure:
    """Where a loop failed.

    Attributes:
        index: The operator, counted from the start of the loop.
        value: Its input.
        riders: What rides beside it, in the order of ``layout``.
        layout: Names of the riders at that operator.
        resumable: Inner loops around the operator, innermost first: the operator that iterates, its
            live iterator, and the riders beside what it gives.
        gave_nothing: Whether an operator of many outputs had given none for this input yet.
    """

    index: int
    value: Any
    riders: tuple[Any, ...]
    layout: tuple[str, ...]
    resumable: tuple[tuple[int, Iterable[Any], tuple[Any, ...]], ...]
    gave_nothing: bool


class CompiledLoop:
    """A loop over a batch, with the map from its lines back to the operators."""

    def __init__(self, source: Source, run: Callable[[Iterable[Any]], None]) -> None:
        self._source = source
        self.run = run
        self._code: CodeType = run.__code__

    def locate(self, error: BaseException) -> Failure | None:
        """Return where ``error`` left the loop, or None if it never was in it."""
        step = error.__traceback__
        while step is not None and step.tb_frame.f_code is not self._code:
            step = step.tb_next
        if step is None:
            return None
        index = self._source.operator_of_line.get(step.tb_lineno, -1)
        if index < 0:
            return None
        variables = step.tb_frame.f_locals
        riders = self._source.riders_of[index]
        return Failure(
            index,
            variables.get(self._source.input_of[index]),
            tuple(variables.get(name) for name in riders.values()),
            tuple(riders),
            tuple(
                (n.index, variables[n.iterator], tuple(variables.get(r) for r in n.riders))
                for n in reversed(self._nesting(index))
            ),
            self._gave_nothing(index, variables),
        )

    def _gave_nothing(self, index: int, variables: Mapping[str, Any]) -> bool:
        before = variables.get(f"before{index}")
        if before is None or before != variables[f"n{index}_produced"]:
            return False  # it counts no empty records, or this one is not
        context = self._source.context_of.get(index)
        return context is None or bool(variables[context].silent)

    def _nesting(self, index: int) -> Sequence[Nesting]:
        return self._source.nesting_of[index]


def compile_loop(
    operators: Sequence[LiveOperator],
    statistics: Sequence[OperatorStatistics],
    *,
    layout: tuple[str, ...],
    input_index: int = 0,
    out: Columns | None,
    relieve: Callable[[], None] | None = None,
    most_waiting: int = 1024,
) -> CompiledLoop:
    """Compile operators into one loop.

    Args:
        operators: In order; none of them may need a task of its own.
        statistics: One for each.
        layout: The riders that come in beside each value.
        input_index: Which of several inputs of the first operator this loop works off.
        out: Where results go, or None if the last operator is a sink.
        relieve: Called when one record became so many that ``out`` must be sent on before it ends.
        most_waiting: How many that is.
    """
    loop = Loop(layout=layout, input_index=input_index)
    for index, live in enumerate(operators):
        loop.enter(index)
        if live.keyed is not None:
            _write_current_key(loop, live.keyed)
        live.operator.write(loop, live)
    loop.index = -1
    if out is not None and not operators[-1].operator.ends_segment:
        for line in loop.collecting(out):
            loop.line(line)
        if relieve is not None and loop.has_inner_loops:
            test = f"len({loop.bind(out.values, 'o')}) >= {most_waiting}"
            loop.block(f"if {test}:", [f"{loop.bind(relieve)}()"])
    source = loop.finished(statistics.__getitem__)
    make = _factory(source.text)
    return CompiledLoop(source, make(**source.bound))


def _write_current_key(loop: Loop, state: KeyedState) -> None:
    """Let what an operator's functions remember be that of the record's key, at its time."""
    keyed, plain = loop.bind(state, "k"), loop.bind(PLAIN_KEY_TYPES, "p")
    loop.block(f"if type({loop.key}) in {plain}:", [f"{keyed}.current_key = {loop.key}"])
    loop.block("else:", [f"{keyed}.set_current_key({loop.key})"])
    if "time" in loop.riders:
        time, watermark = loop.riders["time"], loop.riders["watermark"]
        loop.line(f"{keyed}.timestamp_s = {time}; {keyed}.watermark_s = {watermark}")
    loop.at_end(f"if {keyed}.expires: {keyed}.sweep()")


@functools.lru_cache(maxsize=1024)
def _factory(text: str) -> Callable[..., Callable[[Iterable[Any]], None]]:
    name = f"<sage chain {next(_serial)}>"
    # With its lines in linecache, tracebacks and debuggers show the generated source.
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {}
    exec(compile(text, name, "exec"), namespace)
    factory: Callable[..., Callable[[Iterable[Any]], None]] = namespace["make"]
    return factory
