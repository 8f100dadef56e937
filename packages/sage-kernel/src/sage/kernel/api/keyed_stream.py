"""``KeyedStream``: a stream whose records have a key, and the verbs that need one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from sage.common.core import functions as fn
from sage.kernel.api.datastream import DataStream
from sage.kernel.api.event_time_joins import EventTimeJoinVerbs, join_edges, join_function
from sage.kernel.api.options import only_options, split_options
from sage.kernel.graph.event_time import EventTime
from sage.kernel.operators import function_spec as shapes
from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.keyed_fold import (
    AGGREGATE,
    AggregateOperator,
    CountOperator,
    ReduceOperator,
)

# Joins and windows are imported by the verb that makes them: few pipelines need them.
if TYPE_CHECKING:
    from sage.kernel.api.windowed_stream import WindowedStream, WindowTime
    from sage.kernel.operators.join import JoinHow
    from sage.kernel.operators.operator import Operator
    from sage.kernel.operators.windowing import Trigger, WindowAssigner, WindowMode

__all__ = ["KeyedStream"]

A = TypeVar("A")
K = TypeVar("K")
R = TypeVar("R")
T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")


class KeyedStream(DataStream[T], EventTimeJoinVerbs[K, T], Generic[K, T]):
    """A stream with a key for each record; what ``key_by`` returns."""

    def reduce(
        self,
        function: Callable[[T, T], T] | fn.ReduceFunction[T] | type[fn.ReduceFunction[Any]],
        *args: Any,
        **options: Any,
    ) -> DataStream[T]:
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

    def aggregate(
        self,
        function: fn.AggregateFunction[Any, A, R] | type[fn.AggregateFunction[Any, A, R]],
        *args: Any,
        **options: Any,
    ) -> DataStream[R]:
        """Emit, for each record, the result of its key's accumulator with the record added.

        Example:
            >>> from sage.kernel import AggregateFunction, LocalEnvironment
            >>> class Longest(AggregateFunction):
            ...     def create(self):
            ...         return ""
            ...
            ...     def add(self, acc, record):
            ...         return max(acc, record, key=len)
            ...
            ...     def result(self, acc):
            ...         return acc
            ...
            ...     def merge(self, a, b):
            ...         return max(a, b, key=len)
            >>> words = LocalEnvironment().from_collection(["a", "b", "abc"])
            >>> words.key_by(lambda word: word[0]).aggregate(Longest).collect()
            ['a', 'b', 'abc']
        """
        common, kwargs = split_options(options)
        spec = FunctionSpec(AGGREGATE, function, args, kwargs)
        return self._then(AggregateOperator(spec), common)

    @overload
    def join(
        self,
        other: KeyedStream[K, V],
        function: None = None,
        *,
        how: Literal["inner"] = "inner",
        state_ttl_s: float | None = None,
        max_rows: int = 10_000_000,
        **options: Any,
    ) -> DataStream[tuple[T, V]]: ...
    @overload
    def join(
        self,
        other: KeyedStream[K, V],
        function: None = None,
        *,
        how: JoinHow,
        state_ttl_s: float | None = None,
        max_rows: int = 10_000_000,
        **options: Any,
    ) -> DataStream[tuple[T | None, V | None]]: ...
    @overload
    def join(
        self,
        other: KeyedStream[K, V],
        function: type[fn.JoinFunction[Any, Any, U]]
        | fn.JoinFunction[Any, Any, U]
        | Callable[[Any, Any], U | None],
        *args: Any,
        how: JoinHow = "inner",
        state_ttl_s: float | None = None,
        max_rows: int = 10_000_000,
        **options: Any,
    ) -> DataStream[U]: ...
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
            state_ttl_s: How long a record waits for partners, in seconds. Where both streams have
                timestamps these are seconds of event time, and the join is the interval join from
                ``-state_ttl_s`` to ``state_ttl_s``; else they are seconds of processing time, and
                the result depends on when records arrive.
            max_rows: Most records kept in a subtask.
            options: See `DataStream`.

        Raises:
            GraphError: if ``other`` is not keyed or of another environment.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment()
            >>> users = env.from_collection([(1, "ann")]).key_by(lambda user: user[0])
            >>> orders = env.from_collection([(1, "tea")]).key_by(lambda order: order[0])
            >>> users.join(orders, lambda user, order: f"{user[1]}: {order[1]}").collect()
            ['ann: tea']
        """
        edges = join_edges("join", self, other)
        spec, common = join_function("join", function, args, options)
        from sage.kernel.operators.join import JoinOperator

        operator: Operator = JoinOperator(spec, how, state_ttl_s, max_rows)
        if state_ttl_s is not None and EventTime(self.env.graph()).is_on(*edges):
            from sage.kernel.operators.interval_join import IntervalJoinOperator

            operator = IntervalJoinOperator(spec, -state_ttl_s, state_ttl_s, how, max_rows)
        return self.env.add_operator(operator, edges, common)

    def window(
        self,
        assigner: WindowAssigner,
        *,
        trigger: Trigger | None = None,
        allowed_lateness_s: float = 0.0,
        mode: WindowMode = "accumulating",
        time: WindowTime = "event",
    ) -> WindowedStream[K, T]:
        """Cut each key's records into windows; what is returned says what is made of them.

        Args:
            assigner: `TumblingWindow`, `SlidingWindow`, `SessionWindow`, `CountWindow` or
                `GlobalWindow`.
            trigger: When a window fires: `AfterWatermark`, `AfterCount` or `AfterProcessingTime`;
                None fires when the watermark reaches its end, and again for each record that is
                late but allowed.
            allowed_lateness_s: How long a window stays open behind its end, in event time.
            mode: ``"accumulating"``: a firing says all records so far; ``"discarding"``: those
                since the last firing.
            time: ``"event"``: windows of the records' timestamps; ``"processing"``: of the clock.

        Raises:
            GraphError: if an argument is none, or does not go with another.

        Example:
            >>> from sage.kernel import LocalEnvironment, TumblingWindow
            >>> sales = LocalEnvironment().from_collection([("tea", 1), ("tea", 2), ("tea", 61)])
            >>> by_item = sales.assign_timestamps(lambda s: s[1]).key_by(lambda s: s[0])
            >>> by_item.window(TumblingWindow(60)).count().collect()
            [('tea', 2), ('tea', 1)]
        """
        from sage.kernel.api.windowed_stream import WindowedStream

        return WindowedStream(
            self,
            assigner,
            trigger=trigger,
            allowed_lateness_s=allowed_lateness_s,
            mode=mode,
            time=time,
        )

    def count(self, **options: Any) -> DataStream[tuple[K, int]]:
        """Emit ``(key, n)`` for the n-th record of each key.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> words = LocalEnvironment().from_collection(["a", "b", "a"])
            >>> words.key_by(lambda word: word).count().collect()
            [('a', 1), ('b', 1), ('a', 2)]
        """
        return self._then(CountOperator(), only_options("count", options))
