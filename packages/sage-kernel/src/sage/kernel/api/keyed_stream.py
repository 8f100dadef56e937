"""``KeyedStream``: a stream whose records have a key, and the verbs that need one."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from sage.kernel.api.datastream import DataStream
from sage.kernel.api.options import split_options
from sage.kernel.errors import GraphError
from sage.kernel.operators import function_spec as shapes
from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.join import JoinHow, JoinOperator
from sage.kernel.operators.keyed_fold import (
    AGGREGATE,
    AggregateOperator,
    CountOperator,
    ReduceOperator,
)

__all__ = ["KeyedStream"]

K = TypeVar("K")
T = TypeVar("T")


class KeyedStream(DataStream[T], Generic[K, T]):
    """A stream with a key for each record; what ``key_by`` returns."""

    def reduce(self, function: Any, *args: Any, **options: Any) -> DataStream[T]:
        """Emit, for each record, the new value of its key: ``f(value so far, record)``.

        The first record of a key is emitted as it is.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> stream = LocalEnvironment().from_collection([1, 2, 3])
            >>> stream.key_by(lambda n: "all").reduce(max).collect()
            [1, 2, 3]
        """
        common, kwargs = split_options(options)
        spec = FunctionSpec(shapes.REDUCE, function, args, kwargs)
        return self._then(ReduceOperator(spec), common)

    def aggregate(self, function: Any, *args: Any, **options: Any) -> DataStream[Any]:
        """Emit, for each record, the result of its key's accumulator with the record added."""
        common, kwargs = split_options(options)
        spec = FunctionSpec(AGGREGATE, function, args, kwargs)
        return self._then(AggregateOperator(spec), common)

    def join(
        self,
        other: DataStream[Any],
        function: Any = None,
        *args: Any,
        how: JoinHow = "inner",
        state_ttl_s: float | None = None,
        max_rows: int = 10_000_000,
        **options: Any,
    ) -> DataStream[Any]:
        """Join with another keyed stream; see `sage.kernel.operators.join`.

        Args:
            other: A keyed stream of the same environment.
            function: A `JoinFunction` or a callable of two records; without one, pairs are emitted.
            args: Config, if ``function`` is a class.
            how: ``inner``, ``left``, ``right`` or ``full``.
            state_ttl_s: How long a record waits for partners, in seconds of processing time.
            max_rows: Most records kept in a subtask.
            options: See `DataStream`.

        Raises:
            GraphError: if ``other`` is not keyed.
        """
        if not isinstance(other, KeyedStream):
            raise GraphError("join wants two keyed streams", hint="other.key_by(...) first")
        common, kwargs = split_options(options)
        spec = FunctionSpec(shapes.JOIN, function, args, kwargs) if function is not None else None
        operator = JoinOperator(spec, how, state_ttl_s, max_rows)
        return self.env.add_operator(operator, (self.edge(0), other.edge(1)), common)

    def count(self, **options: Any) -> DataStream[tuple[K, int]]:
        """Emit ``(key, n)`` for the n-th record of each key."""
        return self._then(CountOperator(), split_options(options)[0])
