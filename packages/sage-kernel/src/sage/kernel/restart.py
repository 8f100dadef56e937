"""How often a failed job is started again, and how long it waits before: restart strategies.

A strategy is a frozen value and says only what was configured; `RestartStrategy.begin` gives what
remembers the failures of one job. It is told the time with each failure and never looks at a clock
or sleeps: who asks it waits. Invariant: the same strategy, asked at the same times, answers the
same, jitter apart, and that only ever makes a pause shorter.

The three kinds are Flink's: a fixed number of attempts, pauses that grow, and a limit on how many
failures a span of time may see.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sage.common.errors import ConfigError, Problem
from sage.common.suggestions import did_you_mean

__all__ = [
    "ExponentialRestart",
    "FailureRateRestart",
    "FixedRestart",
    "RestartStrategy",
    "Restarts",
]


class Restarts(Protocol):
    """The failures of one job so far."""

    def next_delay_s(self, now_s: float) -> float | None:
        """Count a failure and say how long to wait before the job is started again.

        Args:
            now_s: When it failed, in seconds by a clock that does not go back.

        Returns:
            The pause in seconds, or None to give up.
        """


class RestartStrategy(ABC):
    """What is done when a job fails; None in a config stands for giving up at once.

    Example:
        >>> strategy = RestartStrategy.of({"strategy": "fixed", "max_attempts": 2})
        >>> strategy
        FixedRestart(max_attempts=2, delay_s=1.0)
        >>> failures = strategy.begin()
        >>> [failures.next_delay_s(now_s) for now_s in (10.0, 20.0, 30.0)]
        [1.0, 1.0, None]
    """

    @abstractmethod
    def begin(self) -> Restarts:
        """Return the memory of a job that has not failed yet."""

    @classmethod
    def of(cls, config: Any, path: str = "$.restart") -> RestartStrategy | None:
        """Return the strategy that a config means, or None for none.

        Args:
            config: A mapping with ``strategy`` ("fixed", "exponential" or "failure_rate") and the
                fields of that strategy; or a strategy; or None.
            path: Where it stands in the whole config, for errors.

        Raises:
            ConfigError: with every unknown key and every wrong value.
        """
        if config is None or isinstance(config, RestartStrategy):
            return config
        if not isinstance(config, Mapping):
            problem = Problem(path, f"expected a mapping with 'strategy', or None, got {config!r}")
            raise ConfigError("restart strategy", [problem])
        values = dict(config)
        kind = values.pop("strategy", None)
        if not isinstance(kind, str) or kind not in _STRATEGIES:
            raise ConfigError("restart strategy", [_unknown_strategy(kind, path)])
        strategy = _STRATEGIES[kind]
        if problems := _problems(strategy, values, path):
            raise ConfigError("restart strategy", problems)
        return strategy(**values)


@dataclass(frozen=True, kw_only=True)
class FixedRestart(RestartStrategy):
    """Starts the job again so many times, after the same pause each.

    Args:
        max_attempts: Restarts in all; the failure after the last one ends the job.
        delay_s: Pause before each, in seconds.
    """

    max_attempts: int = 3
    delay_s: float = 1.0

    def __post_init__(self) -> None:
        _check(self)

    def begin(self) -> Restarts:
        """Return the memory of a job that has not failed yet."""
        return _FixedRestarts(self)


@dataclass(frozen=True, kw_only=True)
class ExponentialRestart(RestartStrategy):
    """Starts the job again for ever, after pauses that grow while it keeps failing.

    Args:
        initial_delay_s: Pause after the first failure, in seconds.
        max_delay_s: Longest pause.
        factor: By how much each pause is longer than the one before.
        jitter: Share of the pause that is random, 0 to 1, so that many jobs that failed together
            do not come back together.
        reset_after_s: A job that ran so long since it was to start again counts as well, and its
            next failure as the first.

    Example:
        >>> failures = ExponentialRestart(factor=3, max_delay_s=5, jitter=0).begin()
        >>> [failures.next_delay_s(now_s) for now_s in (0, 2, 6)]
        [1.0, 3.0, 5]
    """

    initial_delay_s: float = 1.0
    max_delay_s: float = 60.0
    factor: float = 2.0
    jitter: float = 0.1
    reset_after_s: float = 600.0

    def __post_init__(self) -> None:
        _check(self)

    def begin(self) -> Restarts:
        """Return the memory of a job that has not failed yet."""
        return _ExponentialRestarts(self)


@dataclass(frozen=True, kw_only=True)
class FailureRateRestart(RestartStrategy):
    """Starts the job again unless it has failed too often lately.

    Args:
        max_failures: Failures that may fall within ``within_s``; one more ends the job.
        within_s: The span of time that is looked back on, in seconds.
        delay_s: Pause before each restart, in seconds.

    Example:
        >>> failures = FailureRateRestart(max_failures=2, within_s=60).begin()
        >>> [failures.next_delay_s(now_s) for now_s in (0, 50, 61, 100)]
        [1.0, 1.0, 1.0, None]
    """

    max_failures: int = 3
    within_s: float = 300.0
    delay_s: float = 1.0

    def __post_init__(self) -> None:
        _check(self)

    def begin(self) -> Restarts:
        """Return the memory of a job that has not failed yet."""
        return _FailureRateRestarts(self)


class _FixedRestarts:
    def __init__(self, strategy: FixedRestart) -> None:
        self._strategy = strategy
        self._attempts = 0

    def next_delay_s(self, now_s: float) -> float | None:
        self._attempts += 1
        return None if self._attempts > self._strategy.max_attempts else self._strategy.delay_s


class _ExponentialRestarts:
    def __init__(self, strategy: ExponentialRestart) -> None:
        self._strategy = strategy
        self._pause_s = strategy.initial_delay_s
        self._started_s = math.inf  # when the job was to start again

    def next_delay_s(self, now_s: float) -> float | None:
        strategy = self._strategy
        if now_s - self._started_s >= strategy.reset_after_s:
            self._pause_s = strategy.initial_delay_s
        pause_s = min(self._pause_s, strategy.max_delay_s)
        self._pause_s = pause_s * strategy.factor  # of what was waited, so it stays finite
        if strategy.jitter:
            pause_s *= 1 - strategy.jitter * random.random()
        self._started_s = now_s + pause_s
        return pause_s


class _FailureRateRestarts:
    def __init__(self, strategy: FailureRateRestart) -> None:
        self._strategy = strategy
        self._failures: deque[float] = deque(maxlen=strategy.max_failures + 1)

    def next_delay_s(self, now_s: float) -> float | None:
        strategy, failures = self._strategy, self._failures
        failures.append(now_s)
        too_many = len(failures) > strategy.max_failures
        if too_many and now_s - failures[0] <= strategy.within_s:
            return None
        return strategy.delay_s


def _number(low: float, expected: str, *, high: float = math.inf) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = fits and math.isfinite(value) and low <= value <= high
        return None if fits else f"expected {expected}, got {value!r}"

    return check


def _count(value: Any) -> str | None:
    fits = type(value) is int and value >= 1
    return None if fits else f"expected a whole number of at least 1, got {value!r}"


_seconds = _number(0, "finite seconds, 0 or more")

_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "max_attempts": _count,
    "max_failures": _count,
    "delay_s": _seconds,
    "initial_delay_s": _seconds,
    "max_delay_s": _seconds,
    "reset_after_s": _seconds,
    "within_s": _seconds,
    "factor": _number(1, "a finite number of at least 1"),
    "jitter": _number(0, "a share from 0 to 1", high=1),
}

_Strategy = FixedRestart | ExponentialRestart | FailureRateRestart
_STRATEGIES: dict[str, type[_Strategy]] = {
    "fixed": FixedRestart,
    "exponential": ExponentialRestart,
    "failure_rate": FailureRateRestart,
}


def _problems(strategy: type[_Strategy], values: Mapping[str, Any], path: str) -> list[Problem]:
    known = list(strategy.__dataclass_fields__)
    problems = [
        Problem(f"{path}.{name}", f"unknown key {name!r}{did_you_mean(name, known)}")
        for name in values
        if name not in known
    ]
    for name in known:
        if name in values and (wrong := _CHECKS[name](values[name])):
            problems.append(Problem(f"{path}.{name}", wrong))
    return problems


def _unknown_strategy(kind: Any, path: str) -> Problem:
    known = ", ".join(repr(name) for name in _STRATEGIES)
    suggestion = did_you_mean(kind, _STRATEGIES) if isinstance(kind, str) else ""
    return Problem(f"{path}.strategy", f"expected one of {known}, got {kind!r}{suggestion}")


def _check(strategy: _Strategy) -> None:
    if problems := _problems(type(strategy), vars(strategy), "$"):
        raise ConfigError(type(strategy).__name__, problems)
