"""The engine's options: frozen, typed, checked where they enter, all problems at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sage.common.errors import ConfigError, Problem
from sage.common.suggestions import did_you_mean

if TYPE_CHECKING:
    from sage.kernel.fault_tolerance import FaultTolerance

__all__ = ["EngineConfig", "ErrorAction", "ErrorPolicy", "RetryPolicy", "error_policy"]

ErrorAction = Literal["fail", "skip", "dead_letter"]
_ACTIONS = ("fail", "skip", "dead_letter")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Calls a function again when it raised, with growing pauses, before giving up.

    Args:
        max_attempts: Calls in all, the first included.
        delay_s: Pause before the second call, in seconds.
        backoff: Factor by which the pause grows.
        max_delay_s: Longest pause.
        jitter: Share of the pause that is random, 0 to 1, so that many do not retry at once.
        retry_on: Exceptions worth another call; others give up at once.
        then: What happens to the record when the last call raised too.

    Example:
        >>> RetryPolicy(max_attempts=3, delay_s=1.0, jitter=0.0).pause_s(2)
        2.0
    """

    max_attempts: int = 3
    delay_s: float = 0.1
    backoff: float = 2.0
    max_delay_s: float = 30.0
    jitter: float = 0.1
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    then: ErrorAction = "fail"

    def __post_init__(self) -> None:
        problems = []
        if self.max_attempts < 1:
            problems.append(
                Problem("$.max_attempts", f"must be at least 1, got {self.max_attempts}")
            )
        if self.delay_s < 0 or self.max_delay_s < 0:
            problems.append(Problem("$.delay_s", "pauses must not be negative"))
        if self.backoff < 1:
            problems.append(Problem("$.backoff", f"must be at least 1, got {self.backoff}"))
        if not 0 <= self.jitter <= 1:
            problems.append(Problem("$.jitter", f"must be between 0 and 1, got {self.jitter}"))
        if self.then not in _ACTIONS:
            problems.append(Problem("$.then", f"must be one of {_ACTIONS}, got {self.then!r}"))
        if problems:
            raise ConfigError("RetryPolicy", problems)

    def pause_s(self, attempt: int) -> float:
        """Return the pause after attempt number ``attempt`` (from 1) failed, in seconds."""
        pause = min(self.delay_s * self.backoff ** (attempt - 1), self.max_delay_s)
        return pause * (1 - self.jitter * random.random())


@dataclass(frozen=True)
class ErrorPolicy:
    """What happens to a record whose function raised: first retries, then an action."""

    action: ErrorAction = "fail"
    retry: RetryPolicy | None = None


def error_policy(value: str | RetryPolicy | ErrorPolicy, path: str = "on_error") -> ErrorPolicy:
    """Return the policy that ``on_error`` means.

    Raises:
        ConfigError: if it is none of "fail", "skip", "dead_letter" or a `RetryPolicy`.
    """
    if isinstance(value, ErrorPolicy):
        return value
    if isinstance(value, RetryPolicy):
        return ErrorPolicy(value.then, value)
    if value in _ACTIONS:
        return ErrorPolicy(value)  # type: ignore[arg-type]
    suggestion = did_you_mean(value, _ACTIONS) if isinstance(value, str) else ""
    raise ConfigError(
        "error policy",
        [
            Problem(
                path,
                f"expected {', '.join(_ACTIONS)} or a RetryPolicy, got {value!r}{suggestion}",
            )
        ],
    )


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Options of an environment.

    Args:
        parallelism: Subtasks of an operator that says nothing of its own; "auto" chooses for each.
        batch_size: Most records in a batch, on Ray 4096 by default; batches are smaller while
            records come slowly.
        linger_ms: Longest time that a record waits at an edge for its batch to fill.
        channel_batches: Batches that a channel holds before its sender waits (its credits).
        on_error: Policy of operators that say nothing of their own.
        inline: Whether simple functions may be written into the loop; it changes no result.
        max_dead_letters: Most dead letters kept; one more fails the job, none is dropped.
        sample_trace: Share of a source's records that are followed through the graph, 0 to 1.
        max_traces: Most finished traces kept; the newest are.
        execution_mode: "local", or "distributed" for the Ray runtime.
        ray: Arguments of ``ray.init``.
        state_backend: Where functions on keyed streams keep their state: "heap", or "disk" for
            state larger than memory.
        state_dir: Folder for state on disk, with room for it; None is the system's place for
            temporary files.
        clock: Processing time for timers and timeouts; None for the system's. A test gives
            `sage.kernel.testing.ManualClock`.
        worker_timeout_s: Seconds without a sign of life after which a worker process or an actor is
            killed, and the job fails or is started again; None waits for ever. Longer than any call
            that holds the interpreter's lock, in an extension module say.
        fault_tolerance: Checkpoints and recovery, see `FaultTolerance`; None for none.
    """

    parallelism: int | Literal["auto"] = 1
    batch_size: int = 1024
    linger_ms: float = 5.0
    channel_batches: int = 8
    on_error: ErrorPolicy = ErrorPolicy()
    inline: bool = True
    max_dead_letters: int = 100_000
    sample_trace: float = 0.0
    max_traces: int = 1000
    execution_mode: Literal["local", "distributed"] = "local"
    ray: Mapping[str, Any] | None = None
    state_backend: Literal["heap", "disk"] = "heap"
    state_dir: str | None = None
    clock: Callable[[], float] | None = None
    worker_timeout_s: float | None = 120.0
    fault_tolerance: FaultTolerance | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any] | None) -> EngineConfig:
        """Return the options that a mapping means.

        Raises:
            ConfigError: with every unknown key and every wrong value.
        """
        values = dict(config or {})
        problems = []
        if values.get("fault_tolerance") is not None:
            from sage.kernel.fault_tolerance import FaultTolerance

            try:
                values["fault_tolerance"] = FaultTolerance.of(values["fault_tolerance"])
            except ConfigError as error:
                problems += error.problems
                del values["fault_tolerance"]
        known = list(cls.__dataclass_fields__)
        for name in [n for n in values if n not in known]:
            problems.append(
                Problem(f"$.{name}", f"unknown key {name!r}{did_you_mean(name, known)}")
            )
            del values[name]
        if "on_error" in values:
            try:
                values["on_error"] = error_policy(values["on_error"], "$.on_error")
            except ConfigError as error:
                problems += error.problems
        for name, check in _CHECKS.items():
            if name in values and (wrong := check(values[name])):
                problems.append(Problem(f"$.{name}", f"{wrong}, got {values[name]!r}"))
        if values.get("execution_mode") == "distributed":
            # A batch between processes costs as much as a thousand records in it.
            values.setdefault("batch_size", 4096)
        if values.get("sample_trace") and values.get("execution_mode") == "distributed":
            told = "records are not traced on Ray yet; leave it out"
            problems.append(Problem("$.sample_trace", told))
        if values.get("clock") and values.get("execution_mode") == "distributed":
            problems.append(Problem("$.clock", "a clock cannot be driven on Ray; leave it out"))
        if problems:
            raise ConfigError("environment config", problems)
        return cls(**values)


def _whole(value: Any) -> str | None:
    return None if type(value) is int and value >= 1 else "expected a whole number of at least 1"


def _milliseconds(value: Any) -> str | None:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9
    return None if fits else "expected finite milliseconds, 0 or more"


def _seconds(value: Any) -> str | None:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e9
    return None if fits or value is None else "expected finite seconds above 0, or none"


def _share(value: Any) -> str | None:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
    return None if fits else "expected a share from 0 to 1"


_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "parallelism": lambda v: None if v == "auto" else _whole(v),
    "batch_size": _whole,
    "channel_batches": _whole,
    "max_dead_letters": _whole,
    "max_traces": _whole,
    "sample_trace": _share,
    "linger_ms": _milliseconds,
    "worker_timeout_s": _seconds,
    "inline": lambda v: None if isinstance(v, bool) else "expected true or false",
    "execution_mode": lambda v: (
        None if v in ("local", "distributed") else "expected 'local' or 'distributed'"
    ),
    "state_backend": lambda v: None if v in ("heap", "disk") else "expected 'heap' or 'disk'",
    "state_dir": lambda v: None if v is None or isinstance(v, str) else "expected a path",
    "clock": lambda v: None if v is None or callable(v) else "expected a clock",
    "ray": lambda v: None if v is None or isinstance(v, Mapping) else "expected a mapping",
}
