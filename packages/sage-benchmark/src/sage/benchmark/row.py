"""Rows and contestants as plain values; they import nothing that is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, TypedDict

__all__ = ["Contestant", "Figure", "Measure", "Request", "Role", "Row", "Sample", "Target"]

Sample = dict[str, Any]
"""What one run measured: numbers by name, and ``digest`` and the like for equal output.

Or only ``skipped``: what this machine lacks, so that nothing could be measured.
"""


class Role(Enum):
    """Why a contestant takes part."""

    LIMIT = "limit"
    SAGE = "sage"
    PEER = "peer"


class Request(TypedDict):
    """What a worker process is told; it travels as JSON.

    Attributes:
        measure: ``module:function`` of the row, see `Measure`.
        contestant: ``module:function`` of the contestant; the row says what it is called with.
        size: How much work, in the row's own unit.
        verify: Whether to compute digests of the output.
        scratch: A directory that all runs share, for input files.
        spawned_at: ``time.monotonic()`` when the process was started.
        parameters: What the row's surroundings gave (the address of a server).
    """

    measure: str
    contestant: str
    size: int
    verify: bool
    scratch: str
    spawned_at: float
    parameters: dict[str, Any]


class Measure(Protocol):
    """Measures one contestant once, in a fresh process; every row has one."""

    def __call__(self, contestant: Callable[..., Any], request: Request) -> Sample:
        """Run the contestant and return what was measured."""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """Somebody who does the work of a row.

    Args:
        name: As it is shown.
        target: ``module:function``; what it is called with is the row's business.
        role: The limit, SAGE, or a peer.
        needs: The distribution that must be installed, if any.
        note: What a reader should know about how it was set up.
        judged: Whether the row's targets are meant for it.
    """

    name: str
    target: str
    role: Role
    needs: str | None = None
    note: str = ""
    judged: bool = False


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number of a sample that the report shows.

    Args:
        key: Its name in the sample.
        label: Column title, with the unit.
        digits: Digits behind the point.
    """

    key: str
    label: str
    digits: int = 2


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a figure of the judged contestant must reach, and what is wanted beyond that.

    Example:
        >>> Target(figure="ratio", must=0.9, aim=1.5).met_by(0.95)
        True
        >>> Target(figure="p50_us", must=20, aim=8, at_most=True).met_by(25)
        False
    """

    figure: str
    must: float
    aim: float
    at_most: bool = False

    def met_by(self, value: float) -> bool:
        """Say whether ``value`` reaches what is required."""
        return value <= self.must if self.at_most else value >= self.must


def _alone(scratch: str) -> AbstractContextManager[Mapping[str, Any]]:
    return nullcontext({})


@dataclass(frozen=True, kw_only=True)
class Row:
    """One piece of work that everybody does.

    Args:
        key: Its name on the command line.
        title: What the work is.
        limit: What 1.00 means, or what to compare with.
        measure: ``module:function`` of its `Measure`.
        size: How much work.
        quick_size: How much in ``--quick`` mode.
        contestants: Who takes part.
        figures: What to show.
        targets: What the judged contestant must reach.
        surroundings: What must run beside all contestants; gives parameters for the workers.
        compares_output: Whether all must have produced the limit's output.
        charted: The figure of the bar chart; "ratio" is the usual one.
        most_rounds: Rounds that are enough, for a row whose runs repeat the work themselves.
        timeout_s: How long one run may take before it is given up.
    """

    key: str
    title: str
    limit: str
    measure: str
    size: int
    quick_size: int
    contestants: tuple[Contestant, ...]
    figures: tuple[Figure, ...]
    targets: tuple[Target, ...] = ()
    surroundings: Callable[[str], AbstractContextManager[Mapping[str, Any]]] = field(default=_alone)
    compares_output: bool = True
    charted: str = "ratio"
    most_rounds: int = 1_000
    timeout_s: float = 300.0
