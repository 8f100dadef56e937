"""The verbs that divide streams, put them together, spread them and send them round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sage.kernel.api.options import only_options
from sage.kernel.api.stream import Stream
from sage.kernel.errors import GraphError
from sage.kernel.graph.transformation import Partitioning
from sage.kernel.operators import function_spec as shapes
from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.iterate import LoopTailOperator
from sage.kernel.operators.key_by import KeyByOperator
from sage.kernel.operators.side_output import RouteOperator
from sage.kernel.operators.union import UnionOperator

if TYPE_CHECKING:
    from sage.kernel.api.connected_streams import ConnectedStreams
    from sage.kernel.api.datastream import DataStream
    from sage.kernel.operators.gather import Gathered

__all__ = ["BranchingVerbs"]

T = TypeVar("T")
U = TypeVar("U")


class BranchingVerbs(Stream[T]):
    """What has several inputs or outputs, or says how records are spread."""

    def side_output(self, tag: str) -> DataStream[Any]:
        """Return the stream of what ``ctx.output(tag, ...)`` sends, of the operator before.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> def parse(record, ctx):
            ...     if record.isdigit():
            ...         return [int(record)]
            ...     ctx.output("rejected", record)
            >>> parsed = LocalEnvironment().from_collection(["1", "x"]).process(parse)
            >>> parsed.collect(), parsed.side_output("rejected").collect()
            ([1], ['x'])
        """
        from sage.kernel.api.datastream import DataStream

        return DataStream(self.env, self.uid, tag=tag)

    def route(
        self, routes: Mapping[str, Callable[[T], object]], **options: Any
    ) -> dict[str, DataStream[T]]:
        """Send each record to the first route whose predicate accepts it.

        A record that no predicate accepts is counted as filtered.

        Args:
            routes: Predicates by name, tried in this order.
            options: See `DataStream`.

        Returns:
            A stream for each name.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> numbers = LocalEnvironment().from_collection([1, 20, 3])
            >>> ways = numbers.route({"small": lambda n: n < 10, "rest": lambda n: True})
            >>> ways["small"].collect(), ways["rest"].collect()
            ([1, 3], [20])
        """
        if not routes:
            raise GraphError("route wants at least one predicate")
        common = only_options("route", options)
        specs = tuple((tag, FunctionSpec(shapes.FILTER, p)) for tag, p in routes.items())
        routed = self._then(RouteOperator(specs), common)
        return {tag: routed.side_output(tag) for tag in routes}

    split = route

    def connect(self, *others: DataStream[Any]) -> ConnectedStreams:
        """Put streams beside this one, for an operator that reads each by its own method.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment()
            >>> both = env.from_collection([1]).connect(env.from_collection(["a"]))
            >>> sorted(both.map(str, str.upper).collect())
            ['1', 'A']
        """
        from sage.kernel.api.connected_streams import ConnectedStreams

        return ConnectedStreams((self, *others))

    def union(self, *others: DataStream[U], **options: Any) -> DataStream[T | U]:
        """Merge this stream with others of the same environment; each keeps its own order.

        Keys do not come along: the result of a union of keyed streams has none.

        Raises:
            GraphError: if a stream is of another environment.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment()
            >>> sorted(env.from_collection([1, 3]).union(env.from_collection([2])).collect())
            [1, 2, 3]
        """
        streams: tuple[Stream[Any], ...] = (self, *others)
        for other in others:
            if other.env is not self.env:
                raise GraphError("union of streams of two environments", hint="use one environment")
        edges = tuple(s.edge(i) for i, s in enumerate(streams))
        return self.env.add_operator(UnionOperator(), edges, only_options("union", options))

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
            options: See `DataStream`.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> numbers = LocalEnvironment().from_collection([7])
            >>> results = numbers.map(lambda n: (n, "odd")).union(
            ...     numbers.map(lambda n: (n, "prime"))
            ... )
            >>> [group] = results.gather(by=lambda pair: pair[0], expected=2).collect()
            >>> group.key, sorted(word for _, word in group.results), group.partial
            (7, ['odd', 'prime'], False)
        """
        from sage.kernel.operators.gather import GatherOperator

        operator = GatherOperator(expected, timeout_s)
        keyed = self._apply(shapes.KEY_BY, KeyByOperator, by, (), {})
        return keyed._spread(Partitioning.HASH)._then(
            operator, only_options("gather", options, "timeout_s")
        )

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
            options: See `DataStream`.

        Raises:
            GraphError: if there is neither ``until`` nor ``max_iterations``.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> words = LocalEnvironment().from_collection(["a", "abc"])
            >>> sorted(
            ...     words.iterate(lambda s: s.map(lambda w: w + "!"), max_iterations=2).collect()
            ... )
            ['a!!', 'abc!!']
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
            only_options("iterate", options, "until", "max_iterations"),
        )

    def partition_by(self, selector: Any, *args: Any, **options: Any) -> DataStream[T]:
        """Send records with equal keys to the same subtask of the next operator.

        Unlike ``key_by`` it leaves no key behind: what follows are the verbs of any stream.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> numbers = LocalEnvironment().from_collection([1, 2, 3])
            >>> spread = numbers.partition_by(lambda n: n % 2).map(lambda n: n * 10, parallelism=2)
            >>> sorted(spread.collect())
            [10, 20, 30]
        """
        keyed = self._apply(shapes.KEY_BY, KeyByOperator, selector, args, options)
        return keyed._spread(Partitioning.HASH)

    def rebalance(self) -> DataStream[T]:
        """Spread the records over the next operator's subtasks in turn.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> numbers = LocalEnvironment().from_collection([1, 2, 3])
            >>> sorted(numbers.rebalance().map(lambda n: n + 1, parallelism=2).collect())
            [2, 3, 4]
        """
        return self._spread(Partitioning.REBALANCE)

    def broadcast(self) -> DataStream[T]:
        """Send every record to all of the next operator's subtasks.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> rules = LocalEnvironment().from_collection(["rule"])
            >>> rules.broadcast().map(str.upper, parallelism=3).collect()
            ['RULE', 'RULE', 'RULE']
        """
        return self._spread(Partitioning.BROADCAST)
