"""What assigners and triggers are made of is checked when they are made: seconds and counts."""

from __future__ import annotations

import math
from datetime import timedelta

from sage.kernel.errors import GraphError

__all__ = ["check_count", "check_seconds"]


def check_seconds(
    owner: str,
    name: str,
    value: object,
    *,
    above: float | None = None,
    at_least: float | None = None,
) -> None:
    """Raise if ``value`` is no time in seconds.

    Args:
        owner: Whose argument it is.
        name: The argument's name.
        value: What was given.
        above: It must be more than this, if it must.
        at_least: It must not be less than this, if it must not.

    Raises:
        GraphError: if it is no int or float, not finite, or too small.
    """
    if isinstance(value, timedelta):
        raise GraphError(
            f"{owner}: {name} wants seconds, got {value!r}",
            hint=f"{name}={value.total_seconds():g}",
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise GraphError(
            f"{owner}: {name} wants seconds, got {value!r:.80}", hint="an int or a float"
        )
    if not math.isfinite(value):
        endless = value == math.inf and owner.endswith("Window")
        hint = "GlobalWindow() is the window without an end" if endless else None
        raise GraphError(f"{owner}: {name} must be finite, got {value!r}", hint=hint)
    if above is not None and value <= above:
        raise GraphError(
            f"{owner}: {name} must be above {above:g}, got {value!r}",
        )
    if at_least is not None and value < at_least:
        raise GraphError(f"{owner}: {name} must be at least {at_least:g}, got {value!r}")


def check_count(owner: str, name: str, value: object) -> None:
    """Raise if ``value`` is no number of records.

    Raises:
        GraphError: if it is no whole number of at least 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise GraphError(
            f"{owner}: {name} wants a number of records, got {value!r:.80}",
            hint="a whole number of at least 1",
        )
    if value < 1:
        raise GraphError(f"{owner}: {name} must be at least 1, got {value}")
