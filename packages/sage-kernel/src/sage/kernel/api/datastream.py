"""``DataStream``: what users chain verbs on. Building a stream runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from sage.common.core import functions as fn
from sage.kernel.api.options import split_options
from sage.kernel.config import ErrorPolicy, RetryPolicy
from sage.kernel.errors import GraphError
from sage.kernel.graph.transformation import Edge, Partitioning
from sage.kernel.operators import function_spec as shapes
from sage.kernel.operators.filter import FilterOperator
from sage.kernel.operators.flat_map import FlatMapOperator
from sage.kernel.operators.function_spec import FunctionShape, FunctionSpec
from sage.kernel.operators.gather import Gathered, GatherOperator
from sage.kernel.operators.iterate import LoopTailOperator
from sage.kernel.operators.key_by import KeyByOperator, SingleKeyOperator
from sage.kernel.operators.map import MapOperator
from sage.kernel.operators.map_async import MapAsyncOperator
from sage.kernel.operators.map_batches import MAP_BATCHES, MapBatchesOperator
from sage.kernel.operators.operator import Operator
from sage.kernel.operators.side_output import PROCESS, ProcessOperator, RouteOperator
from sage.kernel.operators.sink import SinkOperator
from sage.kernel.operators.union import UnionOperator

if TYPE_CHECKING:
    from sage.kernel.api.connected_streams import ConnectedStreams
    from sage.kernel.api.environment import Environment
    from sage.kernel.api.keyed_stream import KeyedStream

__all__ = ["DataStream", "SinkHandle"]

T = TypeVar("T")
U = TypeVar("U")


class DataStream(Generic[T]):
    """A stream of records of type ``T``, not yet running.

    Every verb takes a class with its config, an instance of a function class, or a callable, and
    the options ``name``, ``uid``, ``parallelism``, ``resources``, ``on_error`` and ``executor``.
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

    @overload
    def map(self, function: Callable[[T], U | None], **options: Any) -> DataStream[U]: ...
    @overload
    def map(self, function: fn.MapFunction[T, U], **options: Any) -> DataStream[U]: ...
    @overload
    def map(self, function: type, /, *args: Any, **options: Any) -> DataStream[Any]: ...
    def map(self, function: Any, *args: Any, **options: Any) -> DataStream[Any]:
        """Replace each record by what the function returns; None means no output.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> LocalEnvironment().from_collection([1, 2]).map(lambda x: x + 1).collect()
            [2, 3]

        Raises:
            FunctionError: if the function is no map function.
        """
        return self._apply(shapes.MAP, MapOperator, function, args, options)

    def filter(self, function: Any, *args: Any, **options: Any) -> DataStream[T]:
        """Keep the records for which the function returns something true.

        Raises:
            FunctionError: if the function is no filter function.
        """
        return self._apply(shapes.FILTER, FilterOperator, function, args, options)

    @overload
    def flat_map(
        self, function: Callable[[T], Iterable[U] | None], **options: Any
    ) -> DataStream[U]: ...
    @overload
    def flat_map(self, function: fn.FlatMapFunction[T, U], **options: Any) -> DataStream[U]: ...
    @overload
    def flat_map(self, function: type, /, *args: Any, **options: Any) -> DataStream[Any]: ...
    def flat_map(self, function: Any, *args: Any, **options: Any) -> DataStream[Any]:
        """Replace each record by the items that the function returns or yields.

        Raises:
            FunctionError: if the function is no flat-map function.
        """
        return self._apply(shapes.FLAT_MAP, FlatMapOperator, function, args, options)

    flatmap = flat_map

    def map_batches(
        self,
        function: Any,
        *args: Any,
        max_size: int = 32,
        max_wait_ms: float | None = None,
        **options: Any,
    ) -> DataStream[Any]:
        """Apply a function to lists of records; it returns a list of the same length.

        Args:
            function: From list to list; a None in it means no output for that record.
            args: Config, if ``function`` is a class.
            max_size: Most records in a list.
            max_wait_ms: Longest wait for a list to fill; None waits for it or for the end.
            options: See the class.
        """
        if max_size < 1:
            raise GraphError(f"max_size must be at least 1, got {max_size}")
        common, kwargs = split_options(options)
        spec = FunctionSpec(MAP_BATCHES, function, args, kwargs)
        return self._then(MapBatchesOperator(spec, max_size, max_wait_ms), common)

    def key_by(self, selector: Any, *args: Any, **options: Any) -> KeyedStream[Any, T]:
        """Say which key each record belongs to; equal keys meet in the same subtask.

        Raises:
            FunctionError: if the selector is no key selector.
        """
        from sage.kernel.api.keyed_stream import KeyedStream

        stream = self._apply(shapes.KEY_BY, KeyByOperator, selector, args, options)
        return KeyedStream(self.env, stream.uid, partitioning=Partitioning.HASH)

    keyby = key_by

    def map_async(
        self,
        function: Any,
        *args: Any,
        concurrency: int = 64,
        ordered: bool = True,
        timeout_s: float | None = None,
        retries: int | RetryPolicy = 0,
        rate_per_s: float | None = None,
        **options: Any,
    ) -> DataStream[Any]:
        """Await an async function for many records at a time; see `operators.map_async`.

        Args:
            function: An async function, or an `AsyncMapFunction`.
            args: Config, if ``function`` is a class.
            concurrency: Most calls in flight, in each subtask.
            ordered: Whether results keep the order of their records.
            timeout_s: Longest time for one call; a call that exceeds it has failed.
            retries: Further calls after one that failed, or a whole policy.
            rate_per_s: Most calls started a second, in each subtask.
            options: See the class.

        Raises:
            FunctionError: if the function is not async.
        """
        common, kwargs = split_options(options)
        if retries:
            common["on_error"] = _with_retries(common.get("on_error"), retries)
        spec = FunctionSpec(shapes.MAP_ASYNC, function, args, kwargs)
        operator = MapAsyncOperator(spec, concurrency, ordered, timeout_s, rate_per_s)
        return self._then(operator, common)

    def process(self, function: Any, *args: Any, **options: Any) -> DataStream[Any]:
        """Call ``process(record, ctx)``; ``ctx.output(tag, record)`` writes to a side output.

        Raises:
            FunctionError: if the function is no process function.
        """
        common, kwargs = split_options(options)
        spec = FunctionSpec(PROCESS, function, args, kwargs)
        return self._then(ProcessOperator(spec, self._partitioning is Partitioning.HASH), common)

    def side_output(self, tag: str) -> DataStream[Any]:
        """Return the stream of what ``ctx.output(tag, ...)`` sends, of the operator before."""
        return DataStream(self.env, self.uid, tag=tag)

    def route(
        self, routes: Mapping[str, Callable[[T], object]], **options: Any
    ) -> dict[str, DataStream[T]]:
        """Send each record to the first route whose predicate accepts it.

        A record that no predicate accepts is counted as filtered.

        Args:
            routes: Predicates by name, tried in this order.
            options: See the class.

        Returns:
            A stream for each name.
        """
        if not routes:
            raise GraphError("route wants at least one predicate")
        common, _ = split_options(options)
        specs = tuple((tag, FunctionSpec(shapes.FILTER, p)) for tag, p in routes.items())
        routed = self._then(RouteOperator(specs), common)
        return {tag: routed.side_output(tag) for tag in routes}

    split = route

    def connect(self, *others: DataStream[Any]) -> ConnectedStreams:
        """Put streams beside this one, for an operator that reads each by its own method."""
        from sage.kernel.api.connected_streams import ConnectedStreams

        return ConnectedStreams((self, *others))

    def reduce(self, function: Any, *args: Any, **options: Any) -> DataStream[T]:
        """Emit ``f(value so far, record)`` for each record, as on a single key."""
        return self._as_one_key().reduce(function, *args, **{"parallelism": 1, **options})

    def aggregate(self, function: Any, *args: Any, **options: Any) -> DataStream[Any]:
        """Emit the accumulator's result for each record, as on a single key."""
        return self._as_one_key().aggregate(function, *args, **{"parallelism": 1, **options})

    def gather(
        self,
        by: Callable[[T], Any],
        expected: int,
        *,
        timeout_s: float | None = None,
        **options: Any,
    ) -> DataStream[Gathered]:
        """Collect the records of a key until ``expected`` have come; see `operators.gather`.

        Args:
            by: The key of a record.
            expected: How many make a group complete.
            timeout_s: After this long a group is emitted as it is, marked partial.
            options: See the class.
        """
        operator = GatherOperator(expected, timeout_s)
        return self.key_by(by)._then(operator, split_options(options)[0])

    def iterate(
        self,
        body: Callable[[DataStream[T]], DataStream[T]],
        until: Callable[[T], object] | None = None,
        *,
        max_iterations: int | None = None,
        **options: Any,
    ) -> DataStream[T]:
        """Send records round ``body`` until a predicate lets them out; see `operators.iterate`.

        Args:
            body: Builds the loop's body on the stream it is given.
            until: Lets a record out, tried each time that it has been through the body.
            max_iterations: Rounds after which a record is let out whatever ``until`` says.
            options: See the class.

        Raises:
            GraphError: if there is neither ``until`` nor ``max_iterations``.
        """
        if until is None and max_iterations is None:
            raise GraphError("iterate wants until, max_iterations or both, or it would never end")
        if max_iterations is not None and max_iterations < 1:
            raise GraphError(f"max_iterations must be at least 1, got {max_iterations}")
        predicate = FunctionSpec(shapes.FILTER, until) if until is not None else None
        return self.env.add_loop(
            self.edge(0),
            body,
            LoopTailOperator(predicate, max_iterations),
            split_options(options)[0],
        )

    def partition_by(self, selector: Any, *args: Any, **options: Any) -> DataStream[T]:
        """Send records with equal keys to the same subtask of the next operator."""
        keyed = self._apply(shapes.KEY_BY, KeyByOperator, selector, args, options)
        return DataStream(self.env, keyed.uid, partitioning=Partitioning.HASH)

    def fill_future(self, future: DataStream[T]) -> None:
        """Make this stream what ``env.from_future`` promised."""
        self.env.fill_future(future, self)

    def _as_one_key(self) -> KeyedStream[int, T]:
        from sage.kernel.api.keyed_stream import KeyedStream

        one = self._then(SingleKeyOperator(), {})
        return KeyedStream(self.env, one.uid, partitioning=Partitioning.HASH)

    def union(self, *others: DataStream[T], **options: Any) -> DataStream[T]:
        """Merge this stream with others of the same environment."""
        streams = (self, *others)
        for other in others:
            if other.env is not self.env:
                raise GraphError("union of streams of two environments", hint="use one environment")
        edges = tuple(s.edge(i) for i, s in enumerate(streams))
        return self.env.add_operator(UnionOperator(), edges, split_options(options)[0])

    def rebalance(self) -> DataStream[T]:
        """Spread the records over the next operator's subtasks in turn."""
        return DataStream(self.env, self.uid, partitioning=Partitioning.REBALANCE, tag=self._tag)

    def broadcast(self) -> DataStream[T]:
        """Send every record to all of the next operator's subtasks."""
        return DataStream(self.env, self.uid, partitioning=Partitioning.BROADCAST, tag=self._tag)

    def sink(self, function: Any, *args: Any, **options: Any) -> SinkHandle:
        """Give every record to a sink; nothing follows.

        Raises:
            FunctionError: if the function is no sink.
        """
        return SinkHandle(self._apply(shapes.SINK, SinkOperator, function, args, options))

    to_sink = sink

    def for_each(self, function: Callable[[T], object], **options: Any) -> SinkHandle:
        """Call a function with every record; nothing follows."""
        return self.sink(function, **{"name": "for_each", **options})

    def print(self, prefix: str = "", **options: Any) -> SinkHandle:
        """Print every record."""
        return self.sink(_Printer(prefix), **{"name": "print", **options})

    def collect(self) -> list[T]:
        """Run what this stream needs and return its records as a list.

        Only the part of the pipeline that feeds this stream runs; the source must end.

        Raises:
            JobFailedError: if an operator raised.
        """
        return self.env.collect(self)

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

    def edge(self, input_index: int) -> Edge:
        """Return the edge by which an operator reads this stream."""
        return Edge(self.uid, self._partitioning, input_index, self._tag)


def _with_retries(policy: ErrorPolicy | None, retries: int | RetryPolicy) -> ErrorPolicy:
    action = policy.action if policy is not None else "fail"
    if isinstance(retries, RetryPolicy):
        return ErrorPolicy(action if policy is not None else retries.then, retries)
    return ErrorPolicy(action, RetryPolicy(max_attempts=retries + 1))


class SinkHandle:
    """What a sink verb returns: the end of a branch, with the environment to run it."""

    def __init__(self, stream: DataStream[Any]) -> None:
        self.env = stream.env
        self.uid = stream.uid


class _Printer(fn.SinkFunction[Any]):
    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def write(self, record: Any) -> None:
        print(f"{self._prefix}{record}")
