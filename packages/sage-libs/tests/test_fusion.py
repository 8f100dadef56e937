"""Joining rankings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ConfigError
from sage.libs.fusion import reciprocal_rank, weighted

RANKING = st.lists(st.sampled_from("abcdefgh"), unique=True)


def test_reciprocal_rank_is_the_formula() -> None:
    """Each ranking gives 1 / (60 + place)."""
    scores = dict(reciprocal_rank([["a", "b"], ["b"]]))
    assert scores == {"b": pytest.approx(1 / 62 + 1 / 61), "a": pytest.approx(1 / 61)}


def test_weights_and_k() -> None:
    """A weight scales what its ranking gives; a repeated item counts at its best place."""
    scores = dict(reciprocal_rank([["a", "a", "b"], ["b"]], k=0, weights=[2, 1]))
    assert scores == {"a": 2.0, "b": pytest.approx(2.0)}


@given(st.lists(RANKING, max_size=4))
def test_reciprocal_rank_keeps_everything(rankings: list[list[str]]) -> None:
    """Everything ranked is in the result once, scores falling, whatever order the legs have."""
    fused = reciprocal_rank(rankings)
    assert {item for item, _ in fused} == {item for ranking in rankings for item in ranking}
    values = [score for _, score in fused]
    assert values == sorted(values, reverse=True)
    other = dict(reciprocal_rank(rankings[::-1]))
    assert all(other[item] == pytest.approx(score) for item, score in fused)


@given(RANKING)
def test_one_ranking_stays_as_it_is(ranking: list[str]) -> None:
    """Fusing a single ranking does not change its order."""
    assert [item for item, _ in reciprocal_rank([ranking])] == ranking


def test_weighted_ignores_scale_and_offset() -> None:
    """Scores of a leg may have any unit: only their place between its extremes counts."""
    one = {"a": 0.9, "b": 0.5, "c": 0.1}
    scaled = {item: 1000 * score - 7 for item, score in one.items()}
    other = {"c": 3.0, "b": 2.0}
    expected = dict(weighted([one, other]))
    assert dict(weighted([scaled, other])) == {i: pytest.approx(s) for i, s in expected.items()}
    assert expected == {
        "a": pytest.approx(0.5),
        "c": pytest.approx(0.5),
        "b": pytest.approx(0.25),
    }


def test_weighted_with_equal_scores_and_empty_legs() -> None:
    """A leg of equal scores gives all of them the full share, an empty one nothing."""
    assert weighted([{"a": 2.0, "b": 2.0}, {}]) == [("a", 0.5), ("b", 0.5)]
    assert weighted([]) == []


def test_wrong_weights_are_refused() -> None:
    """As many weights as rankings, and not all of them zero."""
    with pytest.raises(ConfigError, match="expected 2"):
        reciprocal_rank([["a"], ["b"]], weights=[1])
    with pytest.raises(ConfigError, match="more than 0"):
        weighted([{"a": 1.0}], weights=[0])
