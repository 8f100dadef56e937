"""Histograms of durations."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.kernel.metrics.histogram import Histogram


def histogram_of(durations: list[float]) -> Histogram:
    histogram = Histogram()
    for duration_s in durations:
        histogram.add(duration_s)
    return histogram


@given(
    st.lists(st.floats(1.01e-6, 999), min_size=1, max_size=60),
    st.sampled_from([0, 50, 95, 99, 100]),
)
def test_a_percentile_is_right_to_a_bucket(durations: list[float], percent: float) -> None:
    """A percentile is in the bucket of the duration that so many do not exceed."""
    exact = sorted(durations)[max(math.ceil(len(durations) * percent / 100), 1) - 1]
    bucket = 10 ** (1 / 12)
    assert exact / bucket * 0.999 <= histogram_of(durations).percentile(percent) <= exact * bucket


@given(st.lists(st.floats(0, 5000), max_size=40), st.lists(st.floats(0, 5000), max_size=40))
def test_a_sum_counts_what_its_parts_counted(some: list[float], others: list[float]) -> None:
    """Adding up histograms is the same as adding all durations to one."""
    total = Histogram.sum([histogram_of(some), histogram_of(others)])
    together = histogram_of(some + others)
    assert list(total.cumulative()) == list(together.cumulative())
    assert (total.count, total.longest_s) == (together.count, together.longest_s)
    assert total.mean_s == pytest.approx(together.mean_s)


@given(st.lists(st.floats(0, 5000), max_size=40))
def test_the_bounds_count_what_does_not_exceed_them(durations: list[float]) -> None:
    """Each cumulative count is the number of durations up to its bound; the last counts all."""
    for bound, count in histogram_of(durations).cumulative(step=1):
        clearly = [d for d in durations if not math.isclose(d, bound, rel_tol=1e-6)]
        near = len(durations) - len(clearly)
        below = sum(d < bound for d in clearly)
        assert below <= count <= below + near


def test_an_empty_histogram_has_no_times() -> None:
    """Without durations every percentile and the mean are 0."""
    assert set(Histogram().to_dict().values()) == {0}
