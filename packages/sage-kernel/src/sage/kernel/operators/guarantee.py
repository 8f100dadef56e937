"""How often a record reaches a sink's target when the job fails in between and goes on.

It follows from what the sink can do and from the job's ``checkpoint_mode``; this is the one place
that decides. What it says holds for sources that can be replayed.

* A `TransactionalSink` shows its output with the checkpoint that covers it: *exactly once*.
* A sink with ``idempotent = True`` writes a record again to where it was, so that writing it twice
  is as writing it once: *effectively once*.
* Any other sink, a plain callable too, may have written records behind the last checkpoint, which
  come again: *at least once*. So may every sink in the mode "at_least_once".
* Without checkpoints a failed job does not go on: what it had not written is not written, *at most
  once*. Running it again is another job, which writes everything again.
"""

from __future__ import annotations

import inspect
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sage.kernel.operators.sink import SinkOperator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sage.kernel.operators.function_spec import FunctionSpec
    from sage.kernel.operators.operator import Operator

__all__ = ["Guarantee", "guarantee_of", "guarantees_of"]

_PHASES = ("begin", "prepare", "commit", "abort")


class Guarantee(StrEnum):
    """How often a record reaches a sink's target."""

    EXACTLY_ONCE = "exactly once"
    EFFECTIVELY_ONCE = "effectively once (idempotent)"
    AT_LEAST_ONCE = "at least once"
    AT_MOST_ONCE = "at most once (no checkpoints)"


def guarantee_of(operator: Operator, checkpoint_mode: str | None) -> Guarantee | None:
    """Return what a sink guarantees, or None for an operator that is none.

    Args:
        operator: Any operator.
        checkpoint_mode: ``"exactly_once"``, ``"at_least_once"``, or None without checkpoints.

    Example:
        >>> from sage.kernel.operators.function_spec import SINK, FunctionSpec
        >>> sink = SinkOperator(function=FunctionSpec(SINK, print))
        >>> str(guarantee_of(sink, "exactly_once")), str(guarantee_of(sink, None))
        ('at least once', 'at most once (no checkpoints)')
    """
    if not isinstance(operator, SinkOperator):
        return None
    if checkpoint_mode is None:
        return Guarantee.AT_MOST_ONCE
    sink = _sink(operator.function)
    is_transactional = all(callable(getattr(sink, phase, None)) for phase in _PHASES)
    if is_transactional and checkpoint_mode == "exactly_once":
        return Guarantee.EXACTLY_ONCE
    if getattr(sink, "idempotent", False) is True:
        return Guarantee.EFFECTIVELY_ONCE
    return Guarantee.AT_LEAST_ONCE


def guarantees_of(
    operators: Iterable[tuple[str, Operator]], checkpoint_mode: str | None
) -> dict[str, Guarantee]:
    """Return what each sink among operators guarantees, by the uid that they come with."""
    said = ((uid, guarantee_of(operator, checkpoint_mode)) for uid, operator in operators)
    return {uid: guarantee for uid, guarantee in said if guarantee is not None}


def _sink(spec: FunctionSpec) -> Any:
    """Return the sink with its options where making it is cheap, else its class."""
    target = spec.target
    if inspect.isclass(target) and hasattr(target.__init__, "__sage_configurable__"):
        return spec.live().owner
    return target
