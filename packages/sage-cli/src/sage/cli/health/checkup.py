"""All checks, in the order in which ``sage doctor`` shows them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial

from sage.cli.health import hardware, models, packages, surroundings
from sage.cli.health.finding import Finding, failed

__all__ = ["examine"]


def examine(home: str | os.PathLike[str] | None = None) -> list[Finding]:
    """Run every check; one that breaks is itself a finding."""
    checks: list[Callable[[], Iterable[Finding]]] = [
        packages.python,
        packages.own,
        packages.optional,
        models.runtime,
        models.weights,
        hardware.processor,
        partial(surroundings.home, home),
        partial(surroundings.collections, home),
        surroundings.keys,
    ]
    return [finding for check in checks for finding in _guarded(check)]


def _guarded(check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(check())
    # A broken installation breaks in ways nobody lists; the doctor has to get to the end.
    except Exception as error:
        name = getattr(check, "__name__", None) or getattr(check, "func", check).__name__
        return [failed(name, f"{type(error).__name__}: {error}", "run 'sage doctor --debug'")]
