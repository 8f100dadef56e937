"""The verbs that end a branch: ``sink``, ``for_each``, ``print``, ``collect``, ``fill_future``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sage.common.core import functions as fn
from sage.kernel.api.stream import Stream
from sage.kernel.operators import function_spec as shapes
from sage.kernel.operators.sink import SinkOperator

if TYPE_CHECKING:
    from sage.kernel.api.datastream import DataStream

__all__ = ["EndingVerbs", "SinkHandle"]

T = TypeVar("T")


class EndingVerbs(Stream[T]):
    """What nothing follows."""

    def sink(
        self,
        function: Callable[[T], object] | fn.SinkFunction[T] | type,
        *args: Any,
        **options: Any,
    ) -> SinkHandle:
        """Give every record to a sink; nothing follows.

        Args:
            function: A `SinkFunction` (class or instance) or a callable.
            args: Config, if ``function`` is a class.
            options: See `DataStream`.

        Raises:
            FunctionError: if the function is no sink.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env, got = LocalEnvironment(), []
            >>> _ = env.from_collection([1, 2]).sink(got.append)
            >>> env.execute().status, got
            ('finished', [1, 2])
        """
        return SinkHandle(self._apply(shapes.SINK, SinkOperator, function, args, options))

    to_sink = sink

    def for_each(self, function: Callable[[T], object], **options: Any) -> SinkHandle:
        """Call a function with every record; nothing follows.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env, seen = LocalEnvironment(), set()
            >>> _ = env.from_collection(["a", "b", "a"]).for_each(seen.add)
            >>> _ = env.execute()
            >>> sorted(seen)
            ['a', 'b']
        """
        return self.sink(function, **{"name": "for_each", **options})

    def print(self, prefix: str = "", **options: Any) -> SinkHandle:
        """Print every record, with something before it.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment()
            >>> _ = env.from_collection([1, 2]).print("n = ")
            >>> _ = env.execute()
            n = 1
            n = 2
        """
        return self.sink(_Printer(prefix), **{"name": "print", **options})

    def collect(self) -> list[T]:
        """Run what this stream needs and return its records as a list.

        Only the part of the pipeline that feeds this stream runs; the source must end.

        Raises:
            JobFailedError: if an operator raised.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> LocalEnvironment().from_collection(["a", "b"]).map(str.upper).collect()
            ['A', 'B']
        """
        return self.env.collect(self)

    def fill_future(self, future: DataStream[T]) -> None:
        """Make this stream what ``env.from_future`` promised.

        Raises:
            GraphError: if it was not promised or is filled already, or there is no loop.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment()
            >>> again = env.from_future("again")
            >>> less = env.from_collection([3]).union(again).map(lambda n: n - 1)
            >>> less.filter(lambda n: n > 0).fill_future(again)
            >>> less.collect()
            [2, 1, 0]
        """
        self.env.fill_future(future, self)


class SinkHandle:
    """What a sink verb returns: the end of a branch, with the environment to run it."""

    def __init__(self, stream: Stream[Any]) -> None:
        self.env = stream.env
        self.uid = stream.uid


class _Printer(fn.SinkFunction[Any]):
    prints = True  # a runtime in other processes has the records printed in this one

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def write(self, record: Any) -> None:
        print(f"{self._prefix}{record}")
