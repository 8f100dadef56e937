"""Metadata by column, so that a filter looks at each distinct value once and not at each row.

A `Column` holds the distinct values of one field, and for each row the number of its value; a
comparison is decided on the values and read off for the rows, as in a dictionary-encoded column of
Parquet or Arrow. The invariant: for every filter, `Columns.matching` is what
`sage.libs.vectors.filters.matches` says row by row.

A column is made when a filter first asks for its field (0.2 us a row) and kept up to date from then
on: 100,000 rows are filtered in less than 0.1 ms, where asking every row takes 20.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from sage.libs.vectors.filters import Comparison, Filter, Group, matches
from sage.libs.vectors.store import Scalar

__all__ = ["Columns", "GrowingArray"]

Mask = npt.NDArray[np.bool_]
_T = TypeVar("_T", bound=np.generic)
_MISSING: Final = -1
_ORDER: Final = {"$gt": np.greater, "$gte": np.greater_equal, "$lt": np.less, "$lte": np.less_equal}


class GrowingArray(Generic[_T]):
    """An array that is appended to; like a list, it doubles its room when that is full.

    Example:
        >>> numbers = GrowingArray(np.int32)
        >>> numbers.extend([1, 2, 3])
        >>> numbers.view.tolist()
        [1, 2, 3]
    """

    def __init__(self, dtype: type[_T]) -> None:
        self._room: npt.NDArray[_T] = np.empty(16, dtype=dtype)
        self._used = 0

    @property
    def view(self) -> npt.NDArray[_T]:
        """What is in it; writing into it writes into the array."""
        return self._room[: self._used]

    def extend(self, values: Sequence[Any] | npt.NDArray[Any]) -> None:
        """Append values."""
        used = self._used + len(values)
        if used > len(self._room):
            room = np.empty(max(used, 2 * len(self._room)), dtype=self._room.dtype)
            room[: self._used] = self.view
            self._room = room
        self._room[self._used : used] = values
        self._used = used


class _Column:
    """One field of all rows: its distinct values, and which of them each row has."""

    def __init__(self, values: Iterable[Scalar | None]) -> None:
        self._values: list[Scalar] = []
        self._code_of: dict[tuple[bool, Scalar], int] = {}
        self._codes = GrowingArray(np.int32)
        self._numbers = GrowingArray(np.float64)  # NaN, which no order holds for, where it is none
        self._exact = True
        self.extend(values)

    def extend(self, values: Iterable[Scalar | None]) -> None:
        self._codes.extend([self._code(value) for value in values])

    def replace(self, row: int, value: Scalar | None) -> None:
        self._codes.view[row] = self._code(value)

    def matching(self, condition: Comparison) -> Mask:
        codes, operator, value = self._codes.view, condition.operator, condition.value
        if operator in _ORDER:
            # The last place is where the code of a missing value points.
            return np.append(self._ordered(condition), False)[codes]
        wanted = [value] if operator in ("$eq", "$ne") else value
        found = [c for v in wanted if (c := self._code_of.get(_key(v))) is not None]
        equal = codes == found[0] if len(found) == 1 else np.isin(codes, found)
        return equal if operator in ("$eq", "$in") else ~equal

    def _ordered(self, condition: Comparison) -> Mask:
        if self._exact and _is_exact(condition.value):
            return _ORDER[condition.operator](self._numbers.view, float(condition.value))
        rows = ({condition.field: value} for value in self._values)
        return np.fromiter((matches(condition, row) for row in rows), dtype=np.bool_)

    def _code(self, value: Scalar | None) -> int:
        if value is None:
            return _MISSING
        code = self._code_of.setdefault(_key(value), len(self._values))
        if code == len(self._values):
            self._values.append(value)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            self._exact &= not number or _is_exact(value)
            self._numbers.extend([value if number else np.nan])
        return code


class Columns:
    """The columns of some rows' metadata, each made when it is first asked for.

    Asking is safe from several threads; extending and replacing are for one that is alone.

    Example:
        >>> from sage.libs.vectors.filters import parse_filter
        >>> rows = [{"page": 1}, {"page": 2}, {}]
        >>> columns = Columns(rows)
        >>> columns.matching(parse_filter({"page": {"$gt": 1}})).tolist()
        [False, True, False]
        >>> rows.append({"page": 7})
        >>> columns.extend(rows[3:])
        >>> columns.matching(parse_filter({"page": {"$gt": 1}})).tolist()
        [False, True, False, True]

    Args:
        rows: The metadata by row; whoever adds to it calls `extend` too.
    """

    def __init__(self, rows: Sequence[Mapping[str, Scalar]]) -> None:
        self._rows = rows
        self._columns: dict[str, _Column] = {}

    def extend(self, rows: Sequence[Mapping[str, Scalar]]) -> None:
        """Take note of rows that were appended."""
        for field, column in self._columns.items():
            column.extend(row.get(field) for row in rows)

    def replace(self, row: int, metadata: Mapping[str, Scalar]) -> None:
        """Take note of a row that has other metadata now."""
        for field, column in self._columns.items():
            column.replace(row, metadata.get(field))

    def matching(self, condition: Filter) -> Mask:
        """Return bool [rows]: which rows satisfy the filter."""
        if isinstance(condition, Group):
            joined = np.logical_and if condition.operator == "$and" else np.logical_or
            mask: Mask = joined.reduce([self.matching(part) for part in condition.parts])
            return mask
        column = self._columns.get(condition.field)
        if column is None:
            # Two threads may make the same column; each is complete before it is seen.
            column = _Column(row.get(condition.field) for row in self._rows)
            self._columns[condition.field] = column
        return column.matching(condition)


def _key(value: Scalar) -> tuple[bool, Scalar]:
    """Return what tells values apart: 1 and 1.0 are one value, 1 and True are two."""
    return isinstance(value, bool), value


def _is_exact(number: Scalar) -> bool:
    """Return whether a number is the same as a double; integers beyond 2**53 may not be."""
    return not isinstance(number, int) or abs(number) <= 2**53
