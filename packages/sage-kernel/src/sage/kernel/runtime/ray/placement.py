"""What an actor asks of the cluster, and why it cannot be had."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sage.common.errors import Problem
from sage.kernel.errors import GraphError, JobError
from sage.kernel.graph.job_graph import JobGraph, JobVertex

__all__ = ["actor_options", "cannot_be_placed", "check_resources", "fits_somewhere", "memory_bytes"]

_UNITS = {"": 1, "B": 1, "K": 2**10, "KB": 2**10, "M": 2**20, "MB": 2**20, "G": 2**30, "GB": 2**30}
_UNITS |= {"T": 2**40, "TB": 2**40, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def memory_bytes(value: Any) -> int:
    """Return a size in bytes, from a number or a text such as ``"8GB"`` (powers of 1,024).

    Raises:
        ValueError: if it is neither.

    Example:
        >>> memory_bytes("1.5GB")
        1610612736
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return int(value)
    match = re.fullmatch(
        r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value if type(value) is str else ""
    )
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError(f"expected bytes or a text such as '8GB', got {value!r}")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def check_resources(graph: JobGraph) -> None:
    """Raise with every resource of a plan that is no amount.

    Raises:
        GraphError: naming each operator.
    """
    problems = []
    for transformation in graph.stream_graph:
        for name, value in transformation.resources.items():
            try:
                memory_bytes(value) if name == "memory" else _amount(value)
            except ValueError as error:
                problems.append(Problem(transformation.name, f"resources[{name!r}]: {error}"))
    if problems:
        raise GraphError(
            f"the pipeline {graph.stream_graph.name!r} cannot run on Ray", problems=problems
        )


def actor_options(vertex: JobVertex) -> dict[str, Any]:
    """Return what Ray is told of each subtask of a vertex.

    Without resources an actor asks for no CPU: most wait for their neighbours most of the time, and
    a pipeline of ten operators is to run on two cores.
    """
    given = vertex.head.resources
    options: dict[str, Any] = {"num_cpus": given.get("num_cpus", 0)}
    if given.get("num_gpus"):
        options["num_gpus"] = given["num_gpus"]
    if given.get("memory"):
        options["memory"] = memory_bytes(given["memory"])
    return options


def fits_somewhere(vertex: JobVertex, nodes: Iterable[Mapping[str, Any]]) -> bool:
    """Whether some node has in all what a subtask of the vertex wants."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    wanted = {names[option]: amount for option, amount in actor_options(vertex).items()}
    return any(
        all(node["Resources"].get(name, 0) >= amount for name, amount in wanted.items())
        for node in nodes
        if node["Alive"]
    )


def cannot_be_placed(
    vertex: JobVertex, nodes: Iterable[Mapping[str, Any]], waited_s: float | None
) -> JobError:
    """Return the error for a vertex whose actors find no room."""
    wanted = dict(vertex.head.resources)
    has = "; ".join(_told(node["Resources"]) for node in nodes if node["Alive"])
    waited = f" after {waited_s:g} s" if waited_s is not None else ""
    shown = ", ".join(f"{name}={value!r}" for name, value in wanted.items()) or "no resources"
    return JobError(
        f"{vertex.name!r} could not be placed{waited}: each subtask wants {shown}, "
        f"and the cluster's nodes have in all {has or 'nothing'}",
        hint="ask for less in resources={...}, or connect to a cluster that has them",
        operator=vertex.name,
        resources=wanted,
    )


def _amount(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    raise ValueError(f"expected a number of 0 or more, got {value!r}")


def _told(resources: Mapping[str, Any]) -> str:
    memory = resources.get("memory", 0) / 2**30
    return (
        f"num_cpus={resources.get('CPU', 0):g}, num_gpus={resources.get('GPU', 0):g}, "
        f"memory={memory:.1f}GB"
    )
