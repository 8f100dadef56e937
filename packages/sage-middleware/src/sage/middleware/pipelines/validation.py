"""From plain values to a `PipelineDefinition`, or to every problem at once, each with its path.

Nothing is built and nothing of the pipeline runs; components are imported to read their options.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sage.common.config import check_config
from sage.common.core.functions import BatchFunction, SinkFunction, SourceFunction
from sage.common.errors import ConfigError, Problem, SageError
from sage.common.registry import registry
from sage.common.suggestions import did_you_mean
from sage.middleware.pipelines.definition import (
    ComponentUse,
    ErrorPolicy,
    PipelineDefinition,
    StepUse,
    Verb,
)
from sage.middleware.pipelines.document import PipelineFile

__all__ = ["read_definition"]

_PIPELINE_KEYS = ("name", "source", "steps", "sink", "fault_tolerance")
_COMPONENT_KEYS = ("use", "with", "name", "uid")
_STEP_KEYS = (*_COMPONENT_KEYS, "parallelism", "on_error")
_HERE = "${here}"


def read_definition(file: PipelineFile) -> PipelineDefinition:
    """Check the content of a pipeline file against the registry.

    Raises:
        ConfigError: with every problem, its path and its line.
    """
    check = _Check(str(Path(file.path).resolve().parent))
    definition = check.pipeline(file.value, Path(file.path).stem)
    problems = [*file.problems, *check.problems]
    if problems or definition is None:
        raise ConfigError(file.path, [file.located(problem) for problem in problems])
    return definition


class _Check:
    """Walks the values, collects problems and returns what it could make of each part."""

    def __init__(self, here: str) -> None:
        self.here = here
        self.problems: list[Problem] = []

    def pipeline(self, value: Any, default_name: str) -> PipelineDefinition | None:
        mapping = self._mapping(value, "pipeline", _PIPELINE_KEYS, required=("source", "sink"))
        if mapping is None:
            return None
        name = self._text(mapping.get("name", default_name), "pipeline.name")
        source = self._source(mapping["source"]) if "source" in mapping else None
        steps = self._steps(mapping.get("steps", []))
        sink = (
            self._component(mapping["sink"], "pipeline.sink", "sinks", SinkFunction)
            if "sink" in mapping
            else None
        )
        fault_tolerance = self._fault_tolerance(mapping.get("fault_tolerance"))
        if name is None or source is None or steps is None or sink is None:
            return None
        return PipelineDefinition(name, source, steps, sink, fault_tolerance)

    def _source(self, value: Any) -> ComponentUse | tuple[Any, ...] | None:
        path = "pipeline.source"
        if isinstance(value, Mapping) and "records" in value:
            self._mapping(value, path, ("records",))
            if isinstance(value["records"], list):
                return tuple(value["records"])
            self._expected(f"{path}.records", "a list of records", value["records"])
            return None
        return self._component(value, path, "sources", (SourceFunction, BatchFunction))

    def _fault_tolerance(self, value: Any) -> Mapping[str, Any] | None:
        from sage.kernel.fault_tolerance import FaultTolerance

        path = "pipeline.fault_tolerance"
        options = _placed(value, self.here)
        if value is not None:
            try:
                FaultTolerance.of(options, path)
            except ConfigError as error:
                self.problems += error.problems
        return options  # type: ignore[no-any-return]

    def _steps(self, value: Any) -> tuple[StepUse, ...] | None:
        if not isinstance(value, list):
            self._expected("pipeline.steps", "a list of steps", value)
            return None
        steps = [self._step(item, f"pipeline.steps[{i}]") for i, item in enumerate(value)]
        return tuple(step for step in steps if step is not None)

    def _step(self, value: Any, path: str) -> StepUse | None:
        verbs = [verb.value for verb in Verb]
        if not isinstance(value, Mapping) or len(value) != 1:
            self._expected(path, f"one of {', '.join(verbs)} with an operator", value)
            return None
        ((verb_name, operator),) = value.items()
        if verb_name not in verbs:
            suggestion = did_you_mean(str(verb_name), verbs)
            self._problem(f"{path}.{verb_name}", f"unknown verb {verb_name!r}{suggestion}")
            return None
        verb, below = Verb(verb_name), f"{path}.{verb_name}"
        use = self._component(operator, below, "operators", verb.function_class, _STEP_KEYS)
        options = operator if isinstance(operator, Mapping) else {}
        parallelism = self._parallelism(options.get("parallelism"), f"{below}.parallelism")
        on_error = self._policy(options.get("on_error"), f"{below}.on_error")
        return None if use is None else StepUse(verb, use, parallelism, on_error)

    def _component(
        self,
        value: Any,
        path: str,
        group: str,
        kind: type | tuple[type, ...],
        keys: tuple[str, ...] = _COMPONENT_KEYS,
    ) -> ComponentUse | None:
        given = {"use": value} if isinstance(value, str) else value
        mapping = self._mapping(given, path, keys, required=("use",))
        if mapping is None or "use" not in mapping:
            return None
        name = self._text(mapping["use"], f"{path}.use")
        label = self._text(mapping["name"], f"{path}.name") if "name" in mapping else None
        uid = self._text(mapping["uid"], f"{path}.uid") if "uid" in mapping else None
        config = self._config(mapping.get("with"), f"{path}.with")
        component = None if name is None else self._registered(name, f"{path}.use", group, kind)
        if name is None or config is None or component is None:
            return None
        if inspect.isclass(component) and not _takes_any_config(component):
            self.problems += check_config(component, config, f"{path}.with")
        return ComponentUse(group, name, config, label, uid)

    def _registered(
        self, name: str, path: str, group: str, kind: type | tuple[type, ...]
    ) -> Any | None:
        """Return the component, or None after noting why there is none of that kind."""
        try:
            component = registry(group).get(name)
        except SageError as error:
            other = _group_of(name)
            if other is not None:
                self._problem(path, f"{name!r} is one of the {other}, not of the {group}")
            else:
                self._problem(path, error.message + (f"; {error.hint}" if error.hint else ""))
            return None
        if inspect.isclass(component) and not issubclass(component, kind):
            expected = kind if isinstance(kind, type) else kind[0]
            self._problem(
                path,
                f"{name!r} cannot stand here: expected a {expected.__name__}, "
                f"and it is a {_kind_name(component)}",
            )
            return None
        return component

    def _config(self, value: Any, path: str) -> dict[str, Any] | None:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self._expected(path, "a mapping of options", value)
            return None
        return {str(key): _placed(item, self.here) for key, item in value.items()}

    def _mapping(
        self, value: Any, path: str, keys: tuple[str, ...], required: tuple[str, ...] = ()
    ) -> Mapping[str, Any] | None:
        if not isinstance(value, Mapping):
            self._expected(path, f"a mapping with {', '.join(required or keys)}", value)
            return None
        for key in value:
            if key not in keys:
                suggestion = did_you_mean(str(key), keys)
                self._problem(f"{path}.{key}", f"unknown key {key!r}{suggestion}")
        for key in required:
            if key not in value:
                self._problem(path, f"{key!r} is required and missing")
        return value

    def _text(self, value: Any, path: str) -> str | None:
        if isinstance(value, str) and value:
            return value
        self._expected(path, "a name", value)
        return None

    def _parallelism(self, value: Any, path: str) -> int | None:
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
            return value
        self._expected(path, "a number of 1 or more", value)
        return None

    def _policy(self, value: Any, path: str) -> ErrorPolicy | None:
        names = [policy.value for policy in ErrorPolicy]
        if value is None:
            return None
        if value in names:
            return ErrorPolicy(value)
        self._expected(path, f"one of {', '.join(names)}", value)
        return None

    def _expected(self, path: str, what: str, value: Any) -> None:
        self._problem(path, f"expected {what}, got {type(value).__name__}: {value!r:.80}")

    def _problem(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))


def _takes_any_config(component: type) -> bool:
    """Tell whether the constructor takes one free-form ``config`` and checks it itself."""
    parameters = list(inspect.signature(component).parameters.values())
    return [p.name for p in parameters] == ["config"] or any(
        p.kind is p.VAR_KEYWORD for p in parameters
    )


def _group_of(name: str) -> str | None:
    groups = ("sources", "operators", "sinks")
    return next((group for group in groups if name in registry(group)), None)


def _kind_name(component: type) -> str:
    kinds = (c.__name__ for c in component.__mro__ if c.__module__.startswith("sage.common.core"))
    return next(kinds, component.__name__)


def _placed(value: Any, here: str) -> Any:
    """Put the directory of the file in place of ``${here}``, the one thing that is filled in."""
    if isinstance(value, str):
        return value.replace(_HERE, here)
    if isinstance(value, list):
        return [_placed(item, here) for item in value]
    if isinstance(value, Mapping):
        return {key: _placed(item, here) for key, item in value.items()}
    return value
