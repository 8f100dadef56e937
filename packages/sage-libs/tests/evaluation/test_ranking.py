"""The measures of a ranking."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.common.errors import ConfigError, DataError
from sage.libs.evaluation.ranking import (
    Interval,
    average_precision,
    bootstrap_difference,
    bootstrap_interval,
    ndcg_at_k,
    recall_at_k,
    reciprocal_rank,
)

RANKED = ["x", "a", "b", "y", "c"]
GRADES = {"a": 2, "b": 1, "c": 3, "z": 1, "x": 0}


def test_ndcg_by_hand() -> None:
    """The gain is the grade itself, divided by log2(1 + place), as trec_eval and BEIR do it."""
    log = math.log2
    gained = 2 / log(3) + 1 / log(4) + 3 / log(6)
    ideal = 3 / log(2) + 2 / log(3) + 1 / log(4) + 1 / log(5)
    assert ndcg_at_k(RANKED, GRADES, 10) == pytest.approx(gained / ideal)
    at_3 = (2 / log(3) + 1 / log(4)) / (3 / log(2) + 2 / log(3) + 1 / log(4))
    assert ndcg_at_k(RANKED, GRADES, 3) == pytest.approx(at_3)


def test_the_binary_measures_by_hand() -> None:
    """Recall, reciprocal rank and average precision count any positive grade as relevant."""
    assert [recall_at_k(RANKED, GRADES, k) for k in (1, 2, 3, 5, 100)] == [0, 0.25, 0.5, 0.75, 0.75]
    assert reciprocal_rank(RANKED, GRADES) == 1 / 2
    assert reciprocal_rank(RANKED, GRADES, k=1) == 0
    assert average_precision(RANKED, GRADES) == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 4)
    assert average_precision(RANKED, GRADES, k=2) == pytest.approx(1 / 8)


@settings(max_examples=50)
@given(
    ranked=st.lists(st.integers(0, 20), unique=True),
    grades=st.dictionaries(st.integers(0, 20), st.integers(1, 3), min_size=1),
    k=st.integers(1, 25),
)
def test_measures_keep_their_range(ranked: list[int], grades: dict[int, int], k: int) -> None:
    """Each is 0 to 1, 1 for the ideal ranking, and never falls when a relevant item moves up."""
    ideal = sorted(grades, key=lambda item: -grades[item])
    for measure in (ndcg_at_k, recall_at_k, reciprocal_rank, average_precision):
        assert 0 <= measure(ranked, grades, k) <= 1 + 1e-12
        assert measure(ideal, grades, 25) == pytest.approx(1)
        for place in range(1, len(ranked)):
            if ranked[place] in grades and ranked[place - 1] not in grades:
                better = ranked.copy()
                better[place - 1], better[place] = ranked[place], ranked[place - 1]
                assert measure(better, grades, k) >= measure(ranked, grades, k) - 1e-12


def test_what_cannot_be_judged_is_refused() -> None:
    """No relevant item, an item ranked twice and no place at all are errors, never a number."""
    for measure in (ndcg_at_k, recall_at_k, reciprocal_rank, average_precision):
        with pytest.raises(DataError, match="nothing is relevant"):
            measure(["a"], {"a": 0}, 5)
        with pytest.raises(DataError, match="'a' is ranked twice"):
            measure(["a", "b", "a"], {"a": 1}, 5)
        with pytest.raises(ConfigError, match="at least 1"):
            measure(["a"], {"a": 1}, 0)


def test_an_interval_is_that_of_the_normal_distribution() -> None:
    """For many queries the bootstrap agrees with mean ± 1.96 standard errors; the seed fixes it."""
    values = [float(n % 10) for n in range(500)]
    error = math.sqrt(8.25 / 500)
    found = bootstrap_interval(values, resamples=4000)
    assert found == bootstrap_interval(values, resamples=4000)
    assert found.mean == pytest.approx(4.5)
    assert found.low == pytest.approx(4.5 - 1.96 * error, abs=0.03)
    assert found.high == pytest.approx(4.5 + 1.96 * error, abs=0.03)


def test_pairs_are_surer_than_two_means() -> None:
    """A small gain on every query is told from luck, although the two intervals overlap."""
    first = [n / 100 for n in range(100)]
    second = [value + 0.01 + 0.001 * (n % 2) for n, value in enumerate(first)]
    gain = bootstrap_difference(first, second)
    assert gain.excludes_zero
    assert gain.mean == pytest.approx(0.0105)
    assert bootstrap_interval(first).high > bootstrap_interval(second).low
    assert not bootstrap_difference(first, first[::-1]).excludes_zero
    assert bootstrap_difference(first, first) == Interval(0, 0, 0)


def test_what_cannot_be_resampled_is_refused() -> None:
    """No values, a NaN, sides of unequal length and bad options are errors."""
    for values in ([], [math.nan]):
        with pytest.raises(DataError, match="finite value for each query"):
            bootstrap_interval(values)
    with pytest.raises(DataError, match="got 1 and 2"):
        bootstrap_difference([1.0], [1.0, 2.0])
    with pytest.raises(ConfigError) as refused:
        bootstrap_interval([1.0], confidence=1, resamples=0)
    assert {problem.path for problem in refused.value.problems} == {"$.confidence", "$.resamples"}
