"""``DataStream``: what users chain verbs on. Building a stream runs nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, TypeVar, overload

from sage.common.core import functions as fn
from sage.kernel.api.branching import BranchingVerbs
from sage.kernel.api.endings import EndingVerbs, SinkHandle
from sage.kernel.api.missing_verbs import unknown_verb
from sage.kernel.api.options import key_strategy, split_options
from sage.kernel.config import ErrorPolicy, RetryPolicy
from sage.kernel.errors import FunctionError, GraphError
from sage.kernel.graph.transformation import Partitioning
from sage.kernel.operators import function_spec as shapes
from sage.kernel.operators.filter import FilterOperator
from sage.kernel.operators.flat_map import FlatMapOperator
from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.key_by import KeyByOperator, SingleKeyOperator
from sage.kernel.operators.map import MapOperator
from sage.kernel.operators.map_async import MapAsyncOperator
from sage.kernel.operators.map_batches import MAP_BATCHES, MapBatchesOperator
from sage.kernel.operators.side_output import PROCESS, ProcessOperator, has_timers

if TYPE_CHECKING:
    from sage.kernel.api.keyed_stream import KeyedStream
    from sage.kernel.api.windowed_stream import WindowedStream, WindowTime
    from sage.kernel.operators.windowing import Trigger, WindowAssigner, WindowMode
    from sage.kernel.time.watermark import WatermarkGenerator

__all__ = ["DataStream", "SinkHandle"]

A = TypeVar("A")
K = TypeVar("K")
R = TypeVar("R")
T = TypeVar("T")
U = TypeVar("U")


class DataStream(BranchingVerbs[T], EndingVerbs[T]):
    """A stream of records of type ``T``, not yet running.

    Every verb takes a class with its config, an instance of a function class, or a callable, and
    the options ``name``, ``uid``, ``parallelism``, ``resources``, ``on_error`` and ``executor``.

    Types flow from verb to verb. Where a function returns a union, mypy finds no better type than
    ``object`` for what follows; an annotation, ``stream: DataStream[A | B] = ...``, says it.
    """

    @overload
    def map(
        self,
        function: Callable[[T], Awaitable[U | None]] | fn.AsyncMapFunction[T, U],
        *,
        executor: Literal["async"],
        journal: bool = False,
        **options: Any,
    ) -> DataStream[U]: ...
    @overload
    def map(
        self,
        function: type[fn.MapFunction[Any, U]],
        *args: Any,
        journal: bool = False,
        **options: Any,
    ) -> DataStream[U]: ...
    @overload
    def map(
        self,
        function: fn.MapFunction[T, U] | Callable[[T], U | None],
        *,
        journal: bool = False,
        **options: Any,
    ) -> DataStream[U]: ...
    @overload
    def map(
        self, function: type, *args: Any, journal: bool = False, **options: Any
    ) -> DataStream[Any]: ...
    def map(
        self, function: Any, *args: Any, journal: bool = False, **options: Any
    ) -> DataStream[Any]:
        """Replace each record by what the function returns; None means no output.

        With ``executor="async"`` it takes an async function, and is ``map_async`` with its
        defaults. A `CompositeFunction` is put on the stream as the operators that it expands to.

        Args:
            function: A `MapFunction` (class or instance) or a callable.
            args: Config, if ``function`` is a class.
            journal: Whether results are written down, each before it goes on, so that a recovery
                does not call again; for functions that call a model. Records and results must then
                be of types that can be stored, and the environment must take checkpoints.
            options: See the class.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> LocalEnvironment().from_collection([1, 2]).map(lambda x: x + 1).collect()
            [2, 3]

        Raises:
            FunctionError: if the function is no map function.
            GraphError: if results are to be journalled and there are no checkpoints, or the
                function is a composite one.
        """
        common, kwargs = split_options(options)
        if common.get("executor") == "async":
            spec = FunctionSpec(shapes.MAP_ON_EVENT_LOOP, function, args, kwargs)
            return self._then(MapAsyncOperator(spec, journal=journal), common)
        spec = FunctionSpec(shapes.MAP, function, args, kwargs)
        if (composite := spec.composite()) is None:
            return self._then(MapOperator(spec, journal=journal), common)
        if journal:
            raise GraphError(
                f"{spec.label} is put on a stream as several operators, whose results cannot be "
                f"journalled",
                hint="leave journal out",
            )
        named = {"name": self.env.fresh_name(spec.label), **common}
        expanded: DataStream[Any] = composite.expand(self, **named)
        return expanded

    @overload
    def filter(self, function: Callable[[T], TypeGuard[U]], **options: Any) -> DataStream[U]: ...
    @overload
    def filter(
        self,
        function: Callable[[T], object] | fn.FilterFunction[T] | type,
        *args: Any,
        **options: Any,
    ) -> DataStream[T]: ...
    def filter(
        self,
        function: Any,
        *args: Any,
        **options: Any,
    ) -> DataStream[Any]:
        """Keep the records for which the function returns something true.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> LocalEnvironment().from_collection(["a", "", "b"]).filter(str.strip).collect()
            ['a', 'b']

        Raises:
            FunctionError: if the function is no filter function.
        """
        return self._apply(shapes.FILTER, FilterOperator, function, args, options)

    @overload
    def flat_map(
        self,
        function: type[fn.FlatMapFunction[Any, U]],
        *args: Any,
        journal: bool = False,
        **options: Any,
    ) -> DataStream[U]: ...
    @overload
    def flat_map(
        self,
        function: fn.FlatMapFunction[T, U] | Callable[[T], Iterable[U] | None],
        *,
        journal: bool = False,
        **options: Any,
    ) -> DataStream[U]: ...
    @overload
    def flat_map(
        self, function: type, *args: Any, journal: bool = False, **options: Any
    ) -> DataStream[Any]: ...
    def flat_map(
        self, function: Any, *args: Any, journal: bool = False, **options: Any
    ) -> DataStream[Any]:
        """Replace each record by the items that the function returns or yields.

        Args:
            function: A `FlatMapFunction` (class or instance) or a callable.
            args: Config, if ``function`` is a class.
            journal: As for `map`; all items of a record are then there before the first goes on.
            options: See the class.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> LocalEnvironment().from_collection(["a b", "c"]).flat_map(str.split).collect()
            ['a', 'b', 'c']

        Raises:
            FunctionError: if the function is no flat-map function.
            GraphError: if results are to be journalled and there are no checkpoints.
        """
        operator = partial(FlatMapOperator, journal=journal)
        return self._apply(shapes.FLAT_MAP, operator, function, args, options)

    flatmap = flat_map

    @overload
    def map_async(
        self,
        function: type[fn.AsyncMapFunction[Any, U]],
        *args: Any,
        concurrency: int = 64,
        ordered: bool = True,
        timeout_s: float | None = None,
        retries: int | RetryPolicy = 0,
        rate_per_s: float | None = None,
        journal: bool = False,
        **options: Any,
    ) -> DataStream[U]: ...
    @overload
    def map_async(
        self,
        function: fn.AsyncMapFunction[T, U] | Callable[[T], Awaitable[U | None]],
        *,
        concurrency: int = 64,
        ordered: bool = True,
        timeout_s: float | None = None,
        retries: int | RetryPolicy = 0,
        rate_per_s: float | None = None,
        journal: bool = False,
        **options: Any,
    ) -> DataStream[U]: ...
    def map_async(
        self,
        function: Any,
        *args: Any,
        concurrency: int = 64,
        ordered: bool = True,
        timeout_s: float | None = None,
        retries: int | RetryPolicy = 0,
        rate_per_s: float | None = None,
        journal: bool = False,
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
            journal: Whether results are written down, each before it goes on, so that a recovery
                makes no call again that had ended. Records and results must then be of types that
                can be stored, and the environment must take checkpoints.
            options: See the class.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> async def ask(question):
            ...     return f"{question} 42"
            >>> questions = LocalEnvironment().from_collection(["6 * 7 =", "40 + 2 ="])
            >>> questions.map_async(ask, concurrency=2).collect()
            ['6 * 7 = 42', '40 + 2 = 42']

        Raises:
            FunctionError: if the function is not async.
            GraphError: if ``executor`` is another than ``async``, or results are to be journalled
                and there are no checkpoints.
        """
        common, kwargs = split_options(options)
        if retries:
            common["on_error"] = _with_retries(common.get("on_error"), retries)
        spec = FunctionSpec(shapes.MAP_ASYNC, function, args, kwargs)
        operator = MapAsyncOperator(spec, concurrency, ordered, timeout_s, rate_per_s, journal)
        return self._then(operator, common)

    @overload
    def map_batches(
        self,
        function: fn.MapFunction[list[T], Iterable[U | None]]
        | Callable[[list[T]], Iterable[U | None]],
        *,
        max_size: int = 32,
        max_wait_ms: float | None = None,
        **options: Any,
    ) -> DataStream[U]: ...
    @overload
    def map_batches(
        self,
        function: type,
        *args: Any,
        max_size: int = 32,
        max_wait_ms: float | None = None,
        **options: Any,
    ) -> DataStream[Any]: ...
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

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> def embed(texts):
            ...     return [len(text) for text in texts]
            >>> words = LocalEnvironment().from_collection(["a", "bc", "def"])
            >>> words.map_batches(embed, max_size=2).collect()
            [1, 2, 3]
        """
        if max_size < 1:
            raise GraphError(f"max_size must be at least 1, got {max_size}")
        common, kwargs = split_options(options)
        spec = FunctionSpec(MAP_BATCHES, function, args, kwargs)
        return self._then(MapBatchesOperator(spec, max_size, max_wait_ms), common)

    @overload
    def process(
        self, function: type[fn.ProcessFunction[Any, U]], *args: Any, **options: Any
    ) -> DataStream[U]: ...
    @overload
    def process(
        self,
        function: fn.ProcessFunction[T, U] | Callable[[T, Any], Iterable[U] | None],
        **options: Any,
    ) -> DataStream[U]: ...
    def process(self, function: Any, *args: Any, **options: Any) -> DataStream[Any]:
        """Call ``process(record, ctx)``; ``ctx.output(tag, record)`` writes to a side output.

        On a keyed stream ``ctx.state(descriptor)`` remembers things for each key, and a function
        with ``on_timer`` can wake up later: see `sage.kernel.operators.keyed_process`.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> def twice(record, ctx):
            ...     yield record
            ...     yield record
            >>> LocalEnvironment().from_collection([1, 2]).process(twice).collect()
            [1, 1, 2, 2]

        Raises:
            FunctionError: if the function is no process function, or has timers but no keys.
        """
        common, kwargs = split_options(options)
        spec = FunctionSpec(PROCESS, function, args, kwargs)
        keyed = self._partitioning is Partitioning.HASH
        if not has_timers(spec):
            return self._then(ProcessOperator(spec, keyed), common)
        if not keyed:
            raise FunctionError(
                f"{spec.label} defines on_timer, and timers belong to keys",
                hint=f".key_by(selector).process({spec.label})",
            )
        from sage.kernel.operators.keyed_process import KeyedProcessOperator

        return self._then(KeyedProcessOperator(spec), common)

    @overload
    def key_by(
        self,
        selector: type[fn.KeyByFunction[Any, K]],
        *args: Any,
        strategy: Literal["hash"] = "hash",
        **options: Any,
    ) -> KeyedStream[K, T]: ...
    @overload
    def key_by(
        self,
        selector: fn.KeyByFunction[T, K] | Callable[[T], K],
        *,
        strategy: Literal["hash"] = "hash",
        **options: Any,
    ) -> KeyedStream[K, T]: ...
    def key_by(
        self, selector: Any, *args: Any, strategy: str = "hash", **options: Any
    ) -> KeyedStream[Any, T]:
        """Say which key each record belongs to; equal keys meet in the same subtask.

        Args:
            selector: A `KeyByFunction` (class or instance) or a callable.
            args: Config, if ``selector`` is a class.
            strategy: How keys find their subtask; ``hash`` is the only way that brings equal keys
                together. Other ways to spread records are verbs: ``rebalance``, ``broadcast``.
            options: See the class.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> words = LocalEnvironment().from_collection(["tea", "milk", "ten"])
            >>> words.key_by(lambda word: word[0]).count().collect()
            [('t', 1), ('m', 1), ('t', 2)]

        Raises:
            FunctionError: if the selector is no key selector.
            GraphError: if the strategy is another than ``hash``.
        """
        from sage.kernel.api.keyed_stream import KeyedStream

        key_strategy(strategy)
        stream = self._apply(shapes.KEY_BY, KeyByOperator, selector, args, options)
        return KeyedStream(self.env, stream.uid, partitioning=Partitioning.HASH)

    keyby = key_by

    def assign_timestamps(
        self,
        function: Callable[[T], float] | fn.MapFunction[T, float] | type,
        *args: Any,
        max_out_of_orderness_s: float = 0.0,
        idle_timeout_s: float | None = None,
        watermarks: WatermarkGenerator | type[WatermarkGenerator] | None = None,
        **options: Any,
    ) -> DataStream[T]:
        """Say when each record happened, and how far behind the others it may come.

        Event time goes on with the highest timestamp: after each record it is that minus
        ``max_out_of_orderness_s``. See `sage.kernel.operators.assign_timestamps`.

        Args:
            function: Gives a record's timestamp: seconds since the epoch, int or float.
            args: Config, if ``function`` is a class.
            max_out_of_orderness_s: How far a record may lag behind the highest before it.
            idle_timeout_s: After so long without a record nobody waits for this input.
            watermarks: Makes watermarks of its own; then the bound is not used.
            options: See the class.

        Raises:
            TimestampError: while running, for a timestamp that is no finite number.

        Example:
            >>> from sage.kernel import LocalEnvironment, TumblingWindow
            >>> clicks = LocalEnvironment().from_collection([("a", 1), ("b", 2), ("a", 11)])
            >>> timed = clicks.assign_timestamps(lambda click: click[1])
            >>> timed.key_by(lambda click: click[0]).window(TumblingWindow(10)).count().collect()
            [('a', 1), ('b', 1), ('a', 1)]
        """
        from sage.kernel.operators.assign_timestamps import TIMESTAMP, AssignTimestampsOperator

        common, kwargs = split_options(options)
        spec = FunctionSpec(TIMESTAMP, function, args, kwargs)
        operator = AssignTimestampsOperator(
            spec, max_out_of_orderness_s, idle_timeout_s, watermarks
        )
        return self._then(operator, common)

    def reduce(
        self,
        function: Callable[[T, T], T] | fn.ReduceFunction[T] | type[fn.ReduceFunction[Any]],
        *args: Any,
        **options: Any,
    ) -> DataStream[T]:
        """Emit ``f(value so far, record)`` for each record, as on a single key.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> LocalEnvironment().from_collection([3, 1, 4]).reduce(max).collect()
            [3, 3, 4]
        """
        return self._as_one_key().reduce(function, *args, **{"parallelism": 1, **options})

    def aggregate(
        self,
        function: fn.AggregateFunction[Any, A, R] | type[fn.AggregateFunction[Any, A, R]],
        *args: Any,
        **options: Any,
    ) -> DataStream[R]:
        """Emit the accumulator's result for each record, as on a single key.

        Example:
            >>> from sage.kernel import AggregateFunction, LocalEnvironment
            >>> class Mean(AggregateFunction):
            ...     def create(self):
            ...         return (0, 0)
            ...
            ...     def add(self, acc, record):
            ...         return (acc[0] + record, acc[1] + 1)
            ...
            ...     def result(self, acc):
            ...         return acc[0] / acc[1]
            ...
            ...     def merge(self, a, b):
            ...         return (a[0] + b[0], a[1] + b[1])
            >>> LocalEnvironment().from_collection([1, 2, 6]).aggregate(Mean).collect()
            [1.0, 1.5, 3.0]
        """
        return self._as_one_key().aggregate(function, *args, **{"parallelism": 1, **options})

    def window(
        self,
        assigner: WindowAssigner,
        *,
        trigger: Trigger | None = None,
        allowed_lateness_s: float = 0.0,
        mode: WindowMode = "accumulating",
        time: WindowTime = "event",
    ) -> WindowedStream[Any, T]:
        """Cut the stream into windows, as on a single key: see `KeyedStream.window`.

        Example:
            >>> from sage.kernel import LocalEnvironment, TumblingWindow
            >>> numbers = LocalEnvironment().from_collection([1, 2, 11])
            >>> timed = numbers.assign_timestamps(lambda n: n)
            >>> timed.window(TumblingWindow(10)).reduce(lambda a, b: a + b).collect()
            [3, 11]
        """
        from sage.kernel.api.windowed_stream import WindowedStream

        return WindowedStream(
            self._as_one_key(),
            assigner,
            trigger=trigger,
            allowed_lateness_s=allowed_lateness_s,
            mode=mode,
            time=time,
            options={"parallelism": 1},
        )

    def _as_one_key(self) -> KeyedStream[int, T]:
        from sage.kernel.api.keyed_stream import KeyedStream

        one = self._then(SingleKeyOperator(), {"parallelism": 1})  # which keeps the order
        return KeyedStream(self.env, one.uid, partitioning=Partitioning.HASH)

    if not TYPE_CHECKING:  # a type checker must go on refusing what is not there

        def __getattr__(self, verb: str) -> Any:
            raise unknown_verb(self, verb)


def _with_retries(policy: ErrorPolicy | None, retries: int | RetryPolicy) -> ErrorPolicy:
    action = policy.action if policy is not None else "fail"
    if isinstance(retries, RetryPolicy):
        return ErrorPolicy(action if policy is not None else retries.then, retries)
    return ErrorPolicy(action, RetryPolicy(max_attempts=retries + 1))
