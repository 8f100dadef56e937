"""Typed configuration: the keyword arguments of a constructor *are* the config.

A component declares its options once, as an annotated ``__init__``. ``@configurable`` turns that
signature into a checked, documented config: values are validated where they enter, all problems
are reported together with their paths, an unknown key is refused with a suggestion, and
``config_schema`` gives the JSON Schema from which YAML checks, command-line listings and forms are
made. Inside the component everything has its declared type.

    >>> @configurable
    ... class Retriever:
    ...     '''Finds passages.
    ...
    ...     Args:
    ...         top_k: How many passages to return.
    ...     '''
    ...
    ...     def __init__(self, *, top_k: Annotated[int, Meta(ge=1)] = 5, model: str = "m") -> None:
    ...         self.top_k = top_k
    >>> Retriever(top_k=3).top_k
    3
    >>> Retriever(topk=0)
    Traceback (most recent call last):
    sage.common.errors.ConfigError: Retriever: unknown key 'topk'; did you mean 'top_k'? - at $.topk
    >>> config_schema(Retriever)["properties"]["top_k"]
    {'type': 'integer', 'minimum': 1, 'default': 5, 'description': 'How many passages to return.'}
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from msgspec import Meta

from sage.common._option import Option, options_of
from sage.common.errors import ConfigError, DataError, Problem
from sage.common.suggestions import did_you_mean

__all__ = ["Annotated", "Meta", "check_config", "config_schema", "configurable", "load_config"]

C = TypeVar("C", bound=type)


def configurable(cls: C) -> C:
    """Make the keyword arguments of ``cls.__init__`` a validated config (class decorator).

    Positional arguments are taken by the same names. Values of plain types (numbers, text, lists,
    mappings, literals and unions of them) are checked against their annotation and its
    ``msgspec.Meta`` constraints; other annotations are checked with ``isinstance`` where they can
    be.

    Raises:
        ConfigError: from the constructor, with every problem at once.
    """
    original = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(original)

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **options: Any) -> None:
        names = list(signature.parameters)[1:]
        if len(args) > len(names):
            raise ConfigError(
                cls.__name__,
                [Problem("$", f"takes at most {len(names)} arguments, got {len(args)}")],
            )
        given = dict(zip(names, args, strict=False))
        problems = [Problem(f"$.{n}", "given twice") for n in given if n in options]
        given.update(options)
        values, found = _validated(cls, given)
        if problems or found:
            raise ConfigError(cls.__name__, problems + found)
        original(self, **values)

    __init__.__sage_configurable__ = True  # type: ignore[attr-defined]
    cls.__init__ = __init__  # type: ignore[misc]
    return cls


def _validated(cls: type, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    options = options_of(cls)
    problems = []
    values: dict[str, Any] = {}
    for name, value in given.items():
        option = options.get(name)
        if option is None:
            problems.append(
                Problem(f"$.{name}", f"unknown key {name!r}{did_you_mean(name, options)}")
            )
            continue
        try:
            values[name] = option.converted(value)
        except ValueError as error:
            problems.append(Problem(f"$.{name}{_deeper(error)}", str(error.args[0])))
    for name, option in options.items():
        if option.required and name not in given:
            problems.append(Problem(f"$.{name}", f"{name!r} is required and missing"))
    return values, problems


def _deeper(error: ValueError) -> str:
    return error.args[1] if len(error.args) > 1 else ""


def check_config(cls: type, config: Mapping[str, Any], path: str = "$") -> list[Problem]:
    """Return what is wrong with ``config`` as the options of ``cls``, building nothing.

    Args:
        cls: A class with annotated constructor options, decorated or not.
        config: The options.
        path: Where the config stands in its file; the problems' paths start with it.
    """
    _, problems = _validated(cls, config)
    return [Problem(path + p.path.removeprefix("$"), p.message) for p in problems]


def config_schema(cls: type) -> dict[str, Any]:
    """Return the JSON Schema of the options of ``cls``, with defaults and descriptions.

    Options that only a program can give (an object, a callable) are left out.
    """
    options: dict[str, Option] = options_of(cls)
    properties = {name: o.schema for name, o in options.items() if o.schema is not None}
    required = [name for name, o in options.items() if o.required and o.schema is not None]
    schema: dict[str, Any] = {
        "title": cls.__name__,
        "description": inspect.getdoc(cls).splitlines()[0] if inspect.getdoc(cls) else "",  # type: ignore[union-attr]
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return {**schema, "required": required} if required else schema


def load_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML, JSON or TOML file that holds a mapping.

    Raises:
        DataError: if the file is missing, cannot be parsed (with line and column where known), or
            holds something else than a mapping.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read the config file {str(file)!r}: {error}", path=str(file)
        ) from error
    try:
        loaded = _parsed(file.suffix.lower(), text)
    except ValueError as error:
        raise DataError(f"{file}: not a valid config file: {error}", path=str(file)) from error
    if not isinstance(loaded, dict):
        raise DataError(
            f"{file}: expected a mapping at the top, got {type(loaded).__name__}", path=str(file)
        )
    return loaded


def _parsed(suffix: str, text: str) -> Any:
    if suffix == ".toml":
        import tomllib

        return tomllib.loads(text)
    if suffix == ".json":
        import json

        return json.loads(text)
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
