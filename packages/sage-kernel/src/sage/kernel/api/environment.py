"""What the environments share: building a plan, and running it.

An environment holds the plan while it is built. Nothing runs until one of the running verbs is
called: ``execute``, ``submit``, ``run_once``, ``run_streaming``, or ``collect`` on a stream.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from sage.kernel.api.datastream import DataStream
from sage.kernel.api.job import Job, JobResult
from sage.kernel.api.lifetime import forget_job, keep_alive, stopping_on_interrupt
from sage.kernel.api.options import split_options
from sage.kernel.config import EngineConfig
from sage.kernel.errors import GraphError
from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.graph.transformation import Edge, Transformation
from sage.kernel.operators.function_spec import SINK, FunctionSpec
from sage.kernel.operators.iterate import (
    FEEDBACK,
    FutureOperator,
    LoopHeadOperator,
    LoopTailOperator,
)
from sage.kernel.operators.operator import Operator
from sage.kernel.operators.sink import SinkOperator
from sage.kernel.operators.source import SourceOperator

if TYPE_CHECKING:
    from sage.kernel.api.service import PipelineService
    from sage.kernel.graph.explain import Plan
    from sage.kernel.runtime.services import ServiceFactory

__all__ = ["Environment"]

T = TypeVar("T")


class Environment:
    """Builds and runs pipelines; use `LocalEnvironment` or `RemoteEnvironment`.

    Args:
        name: Name of the pipeline.
        config: Options, see `sage.kernel.config.EngineConfig`.
    """

    def __init__(self, name: str = "local", config: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.config = EngineConfig.of(config)
        self._transformations: list[Transformation] = []
        self._open_loops: list[str] = []
        self._services: dict[str, ServiceFactory] = {}
        self._job: Job | None = None

    def __enter__(self) -> Environment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def from_source(self, source: Any, *args: Any, **options: Any) -> DataStream[Any]:
        """Start a stream at a source.

        Args:
            source: A `SourceFunction` or `BatchFunction` (class or instance), a generator function
                or another callable that gives an iterable, or an iterable.
            args: Config, if ``source`` is a class.
            options: ``name``, ``uid``, ``parallelism``..., and keyword arguments of the class.
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
        """Start a stream at a `BatchFunction` or an iterable: a source that ends."""
        return self.from_source(source, *args, **options)

    def register_service(self, name: str, service: Any, *args: Any, **kwargs: Any) -> None:
        """Make an object callable by every function, as ``self.call_service(name, ...)``.

        Args:
            name: The name that functions call it by.
            service: A class, made with the arguments at its first call, or an instance.
            args: Positional arguments of the class.
            kwargs: Keyword arguments of the class.
        """
        if name in self._services:
            raise GraphError(f"a service {name!r} is registered already")
        if inspect.isclass(service):
            self._services[name] = functools.partial(service, *args, **kwargs)
        else:
            self._services[name] = lambda: service

    def set_parallelism(self, parallelism: int) -> None:
        """Set the number of subtasks of operators that are added from now on."""
        self.config = EngineConfig.of({**_plain(self.config), "parallelism": parallelism})

    def explain(self) -> Plan:
        """Return the logical and the physical plan; ``str()`` of it is for people.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment("demo")
            >>> _ = env.from_collection([1]).map(abs).sink(print)
            >>> print(env.explain())
            demo: 1 task
            [0] collection → abs → print
        """
        from sage.kernel.graph.explain import Plan
        from sage.kernel.optimizer.ruleset import optimize

        return Plan(optimize(self.graph(), inline=self.config.inline))

    def graph(self) -> StreamGraph:
        """Return the plan as it stands."""
        return StreamGraph(self.name, tuple(self._transformations))

    def submit(self, autostop: bool = False) -> Job:
        """Start the pipeline and return at once.

        A bounded job runs to its end even if the script ends first.

        Args:
            autostop: Wait for the end and close the environment.

        Raises:
            GraphError: if the plan cannot run.
        """
        job = self._start()
        if autostop:
            with stopping_on_interrupt(job):
                job.wait()
            self.close()
        return job

    def execute(self) -> JobResult:
        """Run the pipeline to its end.

        A pipeline of a single task runs in the calling thread, where a profiler sees it. The first
        Ctrl-C lets the sources end and finishes what was read; the second one stops at once.

        Raises:
            GraphError: if the plan cannot run.
            JobFailedError: if an operator raised.
        """
        return self._execute(self.graph())

    def run_once(self) -> JobResult:
        """Run one bounded pass; after ``submit`` it waits for that job instead."""
        if self._job is not None:
            with stopping_on_interrupt(self._job):
                return self._job.wait()
        return self.execute()

    def run_streaming(self) -> JobResult:
        """Run until the sources end or Ctrl-C is pressed."""
        return self.run_once()

    def serve(self, stream: DataStream[Any] | None = None) -> PipelineService:
        """Run the pipeline on callers' records instead of its source.

        The same pipeline that reads a file can answer requests: its only source is replaced by
        what callers send, and what reaches ``stream`` is sent back.

        Args:
            stream: Whose records are the answers; None means what the only sink reads.

        Raises:
            GraphError: if the pipeline does not have one source, or it is not clear which stream
                answers.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment()
            >>> doubled = env.from_collection([]).map(lambda n: 2 * n)
            >>> with env.serve(doubled) as service:
            ...     service.call(21)
            42
        """
        from sage.kernel.api.service import PipelineService
        from sage.kernel.graph.rewriting import served
        from sage.kernel.operators.requests import RequestQueue

        queue = RequestQueue()
        job = self._job_of(served(self.graph(), stream and stream.edge(0), queue))
        keep_alive(job, bounded=False)
        job._run.start()
        return PipelineService(job, queue)

    def stop(self) -> None:
        """Stop the job that ``submit`` started, if it still runs, after what was read is done."""
        if self._job is not None and self._job.status == "running":
            self._job.drain()

    def close(self) -> None:
        """Cancel a job that still runs and forget it."""
        if self._job is not None:
            if self._job.status in ("created", "running"):
                self._job.cancel()
            self._job._run.join(5)
            self._job = None

    def add_operator(
        self, operator: Operator, inputs: tuple[Edge, ...], options: Mapping[str, Any]
    ) -> DataStream[Any]:
        """Add an operator to the plan and return its stream; verbs are made of this."""
        number = len(self._transformations)
        name = options.get("name") or self._fresh_name(operator.label)
        self._transformations.append(
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
        return DataStream(self, self._transformations[-1].uid)

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
            head = self.add_operator(LoopHeadOperator(), (entry,), {**options, "uid": head_uid})
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

    def fill_future(self, future: DataStream[Any], stream: DataStream[Any]) -> None:
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
            return 1 if isinstance(operator, SourceOperator) else self.config.parallelism
        if type(given) is not int or given < 1:
            raise GraphError(f"parallelism must be a whole number of at least 1, got {given!r}")
        return given

    def _fresh_name(self, label: str) -> str:
        taken = {t.name for t in self._transformations}
        if label not in taken:
            return label
        return next(f"{label}-{i}" for i in range(2, len(taken) + 3) if f"{label}-{i}" not in taken)

    def _start(self) -> Job:
        if self._job is not None and self._job.status == "running":
            raise GraphError(
                f"{self.name!r} is running already", hint="wait for it, or use a new environment"
            )
        job = self._job_of(self.graph())
        keep_alive(job, bounded=all(_bounded(t) for t in self._transformations))
        job._run.start()
        self._job = job
        return job

    def _execute(self, graph: StreamGraph) -> JobResult:
        job = self._job_of(graph)
        run = job._run
        with stopping_on_interrupt(job):
            if run.runs_inline:
                run.run_inline()
            else:
                run.start()
            try:
                return job.wait()
            finally:
                forget_job(job)

    def _job_of(self, graph: StreamGraph) -> Job:
        # Optimizer and runtime are imported when something runs: building needs neither.
        from sage.kernel.optimizer.ruleset import optimize
        from sage.kernel.runtime.local.run import LocalRun
        from sage.kernel.runtime.services import Services

        job_graph = optimize(graph, inline=self.config.inline)
        run = LocalRun(job_graph, self.config, Services(dict(self._services)))
        return Job(self.name, run, self._job_of)

    def collect(self, stream: DataStream[T]) -> list[T]:
        records: list[T] = []
        part = self.graph().upstream_of({stream.uid})
        sink = Transformation(
            uid="collect",
            name="collect",
            operator=SinkOperator(FunctionSpec(SINK, records.append)),
            inputs=(stream.edge(0),),
        )
        self._execute(part.replaced((*part.transformations, sink)))
        return records


def _bounded(transformation: Transformation) -> bool:
    operator = transformation.operator
    return not isinstance(operator, SourceOperator) or operator.bounded


def _plain(config: EngineConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in EngineConfig.__dataclass_fields__}
