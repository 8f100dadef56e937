"""The verbs of keyed streams that compare the times of records: joins in event time, duplicates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from sage.common.core import functions as fn
from sage.kernel.api.options import only_options, split_options
from sage.kernel.api.stream import Stream
from sage.kernel.errors import GraphError
from sage.kernel.graph.transformation import Edge
from sage.kernel.operators import function_spec as shapes
from sage.kernel.operators.function_spec import FunctionSpec

# Each operator is imported by the verb that makes it: few pipelines need any of them.
if TYPE_CHECKING:
    from sage.kernel.api.datastream import DataStream
    from sage.kernel.api.keyed_stream import KeyedStream
    from sage.kernel.operators.join import JoinHow
    from sage.kernel.operators.temporal_join import TemporalJoinHow
    from sage.kernel.operators.windowing import WindowAssigner

__all__ = ["EventTimeJoinVerbs", "join_edges", "join_function"]

_JOIN_OPTIONS = ("how", "allowed_lateness_s", "lower_s", "upper_s", "state_ttl_s")

K = TypeVar("K")
T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")


class EventTimeJoinVerbs(Stream[T], Generic[K, T]):
    """What two keyed streams with timestamps can be joined by, and what one can be rid of.

    Records behind the watermark are late: they are counted and are in the side output ``late`` of
    the stream that the verb returns, whichever side they came from.
    """

    @overload
    def window_join(
        self,
        other: KeyedStream[K, V],
        assigner: WindowAssigner,
        function: None = None,
        *,
        how: Literal["inner"] = "inner",
        allowed_lateness_s: float = 0.0,
        **options: Any,
    ) -> DataStream[tuple[T, V]]: ...
    @overload
    def window_join(
        self,
        other: KeyedStream[K, V],
        assigner: WindowAssigner,
        function: None = None,
        *,
        how: JoinHow,
        allowed_lateness_s: float = 0.0,
        **options: Any,
    ) -> DataStream[tuple[T | None, V | None]]: ...
    @overload
    def window_join(
        self,
        other: KeyedStream[K, V],
        assigner: WindowAssigner,
        function: type[fn.JoinFunction[Any, Any, U]]
        | fn.JoinFunction[Any, Any, U]
        | Callable[[Any, Any], U | None],
        *args: Any,
        how: JoinHow = "inner",
        allowed_lateness_s: float = 0.0,
        **options: Any,
    ) -> DataStream[U]: ...
    def window_join(
        self,
        other: DataStream[Any],
        assigner: WindowAssigner,
        function: Any = None,
        *args: Any,
        how: JoinHow = "inner",
        allowed_lateness_s: float = 0.0,
        **options: Any,
    ) -> DataStream[Any]:
        """Join the records that are in the same window; see `operators.window_join`.

        Args:
            other: A keyed stream of the same environment.
            assigner: `TumblingWindow`, `SlidingWindow` or `SessionWindow`.
            function: A `JoinFunction` or a callable of two records; without one, pairs are emitted.
            args: Config, if ``function`` is a class.
            how: ``inner``, ``left``, ``right`` or ``full``.
            allowed_lateness_s: How long after its end a window takes late records, in seconds.
            options: See `DataStream`.

        Raises:
            GraphError: if ``other`` is not keyed or of another environment, or the windows have no
                end in time.

        Example:
            >>> from sage.kernel import LocalEnvironment, TumblingWindow
            >>> env = LocalEnvironment()
            >>> asked = env.from_collection([("q1", 1), ("q2", 12)]).assign_timestamps(
            ...     lambda r: r[1]
            ... )
            >>> rated = env.from_collection([("q1", 9), ("q2", 31)]).assign_timestamps(
            ...     lambda r: r[1]
            ... )
            >>> same = asked.key_by(lambda r: r[0]).window_join(
            ...     rated.key_by(lambda r: r[0]), TumblingWindow(10), how="left"
            ... )
            >>> sorted(same.collect())
            [(('q1', 1), ('q1', 9)), (('q2', 12), None)]
        """
        spec, common = join_function("window_join", function, args, options)
        from sage.kernel.operators.window_join import WindowJoinOperator

        operator = WindowJoinOperator(spec, assigner, how, allowed_lateness_s)
        return self.env.add_operator(operator, join_edges("window_join", self, other), common)

    @overload
    def interval_join(
        self,
        other: KeyedStream[K, V],
        lower_s: float,
        upper_s: float,
        function: None = None,
        *,
        how: Literal["inner"] = "inner",
        **options: Any,
    ) -> DataStream[tuple[T, V]]: ...
    @overload
    def interval_join(
        self,
        other: KeyedStream[K, V],
        lower_s: float,
        upper_s: float,
        function: None = None,
        *,
        how: JoinHow,
        **options: Any,
    ) -> DataStream[tuple[T | None, V | None]]: ...
    @overload
    def interval_join(
        self,
        other: KeyedStream[K, V],
        lower_s: float,
        upper_s: float,
        function: type[fn.JoinFunction[Any, Any, U]]
        | fn.JoinFunction[Any, Any, U]
        | Callable[[Any, Any], U | None],
        *args: Any,
        how: JoinHow = "inner",
        **options: Any,
    ) -> DataStream[U]: ...
    def interval_join(
        self,
        other: DataStream[Any],
        lower_s: float,
        upper_s: float,
        function: Any = None,
        *args: Any,
        how: JoinHow = "inner",
        **options: Any,
    ) -> DataStream[Any]:
        """Join the records whose times are close; see `operators.interval_join`.

        Args:
            other: A keyed stream of the same environment.
            lower_s: Least time from a record of this stream to one of the other, in seconds; below
                0 if that one may be earlier.
            upper_s: Most time from a record of this stream to one of the other.
            function: A `JoinFunction` or a callable of two records; without one, pairs are emitted.
            args: Config, if ``function`` is a class.
            how: ``inner``, ``left``, ``right`` or ``full``.
            options: See `DataStream`.

        Raises:
            GraphError: if ``other`` is not keyed or of another environment, a bound is no finite
                number, or the interval ends before it starts.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment()
            >>> orders = env.from_collection([("tea", 10), ("milk", 20)])
            >>> ordered = orders.assign_timestamps(lambda o: o[1]).key_by(lambda o: o[0])
            >>> payments = env.from_collection([("tea", 13), ("milk", 99)])
            >>> paid = payments.assign_timestamps(lambda p: p[1]).key_by(lambda p: p[0])
            >>> in_time = ordered.interval_join(
            ...     paid, 0, 5, lambda o, p: (o[0], bool(p)), how="left"
            ... )
            >>> sorted(in_time.collect())
            [('milk', False), ('tea', True)]
        """
        spec, common = join_function("interval_join", function, args, options)
        from sage.kernel.operators.interval_join import IntervalJoinOperator

        operator = IntervalJoinOperator(spec, lower_s, upper_s, how)
        return self.env.add_operator(operator, join_edges("interval_join", self, other), common)

    @overload
    def temporal_join(
        self,
        versions: KeyedStream[K, V],
        function: None = None,
        *,
        how: Literal["inner"] = "inner",
        **options: Any,
    ) -> DataStream[tuple[T, V]]: ...
    @overload
    def temporal_join(
        self,
        versions: KeyedStream[K, V],
        function: None = None,
        *,
        how: TemporalJoinHow,
        **options: Any,
    ) -> DataStream[tuple[T, V | None]]: ...
    @overload
    def temporal_join(
        self,
        versions: KeyedStream[K, V],
        function: type[fn.JoinFunction[Any, Any, U]]
        | fn.JoinFunction[Any, Any, U]
        | Callable[[Any, Any], U | None],
        *args: Any,
        how: TemporalJoinHow = "inner",
        **options: Any,
    ) -> DataStream[U]: ...
    def temporal_join(
        self,
        versions: DataStream[Any],
        function: Any = None,
        *args: Any,
        how: TemporalJoinHow = "inner",
        **options: Any,
    ) -> DataStream[Any]:
        """Join each record with the version of its key that was valid at its time.

        See `operators.temporal_join`.

        Args:
            versions: A keyed stream of the same environment; each record is a new version of its
                key, valid from its time on.
            function: A `JoinFunction` or a callable of record and version; without one, pairs are
                emitted.
            args: Config, if ``function`` is a class.
            how: ``left`` gives records for whose time there is no version, too.
            options: See `DataStream`.

        Raises:
            GraphError: if ``versions`` is not keyed or of another environment.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment()
            >>> sales = env.from_collection([("tea", 5), ("tea", 25)])
            >>> sold = sales.assign_timestamps(lambda s: s[1]).key_by(lambda s: s[0])
            >>> prices = env.from_collection([("tea", 0, 1.5), ("tea", 20, 1.75)])
            >>> priced = prices.assign_timestamps(lambda p: p[1]).key_by(lambda p: p[0])
            >>> sold.temporal_join(priced, lambda sale, price: (sale[1], price[2])).collect()
            [(5, 1.5), (25, 1.75)]
        """
        spec, common = join_function("temporal_join", function, args, options)
        from sage.kernel.operators.temporal_join import TemporalJoinOperator

        operator = TemporalJoinOperator(spec, how)
        return self.env.add_operator(operator, join_edges("temporal_join", self, versions), common)

    def deduplicate(self, within_s: float | None = None, **options: Any) -> DataStream[T]:
        """Pass the first record of each key and filter what repeats it.

        See `operators.deduplicate`.

        Args:
            within_s: Records of a key less than this apart in event time are duplicates, in
                seconds. None: all but the first ever are; that needs no timestamps, and keeps every
                key.
            options: See `DataStream`.

        Raises:
            GraphError: if ``within_s`` is no finite number above 0.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> words = LocalEnvironment().from_collection(["a", "b", "a"])
            >>> words.key_by(lambda word: word).deduplicate().collect()
            ['a', 'b']
        """
        from sage.kernel.operators.deduplicate import (
            DeduplicateOperator,
            DeduplicateWithinOperator,
        )

        operator = (
            DeduplicateOperator() if within_s is None else DeduplicateWithinOperator(within_s)
        )
        return self._then(operator, only_options("deduplicate", options, "within_s"))


def join_function(
    verb: str, function: Any, args: tuple[Any, ...], options: Mapping[str, Any]
) -> tuple[FunctionSpec | None, dict[str, Any]]:
    """Return a join's function, if it was given one, and the options of its verb.

    Raises:
        FunctionError: if it is no join function.
        GraphError: if there is an option that the verb does not have.
    """
    if function is None:
        return None, only_options(verb, options, *_JOIN_OPTIONS)
    common, kwargs = split_options(options)
    return FunctionSpec(replace(shapes.JOIN, verb=verb), function, args, kwargs), common


def join_edges(verb: str, left: Stream[Any], right: Stream[Any]) -> tuple[Edge, Edge]:
    """Return the two inputs of a join.

    Raises:
        GraphError: if the right one is not keyed or of another environment.
    """
    from sage.kernel.api.keyed_stream import KeyedStream

    if not isinstance(right, KeyedStream):
        got = type(right).__name__
        raise GraphError(
            f"{verb} wants two keyed streams, got a {got}", hint="other.key_by(...) first"
        )
    if right.env is not left.env:
        raise GraphError(f"{verb} of streams of two environments", hint="use one environment")
    return left.edge(0), right.edge(1)
