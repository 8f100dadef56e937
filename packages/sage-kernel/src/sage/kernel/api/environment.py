"""What the environments share: building a plan, and running it.

An environment holds the plan while it is built. Nothing runs until one of the running verbs is
called: ``execute``, ``submit``, ``run_once``, ``run_streaming``, or ``collect`` on a stream.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from sage.kernel.api.datastream import DataStream
from sage.kernel.api.job import Job, JobResult
from sage.kernel.api.lifetime import forget_job, keep_alive, stopping_on_interrupt
from sage.kernel.api.readers import NamedSources
from sage.kernel.api.stream import Stream
from sage.kernel.errors import GraphError
from sage.kernel.graph.stream_graph import StreamGraph
from sage.kernel.graph.transformation import AUTO, Transformation
from sage.kernel.operators.function_spec import SINK, FunctionSpec
from sage.kernel.operators.guarantee import guarantees_of
from sage.kernel.operators.sink import SinkOperator
from sage.kernel.operators.source import SourceOperator

if TYPE_CHECKING:
    from sage.kernel.api.service import PipelineService
    from sage.kernel.graph.explain import Plan
    from sage.kernel.graph.job_graph import JobGraph
    from sage.kernel.metrics.snapshot import JobMetrics
    from sage.kernel.runtime.run import Runtime
    from sage.kernel.runtime.services import ServiceFactory

__all__ = ["Environment"]

T = TypeVar("T")

_logger = logging.getLogger("sage.checkpoint")


class Environment(NamedSources):
    """Builds and runs pipelines; use `LocalEnvironment` or `RemoteEnvironment`.

    Args:
        name: Name of the pipeline.
        config: Options, see `sage.kernel.config.EngineConfig`.
    """

    def __init__(self, name: str = "local", config: Mapping[str, Any] | None = None) -> None:
        super().__init__(name, config)
        self._services: dict[str, ServiceFactory] = {}
        self._job: Job | None = None
        self._measured: JobMetrics | None = None
        self._warned_of: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def register_service(self, name: str, service: Any, *args: Any, **kwargs: Any) -> None:
        """Make an object callable by every function, as ``self.call_service(name, ...)``.

        Args:
            name: The name that functions call it by.
            service: A class, made with the arguments at its first call, or an instance.
            args: Positional arguments of the class.
            kwargs: Keyword arguments of the class.

        Raises:
            GraphError: if the name is taken.

        Example:
            >>> from sage.kernel import LocalEnvironment, MapFunction
            >>> class Prices:
            ...     def process(self, article):
            ...         return {"tea": 3}.get(article, 0)
            >>> class Priced(MapFunction):
            ...     def map(self, article):
            ...         return article, self.call_service("prices", article)
            >>> env = LocalEnvironment()
            >>> env.register_service("prices", Prices)
            >>> env.from_collection(["tea", "milk"]).map(Priced).collect()
            [('tea', 3), ('milk', 0)]
        """
        if name in self._services:
            raise GraphError(f"a service {name!r} is registered already")
        if inspect.isclass(service):
            self._services[name] = functools.partial(service, *args, **kwargs)
        else:
            self._services[name] = lambda: service

    def set_memory(self, config: Mapping[str, Any] | None = None) -> None:
        """Say that the pipeline has no memory; there is no other one in this version.

        Args:
            config: None.

        Raises:
            GraphError: for any config: a pipeline must not believe that it remembers.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> LocalEnvironment().set_memory(config=None)
        """
        if config is not None:
            raise GraphError(
                f"memory is not there yet in this version, got {config!r:.80}",
                hint="env.set_memory(None), or leave it out",
            )

    def set_runtime_mode(self, mode: Literal["local", "distributed"]) -> None:
        """Choose where the pipeline runs: in this process, or on Ray.

        Raises:
            ConfigError: if it is another mode.
            GraphError: if a job of this environment is running.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment()
            >>> env.set_runtime_mode("local")
            >>> env.config.execution_mode
            'local'
        """
        if self._job is not None and self._job.status == "running":
            raise GraphError(f"{self.name!r} is running", hint="wait for it, then set the mode")
        self._configure(execution_mode=mode)
        self._forget_runtime()

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

        return Plan(self._optimized(self.graph()), self._checkpoint_mode)

    def submit(self, autostop: bool = False) -> Job:
        """Start the pipeline and return at once.

        A bounded job runs to its end even if the script ends first.

        Args:
            autostop: Wait for the end and close the environment.

        Raises:
            GraphError: if the plan cannot run.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env, got = LocalEnvironment(), []
            >>> _ = env.from_collection([1, 2]).sink(got.append)
            >>> job = env.submit()
            >>> job.wait(timeout=10).status, got
            ('finished', [1, 2])
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
        Ctrl-C lets the sources end and finishes what was read, or stops at a checkpoint where the
        job makes them; the second one stops at once.

        Raises:
            GraphError: if the plan cannot run.
            JobFailedError: if an operator raised.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment()
            >>> _ = env.from_collection(["hello"]).print()
            >>> result = env.execute()
            hello
            >>> result.metrics["print"].received
            1
        """
        return self._execute(self.graph())

    def run_once(self) -> JobResult:
        """Run one bounded pass; after ``submit`` it waits for that job instead.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env, got = LocalEnvironment(), []
            >>> _ = env.from_collection([1]).sink(got.append)
            >>> job = env.submit()
            >>> env.run_once().status, got
            ('finished', [1])
        """
        if self._job is not None:
            with stopping_on_interrupt(self._job):
                return self._job.wait()
        return self.execute()

    def run_streaming(self) -> JobResult:
        """Run until the sources end or Ctrl-C is pressed.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> env = LocalEnvironment()
            >>> _ = env.from_collection([1, 2]).print()
            >>> _ = env.run_streaming()
            1
            2
        """
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

        self._warn_of_no_checkpoints("serve()")
        queue = RequestQueue()
        job = self._job_of(
            served(self.graph(), stream.edge(0) if stream is not None else None, queue),
            survives=False,
        )
        keep_alive(job, bounded=False)
        job.start()
        return PipelineService(job, queue)

    def stop(self) -> None:
        """Stop the job that ``submit`` started, if it still runs, after what was read is done.

        Example:
            >>> import itertools
            >>> from sage.kernel import LocalEnvironment
            >>> env, got = LocalEnvironment(), []
            >>> _ = env.from_source(itertools.count).sink(got.append)
            >>> job = env.submit()
            >>> env.stop()
            >>> job.wait(timeout=10).status
            'finished'
        """
        if self._job is not None and self._job.status == "running":
            self._job.drain()

    def close(self) -> None:
        """Cancel a job that still runs and forget it; leaving a ``with`` block does it.

        Example:
            >>> from sage.kernel import LocalEnvironment
            >>> with LocalEnvironment() as env:
            ...     env.from_collection([1, 2]).collect()
            [1, 2]
        """
        if self._job is not None:
            if self._job.status in ("created", "running"):
                self._job.cancel()
            self._job.join(5)
            self._job = None
        self._forget_runtime()

    def _forget_runtime(self) -> None:
        if "_runtime" in vars(self):
            self._runtime.close()
            del self._runtime

    def _start(self) -> Job:
        if self._job is not None and self._job.status == "running":
            raise GraphError(
                f"{self.name!r} is running already", hint="wait for it, or use a new environment"
            )
        job = self._job_of(self.graph())
        keep_alive(job, bounded=all(_bounded(t) for t in self._transformations))
        try:
            job.start()
        except BaseException:
            forget_job(job)  # it will never run, and so never end
            raise
        self._job = job
        return job

    def _execute(self, graph: StreamGraph, *, survives: bool = True) -> JobResult:
        job = self._job_of(graph, survives=survives)
        with stopping_on_interrupt(job):
            job.start(in_this_thread=True)
            try:
                result = job.wait()
            finally:
                forget_job(job)
        self._measured = result.metrics
        return result

    def _warn_of_no_checkpoints(self, verb: str) -> None:
        """Tell who has asked for checkpoints that this verb makes none, once."""
        if self.config.fault_tolerance is not None and verb not in self._warned_of:
            self._warned_of.add(verb)
            _logger.warning(
                "%s of %r makes no checkpoints: its records go to this process and end with it; "
                "a job that survives ends in a sink",
                verb, self.name,
            )  # fmt: skip

    def _job_of(self, graph: StreamGraph, *, survives: bool = True) -> Job:
        """Return a job; one that gives its records to this process has nothing to survive."""
        config = self.config if survives else replace(self.config, fault_tolerance=None)
        if config.fault_tolerance is not None:
            from sage.kernel.optimizer.validation import validate_for_checkpoints

            validate_for_checkpoints(graph, config.fault_tolerance)
        planned = self._optimized(graph)
        run = self._runtime.run(planned, config, dict(self._services))
        operators = ((t.uid, t.operator) for t in planned.stream_graph)
        guarantees = guarantees_of(operators, self._checkpoint_mode)
        again = functools.partial(self._job_of, survives=False)
        return Job(self.name, run, again, guarantees)

    @property
    def _checkpoint_mode(self) -> str | None:
        tolerance = self.config.fault_tolerance
        return tolerance.checkpoint_mode if tolerance is not None else None

    def _optimized(self, graph: StreamGraph) -> JobGraph:
        # Optimizer and runtime are imported when something runs: building needs neither.
        from sage.kernel.optimizer.ruleset import optimize

        return optimize(
            graph,
            inline=self.config.inline,
            distributed=self.config.execution_mode == "distributed",
            measured=self._last_metrics() if any(t.parallelism == AUTO for t in graph) else None,
        )

    def _last_metrics(self) -> JobMetrics | None:
        """What the last run has measured, or measures now: a choice of parallelism rests on it."""
        return self._job.metrics() if self._job is not None else self._measured

    @functools.cached_property
    def _runtime(self) -> Runtime:
        if self.config.execution_mode == "distributed":
            from sage.kernel.api.remote_environment import ray_runtime

            return ray_runtime(self.config)
        from sage.kernel.runtime.local.runtime import LocalRuntime

        return LocalRuntime()

    def collect(self, stream: Stream[T]) -> list[T]:
        """Run what a stream needs and return its records; the same as ``stream.collect()``.

        The records are this process's, so no checkpoints are made of it, whatever the config says.
        """
        self._warn_of_no_checkpoints("collect()")
        records: list[T] = []
        part = self.graph().upstream_of({stream.uid})
        sink = Transformation(
            uid="collect",
            name="collect",
            operator=SinkOperator(FunctionSpec(SINK, self._runtime.sink_into(records))),
            inputs=(stream.edge(0),),
        )
        self._execute(part.replaced((*part.transformations, sink)), survives=False)
        return records


def _bounded(transformation: Transformation) -> bool:
    operator = transformation.operator
    return not isinstance(operator, SourceOperator) or operator.bounded
