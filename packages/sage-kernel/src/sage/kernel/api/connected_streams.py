"""``ConnectedStreams``: several streams that one operator reads, each by its own method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sage.kernel.api.options import only_options, split_options
from sage.kernel.api.stream import Stream
from sage.kernel.errors import GraphError
from sage.kernel.operators import function_spec as shapes
from sage.kernel.operators.comap import COMAP, CoMapOperator, ConnectedMapOperator
from sage.kernel.operators.function_spec import FunctionSpec

if TYPE_CHECKING:
    from sage.kernel.api.datastream import DataStream

__all__ = ["ConnectedStreams"]

_MOST = 5


class ConnectedStreams:
    """What ``connect`` returns; its verbs make one stream of several.

    Args:
        streams: In the order of the inputs, at most five.
    """

    def __init__(self, streams: tuple[Stream[Any], ...]) -> None:
        if len(streams) > _MOST:
            raise GraphError(f"connect takes at most {_MOST} streams, got {len(streams)}")
        env = streams[0].env
        if any(stream.env is not env for stream in streams):
            raise GraphError("connect of streams of two environments", hint="use one environment")
        self.env = env
        self._streams = streams

    def comap(self, function: Any, *args: Any, **options: Any) -> DataStream[Any]:
        """Call ``map0`` of a `CoMapFunction` for the first stream, ``map1`` for the second, ...

        Raises:
            FunctionError: if a method is missing, now and not at the first record.

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
        common, kwargs = split_options(options)
        spec = FunctionSpec(COMAP, function, args, kwargs)
        operator = CoMapOperator(spec, len(self._streams))
        return self.env.add_operator(operator, self._edges(), common)

    def map(self, *functions: Callable[[Any], Any], **options: Any) -> DataStream[Any]:
        """Call the first function for the first stream, the second for the second, ...

        Raises:
            GraphError: if there are not as many functions as streams.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment()
            >>> both = env.from_collection([1]).connect(env.from_collection(["a"]))
            >>> sorted(both.map(str, str.upper).collect())
            ['1', 'A']
        """
        if len(functions) != len(self._streams):
            raise GraphError(
                f"map of {len(self._streams)} connected streams wants as many functions, "
                f"got {len(functions)}"
            )
        specs = tuple(FunctionSpec(shapes.MAP, function) for function in functions)
        common = only_options("map", options)
        return self.env.add_operator(ConnectedMapOperator(specs), self._edges(), common)

    def process(self, function: Any, *args: Any, **options: Any) -> DataStream[Any]:
        """The same as ``comap``."""
        return self.comap(function, *args, **options)

    def _edges(self) -> tuple[Any, ...]:
        return tuple(stream.edge(i) for i, stream in enumerate(self._streams))
