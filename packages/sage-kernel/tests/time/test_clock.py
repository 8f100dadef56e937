"""The clock of a job: it never goes back, and one that a test drives moves only by hand."""

from __future__ import annotations

import copy
import time

import pytest

from sage.kernel.testing import ManualClock
from sage.kernel.time.clock import DrivenClock, system_clock


def test_the_systems_clock_counts_seconds_since_the_epoch() -> None:
    """It never goes back, and it is the time of day when the process started."""
    readings = [system_clock() for _ in range(1000)]
    assert readings == sorted(readings)
    assert abs(system_clock() - time.time()) < 3600
    assert not isinstance(system_clock, DrivenClock)


def test_a_driven_clock_moves_only_by_hand() -> None:
    """It stands still until it is moved, and refuses to go back."""
    clock = ManualClock(5.0)
    assert isinstance(clock, DrivenClock)
    assert clock() == clock() == 5.0
    clock.advance(2.5)
    assert clock() == 7.5
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
    assert clock() == 7.5


def test_whoever_waits_is_told_of_each_move_until_it_ends_that() -> None:
    """A watcher sees the new time; after it has gone it is not called."""
    clock, seen = ManualClock(), list[float]()
    unwatch = clock.watch(lambda: seen.append(clock()))
    clock.advance(1)
    clock.advance(0)
    unwatch()
    clock.advance(1)
    assert seen == [1, 1]


def test_a_copy_is_the_same_clock() -> None:
    """A function that is copied for each subtask keeps the job's clock."""
    clock = ManualClock()
    twin = copy.deepcopy(clock)
    clock.advance(3)
    assert twin() == 3
