"""``Stream``: a place in a plan, and how a verb adds an operator behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sage.kernel.api.options import split_options
from sage.kernel.graph.transformation import Edge, Partitioning
from sage.kernel.operators.function_spec import FunctionShape, FunctionSpec
from sage.kernel.operators.operator import Operator

if TYPE_CHECKING:
    from sage.kernel.api.datastream import DataStream
    from sage.kernel.api.environment import Environment

__all__ = ["Stream"]

T = TypeVar("T")


class Stream(Generic[T]):
    """What the verbs of `DataStream` are built on.

    Args:
        env: The environment whose plan it is a place in.
        uid: Of the operator whose output it is.
        partitioning: How the next operator gets its records.
        tag: The side output that it is, or None for the main output.
    """

    def __init__(
        self,
        env: Environment,
        uid: str,
        *,
        partitioning: Partitioning = Partitioning.ANY,
        tag: str | None = None,
    ) -> None:
        self.env = env
        self.uid = uid
        self._partitioning = partitioning
        self._tag = tag

    def edge(self, input_index: int) -> Edge:
        """Return the edge by which an operator reads this stream."""
        return Edge(self.uid, self._partitioning, input_index, self._tag)

    def _apply(
        self,
        shape: FunctionShape,
        operator: Callable[[FunctionSpec], Operator],
        function: Any,
        args: tuple[Any, ...],
        options: Mapping[str, Any],
    ) -> DataStream[Any]:
        common, kwargs = split_options(options)
        return self._then(operator(FunctionSpec(shape, function, args, kwargs)), common)

    def _then(self, operator: Operator, options: Mapping[str, Any]) -> DataStream[Any]:
        return self.env.add_operator(operator, (self.edge(0),), options)

    def _spread(self, partitioning: Partitioning) -> DataStream[T]:
        """Return the same stream, to be spread over the next operator's subtasks in this way."""
        from sage.kernel.api.datastream import DataStream

        return DataStream(self.env, self.uid, partitioning=partitioning, tag=self._tag)
