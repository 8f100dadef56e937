"""``WindowedStream``: a stream cut into windows, and what can be made of a window's records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from sage.common.core import functions as fn
from sage.kernel.api.missing_verbs import unknown_window_verb
from sage.kernel.api.options import only_options, split_options
from sage.kernel.errors import GraphError
from sage.kernel.graph.transformation import Partitioning
from sage.kernel.operators.assign_timestamps import ProcessingTimeOperator
from sage.kernel.operators.function_spec import FunctionShape, FunctionSpec
from sage.kernel.operators.windowing import (
    AfterCount,
    AfterProcessingTime,
    AfterWatermark,
    CountWindow,
    GlobalWindow,
    Trigger,
    Window,
    WindowAssigner,
    WindowMode,
)
from sage.kernel.operators.windowing.arguments import check_count, check_seconds
from sage.kernel.operators.windowing.results import WindowContext
from sage.kernel.operators.windowing.window import (
    AGGREGATE,
    APPLY,
    EMIT,
    PROCESS_WINDOW,
    REDUCE,
    TOP,
    ContentSpec,
    WindowOperator,
)

if TYPE_CHECKING:
    from sage.kernel.api.datastream import DataStream
    from sage.kernel.api.keyed_stream import KeyedStream

__all__ = ["WindowTime", "WindowedStream"]

A = TypeVar("A")
K = TypeVar("K")
R = TypeVar("R")
T = TypeVar("T")
U = TypeVar("U")

WindowTime = Literal["event", "processing"]


class WindowedStream(Generic[K, T]):
    """What ``window`` returns: say what is made of the records of each window.

    A window's result has the window's last moment as its timestamp, so that it belongs to the same
    window again. Records whose windows are over are no part of any result: they are counted as late
    and are in the side output ``late`` of the stream that the verbs return.

    Args:
        stream: The keyed stream.
        assigner: Which windows a record belongs to.
        trigger: When a window fires; None for the watermark alone.
        allowed_lateness_s: How long windows stay open behind their end, in event time.
        mode: Whether a firing says all records so far, or those since the last firing.
        time: Whether windows go by the records' timestamps or by the clock.
        options: Options of the operator that the caller did not give.

    Raises:
        GraphError: if an argument is none, or does not go with another.
    """

    def __init__(
        self,
        stream: KeyedStream[K, T],
        assigner: WindowAssigner,
        *,
        trigger: Trigger | None = None,
        allowed_lateness_s: float = 0.0,
        mode: WindowMode = "accumulating",
        time: WindowTime = "event",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        _check_assigner(assigner)
        _check_trigger(assigner, trigger)
        _check_choice("mode", mode, ("accumulating", "discarding"))
        _check_choice("time", time, ("event", "processing"))
        _check_lateness(assigner, allowed_lateness_s, time)
        self._stream = stream
        self._assigner = assigner
        self._trigger = trigger or AfterWatermark()
        self._allowed_lateness_s = allowed_lateness_s
        self._mode = mode
        self._time = time
        self._options = options or {}

    @overload
    def reduce(
        self,
        function: Callable[[T, T], T] | fn.ReduceFunction[T] | type[fn.ReduceFunction[Any]],
        *args: Any,
        emit: None = None,
        **options: Any,
    ) -> DataStream[T]: ...
    @overload
    def reduce(
        self,
        function: Callable[[T, T], T] | fn.ReduceFunction[T] | type[fn.ReduceFunction[Any]],
        *args: Any,
        emit: Callable[[K, Window, T], U | None],
        **options: Any,
    ) -> DataStream[U]: ...
    def reduce(
        self, function: Any, *args: Any, emit: Any = None, **options: Any
    ) -> DataStream[Any]:
        """Emit the reduction of each window's records.

        In session windows the function has to be associative: it also combines sessions that became
        one, the earlier session first.

        Args:
            function: Combines the value so far and the next record.
            args: Config, if ``function`` is a class.
            emit: Makes the result of key, window and value; None emits the value.
            options: See `DataStream`.

        Example:
            >>> from sage.kernel import LocalEnvironment, TumblingWindow
            >>> bids = LocalEnvironment().from_collection([(1, 30), (2, 50), (11, 40)])
            >>> timed = bids.assign_timestamps(lambda bid: bid[0])
            >>> timed.window(TumblingWindow(10)).reduce(lambda a, b: max(a, b)).collect()
            [(2, 50), (11, 40)]
        """
        return self._fold("reduce", REDUCE, function, args, emit, options)

    @overload
    def aggregate(
        self,
        function: fn.AggregateFunction[Any, A, R] | type[fn.AggregateFunction[Any, A, R]],
        *args: Any,
        emit: None = None,
        **options: Any,
    ) -> DataStream[R]: ...
    @overload
    def aggregate(
        self,
        function: fn.AggregateFunction[Any, A, R] | type[fn.AggregateFunction[Any, A, R]],
        *args: Any,
        emit: Callable[[K, Window, R], U | None],
        **options: Any,
    ) -> DataStream[U]: ...
    def aggregate(
        self, function: Any, *args: Any, emit: Any = None, **options: Any
    ) -> DataStream[Any]:
        """Emit the result of an accumulator of each window's records.

        Args:
            function: An `AggregateFunction`. Its ``merge`` combines sessions that became one, and
                the parts that sliding windows share.
            args: Config, if ``function`` is a class.
            emit: Makes the result of key, window and value; None emits the value.
            options: See `DataStream`.

        Example:
            >>> from sage.kernel import AggregateFunction, LocalEnvironment, TumblingWindow
            >>> class Users(AggregateFunction):
            ...     def create(self):
            ...         return frozenset()
            ...
            ...     def add(self, acc, record):
            ...         return acc | {record[1]}
            ...
            ...     def result(self, acc):
            ...         return len(acc)
            ...
            ...     def merge(self, a, b):
            ...         return a | b
            >>> visits = LocalEnvironment().from_collection([(1, "ann"), (5, "ann"), (12, "bob")])
            >>> timed = visits.assign_timestamps(lambda visit: visit[0])
            >>> users = timed.window(TumblingWindow(10)).aggregate(
            ...     Users, emit=lambda key, window, value: (window.start_s, value)
            ... )
            >>> users.collect()
            [(0, 1), (10, 1)]
        """
        return self._fold("aggregate", AGGREGATE, function, args, emit, options)

    @overload
    def count(self, *, emit: None = None, **options: Any) -> DataStream[tuple[K, int]]: ...
    @overload
    def count(
        self, *, emit: Callable[[K, Window, int], U | None], **options: Any
    ) -> DataStream[U]: ...
    def count(self, *, emit: Any = None, **options: Any) -> DataStream[Any]:
        """Emit ``(key, n)`` for the n records of a window.

        Args:
            emit: Makes the result of key, window and number instead.
            options: See `DataStream`.

        Example:
            >>> from sage.kernel import LocalEnvironment, SlidingWindow
            >>> visits = LocalEnvironment().from_collection([("ann", 1), ("bob", 7), ("ann", 8)])
            >>> by_user = visits.assign_timestamps(lambda v: v[1]).key_by(lambda v: v[0])
            >>> by_user.window(SlidingWindow(10, 5)).count(
            ...     emit=lambda user, window, n: f"{user}: {n} before {window.end_s}"
            ... ).collect()
            ['ann: 1 before 5', 'ann: 2 before 10', 'bob: 1 before 10', 'bob: 1 before 15',
             'ann: 1 before 15']
        """
        common = only_options("count", options)
        return self._then(ContentSpec("count", emit=_emit_spec(emit)), common)

    @overload
    def top(
        self,
        count: int,
        by: Callable[[T], Any] | fn.KeyByFunction[T, Any] | type[fn.KeyByFunction[Any, Any]],
        *args: Any,
        emit: None = None,
        **options: Any,
    ) -> DataStream[list[T]]: ...
    @overload
    def top(
        self,
        count: int,
        by: Callable[[T], Any] | fn.KeyByFunction[T, Any] | type[fn.KeyByFunction[Any, Any]],
        *args: Any,
        emit: Callable[[K, Window, list[T]], U | None],
        **options: Any,
    ) -> DataStream[U]: ...
    def top(
        self, count: int, by: Any, *args: Any, emit: Any = None, **options: Any
    ) -> DataStream[Any]:
        """Emit a list of each window's largest records, the largest first.

        Of records that are equal in ``by``, those that came first are larger.

        Args:
            count: How many.
            by: What records are compared by.
            args: Config, if ``by`` is a class.
            emit: Makes the result of key, window and list; None emits the list.
            options: See `DataStream`.

        Example:
            >>> from sage.kernel import LocalEnvironment, TumblingWindow
            >>> bids = LocalEnvironment().from_collection([(1, 30), (2, 50), (3, 20), (4, 50)])
            >>> timed = bids.assign_timestamps(lambda bid: bid[0])
            >>> timed.window(TumblingWindow(10)).top(2, by=lambda bid: bid[1]).collect()
            [[(2, 50), (4, 50)]]
        """
        check_count("top", "count", count)
        common, kwargs = split_options(options)
        spec = FunctionSpec(TOP, by, args, kwargs)
        return self._then(ContentSpec("top", spec, _emit_spec(emit), count), common)

    @overload
    def process(
        self, function: type[fn.ProcessWindowFunction[Any, Any, U]], *args: Any, **options: Any
    ) -> DataStream[U]: ...
    @overload
    def process(
        self,
        function: fn.ProcessWindowFunction[K, T, U]
        | Callable[[K, Sequence[T], WindowContext], Iterable[U] | None],
        **options: Any,
    ) -> DataStream[U]: ...
    def process(self, function: Any, *args: Any, **options: Any) -> DataStream[Any]:
        """Call ``process(key, records, ctx)`` each time that a window fires, with all its records.

        All records are kept until then; `aggregate` keeps less.

        Args:
            function: A `ProcessWindowFunction` or a callable; ``ctx`` has ``window``, ``pane``,
                ``watermark`` and ``output(tag, record)``.
            args: Config, if ``function`` is a class.
            options: See `DataStream`.

        Example:
            >>> from sage.kernel import LocalEnvironment, SessionWindow
            >>> clicks = LocalEnvironment().from_collection([("ann", 1), ("ann", 3), ("ann", 60)])
            >>> by_user = clicks.assign_timestamps(lambda c: c[1]).key_by(lambda c: c[0])
            >>> def visit(user, clicks, ctx):
            ...     yield user, len(clicks), ctx.window.end_s, ctx.pane.timing
            >>> by_user.window(SessionWindow(30)).process(visit).collect()
            [('ann', 2, 33, 'on_time'), ('ann', 1, 90, 'on_time')]
        """
        common, kwargs = split_options(options)
        spec = FunctionSpec(PROCESS_WINDOW, function, args, kwargs)
        return self._then(ContentSpec("process", spec), common)

    def apply(
        self, function: Callable[[K, Window, Sequence[T]], Iterable[U] | None], **options: Any
    ) -> DataStream[U]:
        """Call ``apply(key, window, records)`` each time that a window fires.

        Args:
            function: Returns or yields the records that come of a firing.
            options: See `DataStream`.

        Example:
            >>> from sage.kernel import CountWindow, LocalEnvironment
            >>> words = LocalEnvironment().from_collection(["a", "b", "c", "d", "e"])
            >>> words.window(CountWindow(2)).apply(
            ...     lambda key, window, records: ["".join(records)]
            ... ).collect()
            ['ab', 'cd', 'e']
        """
        common = only_options("apply", options)
        return self._then(ContentSpec("apply", FunctionSpec(APPLY, function)), common)

    def _fold(
        self,
        verb: Literal["reduce", "aggregate"],
        shape: FunctionShape,
        function: Any,
        args: tuple[Any, ...],
        emit: Any,
        options: Mapping[str, Any],
    ) -> DataStream[Any]:
        common, kwargs = split_options(options)
        spec = FunctionSpec(shape, function, args, kwargs)
        return self._then(ContentSpec(verb, spec, _emit_spec(emit)), common)

    def _then(self, content: ContentSpec, options: Mapping[str, Any]) -> DataStream[Any]:
        operator = WindowOperator(
            self._assigner,
            content,
            self._trigger,
            self._allowed_lateness_s,
            self._mode,
            self._time,
        )
        options = {**self._options, **options}
        env, edge = self._stream.env, self._stream.edge(0)
        if self._time == "processing":
            # In the window's own task, or a record on its way could miss the window it was given.
            own = {k: v for k, v in options.items() if k in ("parallelism", "resources")}
            timed = env.add_operator(ProcessingTimeOperator(), (edge,), own)
            edge = timed._spread(Partitioning.FORWARD).edge(0)
        return env.add_operator(operator, (edge,), options)

    if not TYPE_CHECKING:  # a checker finds unknown verbs by itself

        def __getattr__(self, verb: str) -> Any:
            raise unknown_window_verb(self, verb)


def _emit_spec(emit: Any) -> FunctionSpec | None:
    return FunctionSpec(EMIT, emit) if emit is not None else None


def _check_assigner(assigner: object) -> None:
    if isinstance(assigner, WindowAssigner):
        return
    if isinstance(assigner, type) and issubclass(assigner, WindowAssigner):
        raise GraphError(
            f"window wants an assigner, got the class {assigner.__name__}",
            hint=f"{assigner.__name__}(...)",
        )
    raise GraphError(
        f"window wants an assigner, got {assigner!r:.80}",
        hint="TumblingWindow(60), SlidingWindow(60, 10), SessionWindow(30), CountWindow(100) or "
        "GlobalWindow()",
    )


def _check_trigger(assigner: WindowAssigner, trigger: object) -> None:
    if trigger is None:
        return
    if not isinstance(trigger, AfterWatermark | AfterCount | AfterProcessingTime):
        raise GraphError(
            f"window wants a trigger, got {trigger!r:.80}",
            hint="AfterWatermark(early=AfterCount(100)), AfterCount(100) or AfterProcessingTime(5)",
        )
    if isinstance(assigner, CountWindow):
        raise GraphError(
            f"{assigner} fires when it is full and takes no trigger, got {trigger}",
            hint="window(GlobalWindow(), trigger=...)",
        )


def _check_choice(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise GraphError(f"window: {name} must be {' or '.join(known)}, got {value!r:.80}")


def _check_lateness(assigner: WindowAssigner, allowed_lateness_s: float, time: str) -> None:
    check_seconds("window", "allowed_lateness_s", allowed_lateness_s, at_least=0)
    if not allowed_lateness_s:
        return
    if isinstance(assigner, CountWindow | GlobalWindow):
        raise GraphError(f"no record is late for {assigner}, so it takes no allowed_lateness_s")
    if time == "processing":
        raise GraphError("no record is late by the clock, so it takes no allowed_lateness_s")
