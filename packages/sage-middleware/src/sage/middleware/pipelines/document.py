"""A YAML file as plain values, with the line that each value stands on.

PyYAML's own loader forgets the lines and lets the last of two equal keys win in silence; both
matter to somebody who looks for a mistake.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sage.common.errors import DataError, Problem

__all__ = ["PipelineFile", "read_file"]


@dataclass(frozen=True)
class PipelineFile:
    """The content of a pipeline file.

    Attributes:
        path: The file, for messages.
        value: What it holds, as plain values.
        lines: Line (from 1) by path, such as ``pipeline.steps[0].with``.
        problems: What is wrong with the file as YAML: keys that appear twice.
    """

    path: str
    value: Any
    lines: dict[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def located(self, problem: Problem) -> Problem:
        """Return the problem with the line of its path, or of the nearest path around it."""
        path = problem.path
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        if not path:
            return problem
        return Problem(f"{problem.path} (line {self.lines[path]})", problem.message)


def read_file(path: str | os.PathLike[str], root: str = "pipeline") -> PipelineFile:
    """Read a YAML (or JSON) file.

    Args:
        path: The file.
        root: What paths into it start with.

    Raises:
        DataError: if it cannot be read or is not YAML; with line and column.
    """
    import yaml

    shown = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{shown!r} is not a text file: {error}", path=shown) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"cannot read the pipeline {shown!r}: {reason}", hint="check the path", path=shown
        ) from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise DataError(f"{shown} is not valid YAML: {_told(error)}", path=shown) from error
    reader = _Reader()
    value = None if node is None else reader.read(node, root)
    return PipelineFile(shown, value, reader.lines, tuple(reader.problems))


def _told(error: Any) -> str:
    """Return what PyYAML has to say as one line, with the place."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return str(error)
    return f"{error.problem} - at line {mark.line + 1}, column {mark.column + 1}"


class _Reader:
    """Turns YAML nodes into plain values and notes where they stand."""

    def __init__(self) -> None:
        import yaml

        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []
        self._scalars = yaml.constructor.SafeConstructor()
        self._yaml = yaml
        self._around: list[Any] = []

    def read(self, node: Any, path: str) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if node in self._around:
            self.problems.append(Problem(path, "an alias stands inside of its own anchor"))
            return None
        self._around.append(node)
        try:
            return self._value(node, path)
        finally:
            self._around.pop()

    def _value(self, node: Any, path: str) -> Any:
        if isinstance(node, self._yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, self._yaml.SequenceNode):
            return [self.read(item, f"{path}[{i}]") for i, item in enumerate(node.value)]
        try:
            return self._scalars.construct_object(node)
        except self._yaml.YAMLError:
            self.problems.append(Problem(path, f"{node.tag!r} is not a plain value"))
            return None

    def _mapping(self, node: Any, path: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(getattr(key_node, "value", ""))
            below = f"{path}.{key}"
            self.lines[below] = key_node.start_mark.line + 1
            if key in result:
                self.problems.append(Problem(below, f"the key {key!r} appears twice"))
            result[key] = self.read(value_node, below)
        return result
