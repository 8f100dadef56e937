"""Restart strategies: what they mean in a config, and how long they wait after each failure."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ConfigError
from sage.kernel.restart import (
    ExponentialRestart,
    FailureRateRestart,
    FixedRestart,
    RestartStrategy,
)


def delays(strategy: RestartStrategy, *failures_s: float) -> list[float | None]:
    restarts = strategy.begin()
    return [restarts.next_delay_s(now_s) for now_s in failures_s]


def test_nothing_means_that_a_job_is_not_restarted() -> None:
    """Without a strategy there is none, and the first failure ends the job."""
    assert RestartStrategy.of(None) is None


@pytest.mark.parametrize(
    ("config", "strategy"),
    [
        ({"strategy": "fixed"}, FixedRestart()),
        ({"strategy": "fixed", "max_attempts": 7}, FixedRestart(max_attempts=7)),
        ({"strategy": "exponential", "factor": 3}, ExponentialRestart(factor=3)),
        ({"strategy": "failure_rate", "within_s": 5}, FailureRateRestart(within_s=5)),
        (FixedRestart(delay_s=0), FixedRestart(delay_s=0)),
    ],
)
def test_a_config_says_which_strategy(config: Any, strategy: RestartStrategy) -> None:
    """A mapping gives the strategy that it names, with its defaults; a strategy stays itself."""
    assert RestartStrategy.of(config) == strategy


def test_all_problems_of_a_config_are_told_at_once() -> None:
    """Unknown keys are refused with a suggestion, wrong values with what was expected."""
    config = {"strategy": "fixed", "max_atempts": 3, "delay_s": -1, "max_attempts": 0}
    with pytest.raises(ConfigError) as caught:
        RestartStrategy.of(config, "$.fault_tolerance.restart")
    assert [tuple(problem) for problem in caught.value.problems] == [
        (
            "$.fault_tolerance.restart.max_atempts",
            "unknown key 'max_atempts'; did you mean 'max_attempts'?",
        ),
        (
            "$.fault_tolerance.restart.max_attempts",
            "expected a whole number of at least 1, got 0",
        ),
        ("$.fault_tolerance.restart.delay_s", "expected finite seconds, 0 or more, got -1"),
    ]


@pytest.mark.parametrize("kind", ["fixd", None, ["fixed"]])
def test_an_unknown_strategy_is_refused(kind: Any) -> None:
    """A strategy that is none names those there are."""
    with pytest.raises(ConfigError, match=r"'fixed', 'exponential', 'failure_rate', got"):
        RestartStrategy.of({"strategy": kind})


def test_what_is_no_mapping_is_refused() -> None:
    """A bare name is no strategy: the message shows what was expected."""
    with pytest.raises(ConfigError, match="expected a mapping with 'strategy', or None, got 'fix"):
        RestartStrategy.of("fixed")


@pytest.mark.parametrize("value", [True, "1", float("nan"), float("inf"), None])
def test_a_pause_is_a_finite_number(value: Any) -> None:
    """What cannot be waited for is refused, in the constructor as in a mapping."""
    with pytest.raises(ConfigError, match="delay_s"):
        FixedRestart(delay_s=value)
    with pytest.raises(ConfigError, match="delay_s"):
        RestartStrategy.of({"strategy": "fixed", "delay_s": value})


def test_a_fixed_strategy_gives_up_after_its_attempts() -> None:
    """It restarts exactly ``max_attempts`` times, however far apart the failures are."""
    strategy = FixedRestart(max_attempts=2, delay_s=0.5)
    assert delays(strategy, 0, 1e6, 2e6, 3e6) == [0.5, 0.5, None, None]


def test_pauses_grow_up_to_the_longest() -> None:
    """An exponential strategy never gives up and never waits longer than it may."""
    strategy = ExponentialRestart(max_delay_s=5, jitter=0)
    assert delays(strategy, 0, 1, 3, 7, 12, 17) == [1, 2, 4, 5, 5, 5]


def test_pauses_stay_finite() -> None:
    """A job that fails for years still waits no longer than it may."""
    assert set(delays(ExponentialRestart(factor=1e300, jitter=0), *range(9))) == {1.0, 60.0}


def test_a_job_that_ran_well_starts_over() -> None:
    """The time that the job ran counts, not the pause before it."""
    strategy = ExponentialRestart(jitter=0, reset_after_s=10)
    # Its pauses end at 1, 12.9 and 24, so it ran for 9.9, 10.1 and 9 seconds.
    assert delays(strategy, 0, 10.9, 23, 33) == [1, 2, 1, 2]


def test_two_jobs_with_one_strategy_fail_apart() -> None:
    """A strategy is a value: what a job has been through is not in it."""
    strategy = FixedRestart(max_attempts=1)
    assert delays(strategy, 0, 1) == delays(strategy, 0, 1) == [1.0, None]


@given(jitter=st.floats(0, 1), failures=st.integers(1, 20))
def test_jitter_only_shortens_a_pause(jitter: float, failures: int) -> None:
    """With jitter a pause is between its share and the pause without jitter."""
    plain = delays(ExponentialRestart(jitter=0), *range(failures))
    for shortened, whole in zip(
        delays(ExponentialRestart(jitter=jitter), *range(failures)), plain, strict=True
    ):
        assert shortened is not None
        assert whole is not None
        assert whole * (1 - jitter) <= shortened <= whole


@given(
    most=st.integers(1, 5),
    within_s=st.integers(0, 20),
    gaps=st.lists(st.integers(0, 15), min_size=1, max_size=30),
)
def test_a_failure_rate_counts_what_lies_in_its_span(
    most: int, within_s: int, gaps: list[int]
) -> None:
    """The job ends with the failure that makes more than allowed within any span."""
    failures_s = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    strategy = FailureRateRestart(max_failures=most, within_s=within_s, delay_s=2)
    expected = [
        None if sum(now - within_s <= at for at in failures_s[: n + 1]) > most else 2
        for n, now in enumerate(failures_s)
    ]
    assert delays(strategy, *failures_s) == expected
