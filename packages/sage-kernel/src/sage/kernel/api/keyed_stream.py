"""``KeyedStream``: a stream whose records have a key, and the verbs that need one."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from sage.kernel.api.datastream import DataStream, _split_options
from sage.kernel.operators import function_spec as shapes
from sage.kernel.operators.function_spec import FunctionSpec
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
        common, kwargs = _split_options(options)
        spec = FunctionSpec(shapes.REDUCE, function, args, kwargs)
        return self._then(ReduceOperator(spec), common)

    def aggregate(self, function: Any, *args: Any, **options: Any) -> DataStream[Any]:
        """Emit, for each record, the result of its key's accumulator with the record added."""
        common, kwargs = _split_options(options)
        spec = FunctionSpec(AGGREGATE, function, args, kwargs)
        return self._then(AggregateOperator(spec), common)

    def count(self, **options: Any) -> DataStream[tuple[K, int]]:
        """Emit ``(key, n)`` for the n-th record of each key."""
        return self._then(CountOperator(), _split_options(options)[0])
