"""Medians, spread and paired ratios."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.statistics import paired_ratios, percentile, summary

numbers = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50)


@given(numbers)
def test_the_middle_percentile_is_the_median(values: list[float]) -> None:
    """percentile(0.5) and the standard library's median are the same number."""
    assert percentile(values, 0.5) == pytest.approx(statistics.median(values))


@given(numbers, st.floats(0, 1), st.floats(0, 1))
def test_percentiles_rise_with_the_share(values: list[float], a: float, b: float) -> None:
    """A larger share never has a smaller percentile, and the ends are the extremes."""
    low, high = sorted((a, b))
    assert percentile(values, low) <= percentile(values, high) * (1 + 1e-12)
    assert percentile(values, 0) == min(values)
    assert percentile(values, 1) == max(values)


def test_percentile_refuses_what_has_no_answer() -> None:
    """No values, or a share outside 0 to 1, is an error and not a number."""
    with pytest.raises(ValueError, match="no percentile"):
        percentile([], 0.5)
    with pytest.raises(ValueError, match="no percentile"):
        percentile([1.0], 1.5)


def test_summary_states_the_noise() -> None:
    """One outlier moves the extremes and neither the median nor the quartiles' distance much."""
    found = summary([10.0, 11.0, 12.0, 13.0, 90.0])
    assert (found.median, found.low, found.high, found.count) == (12.0, 10.0, 90.0, 5)
    assert found.iqr == 2.0


def test_a_machine_that_slows_down_does_not_change_paired_ratios() -> None:
    """When both sides of a round take twice as long, the round's ratio stays."""
    assert paired_ratios([1.0, 2.0], [0.5, 1.0]) == [2.0, 2.0]
