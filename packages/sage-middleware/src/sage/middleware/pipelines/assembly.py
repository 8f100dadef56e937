"""From a pipeline file to a job on the kernel."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sage.common.registry import registry
from sage.middleware.pipelines.definition import ComponentUse, PipelineDefinition, StepUse, Verb
from sage.middleware.pipelines.document import read_file
from sage.middleware.pipelines.validation import read_definition

if TYPE_CHECKING:
    from sage.kernel import LocalEnvironment

__all__ = ["build_pipeline", "load_pipeline"]


def load_pipeline(path: str | os.PathLike[str]) -> PipelineDefinition:
    """Read and check a pipeline file; nothing is built.

    Args:
        path: The file.

    Raises:
        DataError: if it cannot be read or is not YAML.
        ConfigError: with every problem at once, each with its path and line.
    """
    return read_definition(read_file(path))


def build_pipeline(definition: PipelineDefinition) -> LocalEnvironment:
    """Put a pipeline on the kernel; ``execute()`` of what is returned runs it.

    Raises:
        SageError: if a component refuses its config, such as a generator without its key.
    """
    from sage.kernel import LocalEnvironment

    survives = definition.fault_tolerance
    env = LocalEnvironment(definition.name, survives and {"fault_tolerance": survives})
    if isinstance(definition.source, ComponentUse):
        source = definition.source
        stream = env.from_source(_component(source), dict(source.config), **_named(source))
    else:
        stream = env.from_collection(definition.source)
    for step in definition.steps:
        stream = _verb(stream, step.verb)(
            _component(step.operator), dict(step.operator.config), **_options(step)
        )
    sink = definition.sink
    stream.sink(_component(sink), dict(sink.config), **_named(sink))
    return env


def _verb(stream: Any, verb: Verb) -> Callable[..., Any]:
    verbs: dict[Verb, Callable[..., Any]] = {
        Verb.MAP: stream.map,
        Verb.FILTER: stream.filter,
        Verb.FLAT_MAP: stream.flat_map,
    }
    return verbs[verb]


def _options(step: StepUse) -> dict[str, Any]:
    options = _named(step.operator)
    if step.parallelism is not None:
        options["parallelism"] = step.parallelism
    if step.on_error is not None:
        options["on_error"] = step.on_error.value
    return options


def _component(use: ComponentUse) -> Any:
    return registry(use.group).get(use.use)


def _named(use: ComponentUse) -> dict[str, Any]:
    return {"name": use.name or use.use, "uid": use.uid}
