"""The JSON Schema of the pipeline format, made of the registry, for editors and other checks."""

from __future__ import annotations

import inspect
from typing import Any

from sage.common.config import config_schema
from sage.common.errors import MissingExtraError
from sage.common.registry import registry
from sage.middleware.pipelines.definition import ErrorPolicy, Verb

__all__ = ["pipeline_schema"]


def pipeline_schema() -> dict[str, Any]:
    """Return the schema, with the config of every registered source, operator and sink.

    Example:
        >>> sorted(pipeline_schema()["properties"])
        ['fault_tolerance', 'name', 'sink', 'source', 'steps']
    """
    records = {
        "type": "object",
        "properties": {"records": {"type": "array"}},
        "required": ["records"],
        "additionalProperties": False,
    }
    steps = [
        {
            "type": "object",
            "properties": {verb.value: _components("operators", verb.function_class, step=True)},
            "required": [verb.value],
            "additionalProperties": False,
        }
        for verb in Verb
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "SAGE pipeline",
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "What the job is called."},
            "source": {"anyOf": [records, _components("sources")]},
            "steps": {"type": "array", "items": {"anyOf": steps}},
            "sink": _components("sinks"),
            "fault_tolerance": _fault_tolerance(),
        },
        "required": ["source", "sink"],
        "additionalProperties": False,
    }


def _fault_tolerance() -> dict[str, Any]:
    """Return the schema of the options of checkpoints; what values mean is checked elsewhere."""
    from sage.kernel.fault_tolerance import FaultTolerance

    return {
        "type": "object",
        "description": "Makes checkpoints, so that the pipeline survives its process.",
        "properties": {name: {} for name in FaultTolerance.__dataclass_fields__},
        "required": ["checkpoint_dir"],
        "additionalProperties": False,
    }


def _components(group: str, kind: type | None = None, *, step: bool = False) -> dict[str, Any]:
    """Return the schema of "one of the components of a group", by name or with its config."""
    names: list[str] = []
    uses: list[dict[str, Any]] = []
    for name in registry(group):
        component = _loaded(group, name)
        if kind is not None and inspect.isclass(component) and not issubclass(component, kind):
            continue
        names.append(name)
        uses.append(_use(name, component, step))
    return {"anyOf": [{"enum": names}, *uses]}


def _use(name: str, component: Any, step: bool) -> dict[str, Any]:
    config = config_schema(component) if inspect.isclass(component) else {"type": "object"}
    properties: dict[str, Any] = {
        "use": {"const": name},
        "with": config,
        "name": {"type": "string", "description": "What plans and metrics call it."},
        "uid": {"type": "string", "description": "What checkpoints find its state by."},
    }
    if step:
        properties["parallelism"] = {"type": "integer", "minimum": 1}
        properties["on_error"] = {"enum": [policy.value for policy in ErrorPolicy]}
    required = ["use", "with"] if config.get("required") else ["use"]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _loaded(group: str, name: str) -> Any:
    """Return the component, or None if the package that it needs is not installed."""
    try:
        return registry(group).get(name)
    except MissingExtraError:
        return None
