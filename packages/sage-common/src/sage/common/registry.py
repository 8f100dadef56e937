"""Finds components by their short names; entry points fill it.

A package registers what it has in its ``pyproject.toml``, once::

    [project.entry-points."sage.operators"]
    dense_retriever = "sage.middleware.operators.rag.retrievers:DenseRetriever"

Nothing is imported until a component is asked for by name. From the class come its config schema
(`sage.common.config.config_schema`) and its one-line summary, so that YAML files, listings, forms
and error messages all speak from one declaration.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any

from sage.common.errors import DuplicateNameError, MissingExtraError, UnknownNameError
from sage.common.suggestions import did_you_mean

__all__ = ["GROUPS", "Registry", "registry"]

GROUPS = (
    "apps",
    "benchmarks",
    "chunkers",
    "embedders",
    "generators",
    "operators",
    "sinks",
    "sources",
    "vector_stores",
)


class Registry:
    """The components of one group, by name.

    Args:
        group: One of `GROUPS`; its entry-point group is ``sage.<group>``.
    """

    def __init__(self, group: str) -> None:
        self.group = group
        self._added: dict[str, Any] = {}

    @functools.cached_property
    def _entry_points(self) -> dict[str, Any]:
        from importlib.metadata import entry_points

        found: dict[str, Any] = {}
        for entry in entry_points(group=f"sage.{self.group}"):
            other = found.get(entry.name)
            if other is not None and other.value != entry.value:
                raise DuplicateNameError(
                    f"two {self.group} are called {entry.name!r}: {other.value} and {entry.value}",
                    hint="uninstall one of the two packages",
                    name=entry.name,
                )
            found[entry.name] = entry
        return found

    def names(self) -> list[str]:
        """Return every registered name, sorted."""
        return sorted({*self._entry_points, *self._added})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._added or name in self._entry_points

    def add(self, name: str, component: Any) -> None:
        """Register a component of this process, such as a class of a script.

        Raises:
            DuplicateNameError: if the name is taken by something else.
        """
        if name in self and self.get(name) is not component:
            raise DuplicateNameError(
                f"{name!r} is already registered among the {self.group}: {self.get(name)!r}",
                name=name,
            )
        self._added[name] = component

    def get(self, name: str) -> Any:
        """Return the component registered under ``name``, importing it now.

        Raises:
            UnknownNameError: if nothing is; it suggests the nearest name.
            MissingExtraError: if its module needs a package that is not installed.
        """
        if name in self._added:
            return self._added[name]
        entry = self._entry_points.get(name)
        if entry is None:
            raise UnknownNameError(
                f"unknown name {name!r} among the {self.group}{did_you_mean(name, self.names())}",
                name=name,
                group=self.group,
            )
        try:
            return entry.load()
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing in ("", "sage"):
                raise
            raise MissingExtraError(missing, extra=_extra_hint(entry)) from error

    def summary(self, name: str) -> str:
        """Return the first line of the component's docstring."""
        return (inspect.getdoc(self.get(name)) or "").partition("\n")[0]


def _extra_hint(entry: Any) -> str:
    return str(entry.dist.name) if entry.dist is not None else entry.value.partition(":")[0]


@functools.cache
def registry(group: str) -> Registry:
    """Return the registry of a group, the same object each time.

    Example:
        >>> registry("operators").group
        'operators'

    Raises:
        UnknownNameError: if there is no such group.
    """
    if group not in GROUPS:
        raise UnknownNameError(
            f"unknown registry {group!r}{did_you_mean(group, GROUPS)}", name=group
        )
    return Registry(group)
