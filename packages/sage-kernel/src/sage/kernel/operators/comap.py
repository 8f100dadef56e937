"""``connect(...).comap``: one method for each of several inputs, sharing the function's state.

Example:
    >>> from sage.kernel import CoMapFunction, LocalEnvironment
    >>> class Tag(CoMapFunction):
    ...     def map0(self, record):
    ...         return ("left", record)
    ...
    ...     def map1(self, record):
    ...         return ("right", record)
    >>> env = LocalEnvironment()
    >>> both = env.from_collection([1]).connect(env.from_collection([2]))
    >>> sorted(both.comap(Tag).collect())
    [('left', 1), ('right', 2)]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sage.common.core.functions import CoMapFunction
from sage.kernel.errors import FunctionError
from sage.kernel.operators.function_spec import FunctionShape, FunctionSpec, LiveFunction
from sage.kernel.operators.operator import LiveOperator, Operator

if TYPE_CHECKING:
    from sage.kernel.operators.loop import Loop

__all__ = ["COMAP", "CoMapOperator", "ConnectedMapOperator"]

COMAP = FunctionShape("connect(...).comap", CoMapFunction, "map0")


@dataclass(frozen=True)
class CoMapOperator(Operator):
    """Calls ``map0`` for records of the first input, ``map1`` for those of the second, ..."""

    kind = "comap"
    function: FunctionSpec
    inputs: int = 2

    def __post_init__(self) -> None:
        target = self.function.target
        missing = [f"map{i}" for i in range(self.inputs) if not hasattr(target, f"map{i}")]
        if missing:
            raise FunctionError(
                f"{self.function.label} has {self.inputs} inputs but does not define "
                f"{', '.join(missing)}",
                hint="one method for each input, in the order of connect",
            )

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The function."""
        return (self.function,)

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``v1 = mapN(v)``, N being the input that the loop works off."""
        method = getattr(live.functions[0].owner, f"map{loop.input_index}")
        _write_map(loop, LiveFunction(method))


@dataclass(frozen=True)
class ConnectedMapOperator(Operator):
    """Calls one function for each input."""

    kind = "comap"
    functions: tuple[FunctionSpec, ...]

    @property
    def specs(self) -> tuple[FunctionSpec, ...]:
        """The functions, in the order of the inputs."""
        return self.functions

    def write(self, loop: Loop, live: LiveOperator) -> None:
        """``v1 = fN(v)``, N being the input that the loop works off."""
        _write_map(loop, live.functions[loop.input_index])


def _write_map(loop: Loop, function: LiveFunction) -> None:
    result = loop.assign(f"{loop.bind(function.call)}({loop.value})")
    loop.drop_if(f"{result} is None", "no_output")
