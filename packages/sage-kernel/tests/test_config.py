"""The options of an environment are checked where they enter, all at once."""

from __future__ import annotations

import os
from typing import Any

import pytest

from sage.common.errors import ConfigError
from sage.kernel import LocalEnvironment, RetryPolicy
from sage.kernel.config import EngineConfig, ErrorPolicy, error_policy
from sage.kernel.errors import GraphError


def test_all_problems_are_told_at_once() -> None:
    """Every unknown key and every wrong value is listed, with its path and a suggestion."""
    with pytest.raises(ConfigError) as caught:
        LocalEnvironment(
            config={"paralelism": 2, "batch_size": 0, "linger_ms": -1, "on_error": "skipp"}
        )
    assert {p.path for p in caught.value.problems} == {
        "$.paralelism", "$.batch_size", "$.linger_ms", "$.on_error",
    }  # fmt: skip
    assert "did you mean 'parallelism'?" in str(caught.value)
    assert "did you mean 'skip'?" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("parallelism", [0, -1, 1.5, True, "two", None]),
        ("batch_size", [0, 1.0, "many", None]),
        ("channel_batches", [0, False]),
        ("linger_ms", [-0.1, float("nan"), float("inf"), "soon", True]),
        ("on_error", ["ignore", 3, None]),
        ("max_dead_letters", [0, "all"]),
        ("execution_mode", ["cloud", None]),
        ("ray", [3, "auto"]),
        ("worker_timeout_s", [0, -1, float("nan"), "soon", True]),
    ],
)
def test_wrong_values_are_refused(name: str, values: list[Any]) -> None:
    """A value outside of its type or range names its key."""
    for value in values:
        with pytest.raises(ConfigError, match=name):
            EngineConfig.of({name: value})


def test_checkpoints_need_a_place() -> None:
    """A job that asks for fault tolerance never runs without it unnoticed."""
    with pytest.raises(ConfigError, match=r"\$\.fault_tolerance\.checkpoint_dir"):
        LocalEnvironment(config={"fault_tolerance": {"strategy": "checkpoint"}})


def test_a_journal_may_be_kept_at_home() -> None:
    """``~`` is the user's home, as in ``checkpoint_dir``, and no folder of that name."""
    config = {"checkpoint_dir": "~/here", "journal_dir": "~/there"}
    survives = EngineConfig.of({"fault_tolerance": config}).fault_tolerance
    assert survives is not None
    assert survives.journal_dir == os.path.expanduser("~/there")


def test_options_of_verbs_are_checked_when_built() -> None:
    """A verb refuses what it does not know before anything runs."""
    numbers = LocalEnvironment().from_collection([1])
    with pytest.raises(GraphError, match="executor must be"):
        numbers.map(str, executor="gpu")
    with pytest.raises(GraphError, match="unknown resources"):
        numbers.map(str, resources={"gpus": 1})
    with pytest.raises(GraphError, match="parallelism"):
        numbers.map(str, parallelism=0)
    with pytest.raises(ConfigError, match="on_error"):
        numbers.map(str, on_error="retry")
    for build in (
        lambda: numbers.map_batches(list, max_size=0),
        lambda: numbers.gather(abs, 0),
        lambda: numbers.iterate(lambda s: s),
        lambda: numbers.route({}),
        lambda: numbers.key_by(abs).join(numbers.key_by(abs), how="outer"),  # type: ignore[arg-type]
        lambda: numbers.union(LocalEnvironment().from_collection([1])),
    ):
        with pytest.raises(GraphError):
            build()


def test_an_empty_pipeline_and_a_uid_twice_are_refused() -> None:
    """What cannot run is refused with the reason."""
    with pytest.raises(GraphError, match="is empty"):
        LocalEnvironment("nothing").execute()
    env = LocalEnvironment()
    env.from_collection([1], uid="a").map(str, uid="a").sink(print)
    with pytest.raises(GraphError, match="2 operators have this uid"):
        env.explain()


def test_a_retry_policy_checks_its_numbers() -> None:
    """All that is wrong with a policy is said at once; pauses grow up to a limit."""
    with pytest.raises(ConfigError) as caught:
        RetryPolicy(max_attempts=0, backoff=0.5, jitter=2.0, then="stop")  # type: ignore[arg-type]
    assert len(caught.value.problems) == 4
    policy = RetryPolicy(delay_s=1.0, backoff=3.0, max_delay_s=5.0, jitter=0.0)
    assert [policy.pause_s(n) for n in (1, 2, 3)] == [1.0, 3.0, 5.0]
    jittered = RetryPolicy(delay_s=1.0, jitter=0.5)
    assert all(0.5 <= jittered.pause_s(1) <= 1.0 for _ in range(100))


def test_a_policy_is_a_word_or_a_retry_policy() -> None:
    """``on_error`` takes the three words, a retry policy, or a whole policy."""
    assert error_policy("skip") == ErrorPolicy("skip")
    retry = RetryPolicy(then="dead_letter")
    assert error_policy(retry) == ErrorPolicy("dead_letter", retry)
    assert error_policy(ErrorPolicy("fail")) == ErrorPolicy("fail")
