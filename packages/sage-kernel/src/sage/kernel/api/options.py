"""The options that every verb takes, told apart from the arguments of the user's class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sage.common.suggestions import did_you_mean
from sage.kernel.config import error_policy
from sage.kernel.errors import GraphError

__all__ = ["key_strategy", "only_options", "split_options"]

_COMMON = ("name", "uid", "parallelism", "resources", "on_error", "executor")
_EXECUTORS = (None, "thread", "process", "async")
_RESOURCES = {"num_cpus", "num_gpus", "memory"}


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a verb's keyword arguments into its own options and those of the user's class.

    Raises:
        ConfigError: if ``on_error`` is no policy.
        GraphError: if ``executor`` or a resource is unknown.
    """
    common = {name: value for name, value in options.items() if name in _COMMON}
    if common.get("on_error") is not None:
        common["on_error"] = error_policy(common["on_error"])
    if common.get("executor") not in _EXECUTORS:
        raise GraphError(f"executor must be thread, process or async, got {common['executor']!r}")
    unknown = set(common.get("resources") or {}) - _RESOURCES
    if unknown:
        raise GraphError(
            f"unknown resources {sorted(unknown)}; known are {', '.join(sorted(_RESOURCES))}"
        )
    return common, {name: value for name, value in options.items() if name not in _COMMON}


def only_options(verb: str, options: Mapping[str, Any], *own: str) -> dict[str, Any]:
    """Return the options of a verb that makes nothing of a user's class.

    Args:
        verb: Named in the error.
        options: What the verb was given.
        own: What only this verb has, to suggest it.

    Raises:
        ConfigError: if ``on_error`` is no policy.
        GraphError: if an option, ``executor`` or a resource is unknown.
    """
    common, others = split_options(options)
    for name in others:
        raise GraphError(
            f"{verb} has no option {name!r}{did_you_mean(name, (*own, *_COMMON))}",
        )
    return common


def key_strategy(strategy: str) -> None:
    """Refuse what is no way to bring equal keys together.

    Raises:
        GraphError: if it is not ``hash``; it names the verb for what was meant.
    """
    if strategy == "hash":
        return
    verb = {"rebalance": "rebalance", "round_robin": "rebalance", "broadcast": "broadcast"}
    hint = None
    if strategy in verb:
        hint = f"to spread records without keys: stream.{verb[strategy]}()"
    raise GraphError(f"key_by has the strategy 'hash', got {strategy!r}", hint=hint)
