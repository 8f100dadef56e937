"""A plan cut into what each vertex needs, and refused where it cannot travel.

Every actor needs the shape of the whole plan and the functions of its own vertex alone: a list of a
million records in ``from_collection`` goes to the source's actors and to no other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ray import cloudpickle

from sage.common.errors import Problem, ServiceError
from sage.kernel.config import EngineConfig
from sage.kernel.errors import FunctionError, GraphError
from sage.kernel.graph.job_graph import JobGraph, JobVertex
from sage.kernel.graph.transformation import Transformation
from sage.kernel.operators.operator import Operator
from sage.kernel.operators.requests import REQUESTS
from sage.kernel.operators.source import SourceOperator
from sage.kernel.runtime.process.portable import check_portable, modules_to_take
from sage.kernel.runtime.services import ServiceFactory, Services

__all__ = ["Elsewhere", "Shipment", "check_shape", "shipments"]


@dataclass(frozen=True)
class Elsewhere(Operator):
    """Stands for an operator that another actor has.

    It says of it what decides how tasks are connected: every actor must come to the same channels,
    and to the same riders on them.
    """

    kind: str = "elsewhere"  # type: ignore[misc]  # class variables of every other operator
    terminal: bool = False  # type: ignore[misc]
    uses_time: bool = False  # type: ignore[misc]
    reads_time: bool = False  # type: ignore[misc]


@dataclass(frozen=True)
class Shipment:
    """What an actor is made of.

    Attributes:
        graph: The plan; operators of other vertices are `Elsewhere`.
        config: The environment's options.
        services: How to make each service.
    """

    graph: JobGraph
    config: EngineConfig
    services: dict[str, ServiceFactory]


def check_shape(graph: JobGraph) -> None:
    """Raise if a plan has what only one process can run.

    Raises:
        GraphError: if it has a loop or serves requests.
    """
    problems = []
    for transformation in graph.stream_graph:
        if transformation.loop is not None or any(e.closes_loop for e in transformation.inputs):
            told = "is part of a loop; iterate and from_future run in one process only"
            problems.append(Problem(transformation.name, told))
        elif transformation.operator.kind == REQUESTS:
            told = "serves requests; env.serve() runs in one process only"
            problems.append(Problem(transformation.name, told))
    if problems:
        raise GraphError(
            f"the pipeline {graph.stream_graph.name!r} cannot run on Ray",
            problems=problems,
            hint="use a LocalEnvironment",
        )


def shipments(
    graph: JobGraph, config: EngineConfig, services: dict[str, ServiceFactory]
) -> list[bytes]:
    """Return for each vertex what its actors are made of, pickled.

    Raises:
        FunctionError: if a function or service cannot travel, naming it.
    """
    for transformation in graph.stream_graph:
        operator = transformation.operator
        for spec in operator.specs:
            check_portable(spec, "on Ray")
        given = [spec.target for spec in operator.specs]
        if isinstance(operator, SourceOperator):
            given.append(operator.given)
        for target in given:
            for module in modules_to_take(target):
                cloudpickle.register_pickle_by_value(module)
    # Arguments of ray.init mean nothing to an actor, and may not travel.
    config = replace(config, ray=None)
    services = {
        name: make or _Refusal(name) for name, make in Services(services).portable().items()
    }
    return [
        _pickled(Shipment(_part(graph, vertex), config, services), vertex)
        for vertex in graph.vertices
    ]


@dataclass(frozen=True)
class _Refusal:
    """Stands for a service that is an object of the driver: each actor would have a copy of it."""

    name: str

    def __call__(self) -> Any:
        raise ServiceError(
            f"service {self.name!r} is an object of the driver process, which an actor cannot call",
            hint="register the class with its arguments, so that each actor makes its own",
            service=self.name,
        )


def _part(graph: JobGraph, mine: JobVertex) -> JobGraph:
    def stripped(transformation: Transformation) -> Transformation:
        if transformation.uid in mine:
            return transformation
        o = transformation.operator
        elsewhere = Elsewhere(o.kind, o.terminal, o.uses_time, o.reads_time)
        return replace(transformation, operator=elsewhere)

    def stripped_all(transformations: tuple[Transformation, ...]) -> tuple[Transformation, ...]:
        return tuple(stripped(t) for t in transformations)

    return JobGraph(
        graph.stream_graph.replaced(stripped_all(graph.stream_graph.transformations)),
        tuple(replace(v, transformations=stripped_all(v.transformations)) for v in graph.vertices),
    )


def _pickled(shipment: Shipment, vertex: JobVertex) -> bytes:
    try:
        return cloudpickle.dumps(shipment)  # type: ignore[no-any-return]
    except Exception as error:
        _blame(shipment, vertex, error)
        raise


def _blame(shipment: Shipment, vertex: JobVertex, error: Exception) -> None:
    """Raise naming the function or service that cannot be pickled."""
    suspects: list[tuple[str, Any]] = [
        (f"the function of {t.name!r}", t.operator) for t in vertex.transformations
    ]
    suspects += [(f"the service {name!r}", made) for name, made in shipment.services.items()]
    for what, suspect in suspects:
        try:
            cloudpickle.dumps(suspect)
        except Exception as reason:
            raise FunctionError(
                f"{what} cannot travel to a Ray actor: {type(reason).__name__}: {reason}",
                hint="give a class with its config, or make the resource in open(); "
                "collect() brings results back",
            ) from error
