"""``config={"fault_tolerance": {...}}``: what a job survives, frozen and checked at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sage.common.errors import ConfigError, Problem
from sage.common.suggestions import did_you_mean

if TYPE_CHECKING:
    from sage.kernel.restart import RestartStrategy

__all__ = ["FaultTolerance"]


@dataclass(frozen=True, kw_only=True)
class FaultTolerance:
    """Options of checkpoints and recovery.

    Args:
        checkpoint_dir: Folder or fsspec URL; each job has a folder of its name in it.
        checkpoint_interval: Seconds from the start of one checkpoint to that of the next.
        checkpoint_mode: "exactly_once", or "at_least_once", where a task with several inputs does
            not wait for the slower ones.
        checkpoint_timeout: Seconds after which a checkpoint is given up, and counted as failed.
        max_failed: So many checkpoints in a row may fail before the job does.
        retain: How many complete checkpoints are kept.
        restart: What to do when the job fails: {"strategy": "fixed" | "exponential" |
            "failure_rate", ...}; None leaves it failed, and the next run goes on where it was.
        restore_from: A savepoint or checkpoint to go on from if the job has none of its own yet.
        allow_non_replayable: Whether sources that cannot be read again are accepted.
        allow_dropped_state: Whether state of operators that are gone may be forgotten.
        fresh: Whether to start over, whatever was there.
        journal_dir: Local folder for journalled results; None is one beside the checkpoints.
        lease_s: A run that has given no sign of life for so long may be taken over, in seconds.
        strategy: "checkpoint"; there is no other.

    Example:
        >>> FaultTolerance.of({"checkpoint_dir": "/tmp/here", "checkpoint_interval": 5}).retain
        3
    """

    checkpoint_dir: str
    checkpoint_interval: float = 60.0
    checkpoint_mode: Literal["exactly_once", "at_least_once"] = "exactly_once"
    checkpoint_timeout: float = 600.0
    max_failed: int = 3
    retain: int = 3
    restart: RestartStrategy | None = None
    restore_from: str | None = None
    allow_non_replayable: bool = False
    allow_dropped_state: bool = False
    fresh: bool = False
    journal_dir: str | None = None
    lease_s: float = 30.0
    strategy: Literal["checkpoint"] = "checkpoint"

    @property
    def is_exact(self) -> bool:
        """Whether it promises exactly once."""
        return self.checkpoint_mode == "exactly_once"

    @classmethod
    def of(cls, given: Any, path: str = "$.fault_tolerance") -> FaultTolerance:
        """Return the options that a mapping means.

        Raises:
            ConfigError: with every unknown key and every wrong value.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise ConfigError("environment config", [Problem(path, "expected a mapping")])
        values, problems = dict(given), []
        known = list(cls.__dataclass_fields__)
        for name in [n for n in values if n not in known]:
            told = f"unknown key {name!r}{did_you_mean(name, known)}"
            problems.append(Problem(f"{path}.{name}", told))
            del values[name]
        if values.get("checkpoint_dir") is None:
            problems.append(
                Problem(f"{path}.checkpoint_dir", "say where checkpoints are to be kept")
            )
        for name, check in _CHECKS.items():
            if name not in values or (values[name] is None and name in _MAY_BE_NONE):
                continue
            if wrong := check(values[name]):
                problems.append(Problem(f"{path}.{name}", f"{wrong}, got {values[name]!r}"))
        if values.get("restart") is not None:
            from sage.kernel.restart import RestartStrategy

            try:
                values["restart"] = RestartStrategy.of(values["restart"], f"{path}.restart")
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError("environment config", problems)
        for name in ("checkpoint_dir", "restore_from", "journal_dir"):
            if values.get(name) is not None:
                values[name] = os.fspath(values[name])
        if values.get("journal_dir") is not None:
            values["journal_dir"] = os.path.expanduser(values["journal_dir"])
        return cls(**values)


def _seconds(value: Any) -> str | None:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e9
    return None if fits else "expected seconds above 0"


def _count(value: Any) -> str | None:
    return None if type(value) is int and value >= 1 else "expected a whole number of at least 1"


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "expected true or false"


def _path(value: Any) -> str | None:
    fits = isinstance(value, (str, os.PathLike)) and bool(os.fspath(value))
    return None if fits else "expected a path or URL"


def _folder_here(value: Any) -> str | None:
    fits = _path(value) is None and "://" not in os.fspath(value)
    return None if fits else "expected a folder on this machine"


def _one_of(*names: str) -> Callable[[Any], str | None]:
    return lambda value: None if value in names else f"expected {' or '.join(map(repr, names))}"


_MAY_BE_NONE = ("checkpoint_dir", "restore_from", "journal_dir")  # the first is missed elsewhere

_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "strategy": _one_of("checkpoint"),
    "checkpoint_mode": _one_of("exactly_once", "at_least_once"),
    "checkpoint_dir": _path,
    "restore_from": _path,
    "journal_dir": _folder_here,
    "checkpoint_interval": _seconds,
    "checkpoint_timeout": _seconds,
    "lease_s": _seconds,
    "max_failed": _count,
    "retain": _count,
    "allow_non_replayable": _flag,
    "allow_dropped_state": _flag,
    "fresh": _flag,
}
