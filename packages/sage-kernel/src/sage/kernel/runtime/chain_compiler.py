"""Compiles the operators of a chain into one loop, and explains where that loop failed.

Invariant: for the same operators in the same order the same source comes out, so the code is
compiled once for each shape of chain and shared by all jobs and subtasks of the process; only the
functions bound to it differ.
"""

from __future__ import annotations

import functools
import itertools
import linecache
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

from sage.kernel.metrics.fates import OperatorStatistics
from sage.kernel.operators.loop import Loop, Nesting, Source
from sage.kernel.operators.operator import LiveOperator
from sage.kernel.runtime.output import Columns

__all__ = ["CompiledLoop", "Failure", "compile_loop"]

_serial = itertools.count(1)


@dataclass(frozen=True)
class Failure:
    """Where a loop failed.

    Attributes:
        index: The operator, counted from the start of the loop.
        value: Its input.
        key: The key of its input, where there is one.
        resumable: Inner loops around the operator, innermost first, with their live iterators.
        gave_nothing: Whether an operator of many outputs had given none for this input yet.
    """

    index: int
    value: Any
    key: Any
    resumable: tuple[tuple[int, Iterable[Any]], ...]
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
        key = self._source.key_of[index]
        return Failure(
            index,
            variables.get(self._source.input_of[index]),
            variables.get(key) if key else None,
            tuple((n.index, variables[n.iterator]) for n in reversed(self._nesting(index))),
            variables.get(f"b{index}") == variables.get(f"n{index}_produced"),
        )

    def _nesting(self, index: int) -> Sequence[Nesting]:
        return self._source.nesting_of[index]


def compile_loop(
    operators: Sequence[LiveOperator],
    statistics: Sequence[OperatorStatistics],
    *,
    keyed: bool,
    out: Columns | None,
) -> CompiledLoop:
    """Compile operators into one loop.

    Args:
        operators: In order; none of them may need a task of its own.
        statistics: One for each.
        keyed: Whether the input is pairs of value and key.
        out: Where results go, or None if the last operator is a sink.
    """
    loop = Loop(keyed=keyed)
    for index, live in enumerate(operators):
        loop.enter(index)
        live.operator.write(loop, live)
    loop.index = -1
    if out is not None:
        loop.line(f"{loop.bind(out.values.append, 'out')}({loop.value})")
        if out.keys is not None:
            loop.line(f"{loop.bind(out.keys.append, 'out')}({loop.key})")
    source = loop.finished(statistics.__getitem__)
    make = _factory(source.text)
    return CompiledLoop(source, make(**source.bound))


@functools.lru_cache(maxsize=1024)
def _factory(text: str) -> Callable[..., Callable[[Iterable[Any]], None]]:
    name = f"<sage chain {next(_serial)}>"
    # With its lines in linecache, tracebacks and debuggers show the generated source.
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {}
    exec(compile(text, name, "exec"), namespace)
    factory: Callable[..., Callable[[Iterable[Any]], None]] = namespace["make"]
    return factory
