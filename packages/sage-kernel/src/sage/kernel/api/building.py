"""``PlanBuilder``: the half of an environment that holds the plan and adds to it; runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from sage.common.core import functions as fn
from sage.kernel.api.datastream import DataStream
from sage.kernel.api.options import split_options
from sage.kernel.api.stream import Stream
from sage.kernel.config import EngineConfig
from sage.kernel.errors import GraphError
from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.graph.transformation import AUTO, Edge, Transformation
from sage.kernel.operators.iterate import (
    FEEDBACK,
    FutureOperator,
    LoopHeadOperator,
    LoopTailOperator,
)
from sage.kernel.operators.operator import Operator
from sage.kernel.operators.source import SourceOperator
from sage.kernel.optimizer.executor import check_executor

if TYPE_CHECKING:
    from sage.kernel.api.environment import Environment

__all__ = ["PlanBuilder"]

T = TypeVar("T")


class PlanBuilder:
    """Starts streams and adds operators.

    Args:
        name: Name of the pipeline.
        config: Options, see `sage.kernel.config.EngineConfig`.
    """

    def __init__(self, name: str = "local", config: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.config = EngineConfig.of(config)
        self._transformations: list[Transformation] = []
        self._open_loops: list[str] = []

    @overload
    def from_source(
        self,
        source: type[fn.SourceFunction[T]]
        | type[fn.BatchFunction[T]]
        | fn.SourceFunction[T]
        | fn.BatchFunction[T],
        *args: Any,
        **options: Any,
    ) -> DataStream[T]: ...
    @overload
    def from_source(
        self, source: Iterable[T] | Callable[..., Iterable[T]], *args: Any, **options: Any
    ) -> DataStream[T]: ...
    @overload
    def from_source(self, source: Any, *args: Any, **options: Any) -> DataStream[Any]: ...
    def from_source(self, source: Any, *args: Any, **options: Any) -> DataStream[Any]:
        """Start a stream at a source.

        Args:
            source: A `SourceFunction` or `BatchFunction` (class or instance), a generator function
                or another callable that gives an iterable, or an iterable.
            args: Config, if ``source`` is a class.
            options: ``name``, ``uid``, ``parallelism``..., and keyword arguments of the class.

        Raises:
            FunctionError: if it is no source.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> def countdown():
            ...     yield from (3, 2, 1)
            >>> LocalEnvironment().from_source(countdown).collect()
            [3, 2, 1]
        """
        common, kwargs = split_options(options)
        return self.add_operator(SourceOperator(source, args, kwargs), (), common)

    def from_collection(self, records: Iterable[T], **options: Any) -> DataStream[T]:
        """Start a stream at the items of an iterable.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> LocalEnvironment().from_collection(range(3)).collect()
            [0, 1, 2]
        """
        if not isinstance(records, Iterable):
            raise GraphError(f"from_collection wants an iterable, got {type(records).__name__}")
        return self.from_source(records, **{"name": "collection", **options})

    def from_batch(self, source: Any, *args: Any, **options: Any) -> DataStream[Any]:
        """Start a stream at a `BatchFunction` or an iterable: a source that ends.

        Example:
            >>> from sage.kernel import BatchFunction, LocalEnvironment
            >>> class Dice(BatchFunction):
            ...     def __init__(self, throws):
            ...         self.throws = list(throws)
            ...
            ...     def execute(self):
            ...         return self.throws.pop(0) if self.throws else None
            >>> LocalEnvironment().from_batch(Dice, [4, 6]).collect()
            [4, 6]
        """
        return self.from_source(source, *args, **options)

    def set_parallelism(self, parallelism: int | Literal["auto"]) -> None:
        """Set the number of subtasks of operators that are added from now on.

        Args:
            parallelism: How many, or ``"auto"``: chosen for each operator when the pipeline runs,
                by the rules of `sage.kernel.optimizer.parallelism`; ``explain()`` says why.

        Raises:
            ConfigError: if it is neither.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment()
            >>> env.set_parallelism(2)
            >>> sorted(env.from_collection([1, 2, 3]).map(lambda n: n * n).collect())
            [1, 4, 9]
        """
        self._configure(parallelism=parallelism)

    def _configure(self, **changes: Any) -> None:
        self.config = EngineConfig.of({**_plain(self.config), **changes})

    def graph(self) -> StreamGraph:
        """Return the plan as it stands."""
        return StreamGraph(self.name, tuple(self._transformations))

    def add_operator(
        self, operator: Operator, inputs: tuple[Edge, ...], options: Mapping[str, Any]
    ) -> DataStream[Any]:
        """Add an operator to the plan and return its stream; verbs are made of this."""
        number = len(self._transformations)
        name = options.get("name") or self.fresh_name(operator.label)
        transformation = check_executor(
            Transformation(
                uid=options.get("uid") or f"{number}-{operator.kind}",
                name=name,
                operator=operator,
                inputs=inputs,
                parallelism=self._parallelism(operator, options),
                on_error=options.get("on_error"),
                executor=options.get("executor"),
                resources=options.get("resources") or {},
                loop=self._open_loops[-1] if self._open_loops else None,
                counts_rounds=bool(self._open_loops),
            )
        )
        if operator.is_journalled and self.config.fault_tolerance is None:
            raise GraphError(
                f"{name!r} ({operator.kind}) is to journal its results, but the environment takes "
                f"no checkpoints, and so there would be no recovery to use them",
                hint="config={'fault_tolerance': {'checkpoint_dir': ...}}, or leave journal out",
            )
        self._transformations.append(transformation)
        return DataStream(cast("Environment", self), self._transformations[-1].uid)

    def add_loop(
        self,
        entry: Edge,
        body: Callable[[DataStream[Any]], DataStream[Any]],
        tail: LoopTailOperator,
        options: Mapping[str, Any],
    ) -> DataStream[Any]:
        """Add a loop to the plan: its head, its body, its tail, and the edge back."""
        if self._open_loops:
            raise GraphError("a loop inside a loop is not supported", hint="unroll the inner one")
        at = len(self._transformations)
        head_uid = f"{at}-{LoopHeadOperator.kind}"
        self._open_loops.append(head_uid)
        try:
            # The name is the loop's; two operators of one name could not be told apart in metrics.
            own = {"uid": head_uid, "name": self.fresh_name(LoopHeadOperator.kind)}
            head = self.add_operator(LoopHeadOperator(), (entry,), {**options, **own})
            built = body(head)
            if not isinstance(built, DataStream):
                raise GraphError(f"the body of iterate must return its stream, got {built!r:.80}")
            out = self.add_operator(tail, (built.edge(0),), options)
        finally:
            self._open_loops.pop()
        back = Edge(out.uid, input_index=1, tag=FEEDBACK, closes_loop=True)
        self._replace(head_uid, inputs=(entry, back))
        return out

    def from_future(self, name: str, **options: Any) -> DataStream[Any]:
        """Promise a stream that is built later; `fill_future` keeps the promise.

        What flows in it closes a loop. The job ends when its sources have ended and nothing is
        under way in the loop any more.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment()
            >>> again = env.from_future("again")
            >>> halved = env.from_collection([40, 7]).union(again).map(lambda n: n // 2)
            >>> halved.filter(lambda n: n > 4).fill_future(again)
            >>> sorted(halved.filter(lambda n: n <= 4).collect())
            [2, 3]
        """
        common, _ = split_options({**options, "name": name})
        return self.add_operator(FutureOperator(), (), common)

    def fill_future(self, future: Stream[Any], stream: Stream[Any]) -> None:
        """Say what a stream that `from_future` promised is.

        Raises:
            GraphError: if it was not promised or is filled already, or there is no loop.
        """
        promised = self.graph()[future.uid]
        if not isinstance(promised.operator, FutureOperator):
            raise GraphError(f"{promised.name!r} was not made by from_future")
        if promised.inputs:
            raise GraphError(f"the future {promised.name!r} is filled already")
        inside = self.graph().between(future.uid, stream.uid)
        if not inside:
            raise GraphError(
                f"the stream does not come of the future {promised.name!r}, so there is no loop",
                hint="use union for streams that do not feed back",
            )
        if any(self.graph()[uid].loop is not None for uid in inside):
            raise GraphError("a loop inside a loop is not supported", hint="unroll the inner one")
        for uid in inside:
            self._replace(uid, loop=future.uid)
        self._replace(future.uid, inputs=(replace(stream.edge(0), closes_loop=True),))

    def _replace(self, uid: str, **changes: Any) -> None:
        at = next(i for i, t in enumerate(self._transformations) if t.uid == uid)
        self._transformations[at] = replace(self._transformations[at], **changes)

    def _parallelism(self, operator: Operator, options: Mapping[str, Any]) -> int:
        given = options.get("parallelism")
        if given is None:
            given = 1 if isinstance(operator, SourceOperator) else self.config.parallelism
        if given == "auto":
            return AUTO
        if type(given) is not int or given < 1:
            raise GraphError(
                f"parallelism must be 'auto' or a whole number of at least 1, got {given!r}"
            )
        return given

    def fresh_name(self, label: str) -> str:
        """Return a label, with a number behind it if an operator of the plan has that name."""
        taken = {t.name for t in self._transformations}
        if label not in taken:
            return label
        return next(f"{label}-{i}" for i in range(2, len(taken) + 3) if f"{label}-{i}" not in taken)


def _plain(config: EngineConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in EngineConfig.__dataclass_fields__}
