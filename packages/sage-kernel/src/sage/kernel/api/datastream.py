"""``DataStream``: what users chain verbs on. Building a stream runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from sage.common.core import functions as fn
from sage.kernel.config import RetryPolicy, error_policy
from sage.kernel.errors import GraphError
from sage.kernel.graph.transformation import Edge, Partitioning
from sage.kernel.operators import function_spec as shapes
from sage.kernel.operators.filter import FilterOperator
from sage.kernel.operators.flat_map import FlatMapOperator
from sage.kernel.operators.function_spec import FunctionShape, FunctionSpec
from sage.kernel.operators.key_by import KeyByOperator
from sage.kernel.operators.map import MapOperator
from sage.kernel.operators.map_batches import MAP_BATCHES, MapBatchesOperator
from sage.kernel.operators.operator import Operator
from sage.kernel.operators.sink import SinkOperator
from sage.kernel.operators.union import UnionOperator

if TYPE_CHECKING:
    from sage.kernel.api.environment import Environment
    from sage.kernel.api.keyed_stream import KeyedStream

__all__ = ["DataStream", "SinkHandle"]

T = TypeVar("T")
U = TypeVar("U")
OnError = str | RetryPolicy


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
        common, kwargs = _split_options(options)
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

    def union(self, *others: DataStream[T], **options: Any) -> DataStream[T]:
        """Merge this stream with others of the same environment."""
        streams = (self, *others)
        for other in others:
            if other.env is not self.env:
                raise GraphError("union of streams of two environments", hint="use one environment")
        edges = tuple(s._edge(i) for i, s in enumerate(streams))
        return self.env._add(UnionOperator(), edges, _split_options(options)[0])

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
        return self.env._collect(self)

    def _apply(
        self,
        shape: FunctionShape,
        operator: Callable[[FunctionSpec], Operator],
        function: Any,
        args: tuple[Any, ...],
        options: Mapping[str, Any],
    ) -> DataStream[Any]:
        common, kwargs = _split_options(options)
        return self._then(operator(FunctionSpec(shape, function, args, kwargs)), common)

    def _then(self, operator: Operator, options: Mapping[str, Any]) -> DataStream[Any]:
        return self.env._add(operator, (self._edge(0),), options)

    def _edge(self, input_index: int) -> Edge:
        return Edge(self.uid, self._partitioning, input_index, self._tag)


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


_COMMON = ("name", "uid", "parallelism", "resources", "on_error", "executor")


def _split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a verb's options from the keyword arguments of the user's class."""
    common = {name: value for name, value in options.items() if name in _COMMON}
    if "on_error" in common and common["on_error"] is not None:
        common["on_error"] = error_policy(common["on_error"])
    return common, {name: value for name, value in options.items() if name not in _COMMON}
