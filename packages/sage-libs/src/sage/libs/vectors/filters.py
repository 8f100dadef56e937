"""One filter language for every store: Chroma's ``where``.

::

    {"source": "a.md"}                                    equal
    {"page": {"$gte": 2, "$lt": 5}}                       all of them
    {"doc_id": {"$in": ["a", "b"]}, "draft": False}       all of them
    {"$or": [{"page": 1}, {"title": {"$ne": "Index"}}]}

Operators: ``$eq $ne $gt $gte $lt $lte $in $nin`` on a field, ``$and $or`` on filters. A missing
field matches ``$ne`` and ``$nin`` and nothing else; 1 and 1.0 are equal, 1 and True are not;
``$gt`` and its like compare numbers. Chroma evaluates a filter itself (`to_chroma`), the other
stores in Python (`matches`); the conformance suite holds them to the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sage.common.errors import ConfigError, Problem
from sage.common.suggestions import did_you_mean

__all__ = ["Comparison", "Filter", "Group", "matches", "parse_filter", "to_chroma"]

_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$gt": lambda a, b: a > b,
    "$gte": lambda a, b: a >= b,
    "$lt": lambda a, b: a < b,
    "$lte": lambda a, b: a <= b,
}
_OPERATORS: Final = ("$eq", "$ne", *_ORDER, "$in", "$nin")
_GROUPS: Final = ("$and", "$or")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field compared with a value (a tuple of values for ``$in`` and ``$nin``)."""

    field: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class Group:
    """Filters of which all (``$and``) or any (``$or``) must match."""

    operator: str
    parts: tuple[Filter, ...]


Filter = Comparison | Group


def parse_filter(where: Mapping[str, Any] | None) -> Filter | None:
    """Return a checked filter, or None where there is nothing to filter.

    Raises:
        ConfigError: with everything that is wrong and where: unknown operators (with a
            suggestion), values of a wrong type, empty lists.

    Example:
        >>> parse_filter({"page": {"$gte": 2}})
        Comparison(field='page', operator='$gte', value=2)
        >>> parse_filter({"page": {"$gtt": 2}})
        Traceback (most recent call last):
        sage.common.errors.ConfigError: filter: unknown operator '$gtt'; did you mean '$gt'? ...
    """
    if where is None or where == {}:
        return None
    problems: list[Problem] = []
    parts = tuple(_parsed(where, "$", problems))
    if problems:
        raise ConfigError("filter", problems)
    return parts[0] if len(parts) == 1 else Group("$and", parts)


def _parsed(where: Any, path: str, problems: list[Problem]) -> Iterator[Filter]:
    if not isinstance(where, Mapping) or not where:
        problems.append(Problem(path, f"expected a mapping that is not empty, got {where!r:.100}"))
        return
    for key, value in where.items():
        below = f"{path}.{key}"
        if not isinstance(key, str):
            problems.append(Problem(path, f"expected the name of a field, got {key!r}"))
        elif key in _GROUPS:
            yield from _parsed_group(key, value, below, problems)
        elif key.startswith("$"):
            problems.append(Problem(path, f"unknown operator {key!r}{did_you_mean(key, _GROUPS)}"))
        elif isinstance(value, Mapping):
            if not value:
                problems.append(Problem(below, "expected an operator, got an empty mapping"))
            for operator, operand in value.items():
                yield from _parsed_comparison(key, operator, operand, below, problems)
        else:
            yield from _parsed_comparison(key, "$eq", value, below, problems)


def _parsed_group(
    operator: str, value: Any, path: str, problems: list[Problem]
) -> Iterator[Filter]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence) or not value:
        problems.append(Problem(path, f"expected a list of filters, got {value!r:.100}"))
        return
    parts = []
    for number, item in enumerate(value):
        found = tuple(_parsed(item, f"{path}[{number}]", problems))
        if found:
            parts.append(found[0] if len(found) == 1 else Group("$and", found))
    if parts:
        yield parts[0] if len(parts) == 1 else Group(operator, tuple(parts))


def _parsed_comparison(
    field: str, operator: Any, value: Any, path: str, problems: list[Problem]
) -> Iterator[Filter]:
    if operator not in _OPERATORS:
        known = did_you_mean(str(operator), _OPERATORS)
        problems.append(Problem(path, f"unknown operator {operator!r}{known}"))
        return
    if operator in ("$in", "$nin"):
        listed = isinstance(value, (list, tuple, set, frozenset)) and len(value) > 0
        if not listed or not all(isinstance(v, (str, int, float)) for v in value):
            problems.append(
                Problem(
                    path,
                    f"{operator} takes a list of scalars that is not empty, got {value!r:.100}",
                )
            )
            return
        yield Comparison(field, operator, tuple(value))
        return
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    if operator in _ORDER and not numeric:
        problems.append(Problem(path, f"{operator} compares numbers, got {value!r:.100}"))
    elif not isinstance(value, (str, int, float)):
        problems.append(
            Problem(path, f"expected text, a number or a boolean, got {type(value).__name__}")
        )
    else:
        yield Comparison(field, operator, value)


def matches(condition: Filter, metadata: Mapping[str, Any]) -> bool:
    """Return whether a row's metadata satisfies a filter.

    Example:
        >>> condition = parse_filter({"$or": [{"page": 1}, {"title": {"$ne": "Index"}}]})
        >>> [matches(condition, m) for m in ({"page": 1.0}, {"page": 2, "title": "Index"}, {})]
        [True, False, True]
    """
    if isinstance(condition, Group):
        every = all if condition.operator == "$and" else any
        return every(matches(part, metadata) for part in condition.parts)
    value = metadata.get(condition.field)
    match condition.operator:
        case "$eq":
            return _equal(value, condition.value)
        case "$ne":
            return not _equal(value, condition.value)
        case "$in":
            return any(_equal(value, item) for item in condition.value)
        case "$nin":
            return not any(_equal(value, item) for item in condition.value)
        case ordering:
            numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
            return numeric and _ORDER[ordering](value, condition.value)


def _equal(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def to_chroma(condition: Filter) -> dict[str, Any]:
    """Return a filter as Chroma takes it: one operator a mapping, one type a list.

    Example:
        >>> to_chroma(parse_filter({"page": {"$gt": 1, "$lt": 3}}))
        {'$and': [{'page': {'$gt': 1}}, {'page': {'$lt': 3}}]}
    """
    if isinstance(condition, Group):
        return {condition.operator: [to_chroma(part) for part in condition.parts]}
    if condition.operator not in ("$in", "$nin"):
        return {condition.field: {condition.operator: condition.value}}
    by_type: dict[type, list[Any]] = {}
    for value in condition.value:
        by_type.setdefault(type(value), []).append(value)
    lists = [{condition.field: {condition.operator: values}} for values in by_type.values()]
    if len(lists) == 1:
        return lists[0]
    return {"$or" if condition.operator == "$in" else "$and": lists}
