"""What a valid pipeline file says, as immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sage.common.core.functions import FilterFunction, FlatMapFunction, MapFunction

__all__ = ["ComponentUse", "ErrorPolicy", "PipelineDefinition", "StepUse", "Verb"]


class Verb(StrEnum):
    """What a step does with the stream; the verbs of ``DataStream`` that take one function."""

    MAP = "map"
    FILTER = "filter"
    FLAT_MAP = "flat_map"

    @property
    def function_class(self) -> type:
        """The class that an operator of this verb extends."""
        return {
            Verb.MAP: MapFunction,
            Verb.FILTER: FilterFunction,
            Verb.FLAT_MAP: FlatMapFunction,
        }[self]


class ErrorPolicy(StrEnum):
    """What happens to a record that an operator fails on."""

    FAIL = "fail"
    SKIP = "skip"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class ComponentUse:
    """A registered component and its config.

    Attributes:
        group: The registry group: sources, operators or sinks.
        use: The registered name.
        config: Keyword arguments of its constructor, already checked.
        name: What the operator is called in plans and metrics; its registered name by default.
        uid: What checkpoints find its state by; by default the place in the file.
    """

    group: str
    use: str
    config: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    uid: str | None = None


@dataclass(frozen=True, slots=True)
class StepUse:
    """A verb and the operator it is given."""

    verb: Verb
    operator: ComponentUse
    parallelism: int | None = None
    on_error: ErrorPolicy | None = None


@dataclass(frozen=True, slots=True)
class PipelineDefinition:
    """A pipeline: where records come from, what happens to them, where they go.

    Attributes:
        name: What the job is called.
        source: The source, or the records themselves.
        steps: What happens to each record, in order.
        sink: Where the results go.
        fault_tolerance: Options of checkpoints, already checked; None makes none.
    """

    name: str
    source: ComponentUse | tuple[Any, ...]
    steps: tuple[StepUse, ...]
    sink: ComponentUse
    fault_tolerance: Mapping[str, Any] | None = None
