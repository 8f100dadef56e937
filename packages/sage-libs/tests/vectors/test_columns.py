"""Filters by column say what the filter language says row by row."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sage.libs.vectors.columns import Columns
from sage.libs.vectors.filters import matches, parse_filter

BIG = 2**53
SCALARS = st.sampled_from([True, False, 0, 1, 2, 1.0, 0.5, "a", "1", "", BIG, BIG + 1, -BIG - 1])
NUMBERS = st.sampled_from([0, 1, 1.5, BIG, BIG + 1, -(10**30), float("inf")])
FIELDS = st.sampled_from("xy")
ROWS = st.lists(st.dictionaries(FIELDS, SCALARS), max_size=6)
OPERANDS = st.one_of(
    st.builds(lambda o, v: {o: v}, st.sampled_from(["$eq", "$ne"]), SCALARS),
    st.builds(lambda o, v: {o: v}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), NUMBERS),
    st.builds(lambda o, v: {o: v}, st.sampled_from(["$in", "$nin"]), st.lists(SCALARS, min_size=1)),
)
FILTERS = st.recursive(
    st.builds(lambda f, o: {f: o}, FIELDS, OPERANDS),
    lambda inner: st.builds(
        lambda o, parts: {o: parts},
        st.sampled_from(["$and", "$or"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=4,
)


@settings(max_examples=200)
@given(ROWS, ROWS, FILTERS, st.data())
def test_columns_say_what_rows_say(
    first: list[dict[str, Any]],
    later: list[dict[str, Any]],
    where: dict[str, Any],
    data: st.DataObject,
) -> None:
    """The mask is `matches` of each row, for columns made before, during and after changes."""
    rows = list(first)
    columns = Columns(rows)
    condition = parse_filter(where)
    assert condition is not None
    columns.matching(condition)
    rows.extend(later)
    columns.extend(later)
    if rows:
        row = data.draw(st.integers(0, len(rows) - 1))
        rows[row] = data.draw(st.dictionaries(FIELDS, SCALARS))
        columns.replace(row, rows[row])
    assert columns.matching(condition).tolist() == [matches(condition, row) for row in rows]
