"""What the clock on the wall does changes nothing that was promised."""

from __future__ import annotations

from typing import Any

import pytest
from fault_harness import Fault, Trial

HOUR_S = 3600.0

BY_THE_CLOCK = ("flushed_by_timers", "flushed_by_triggers", "silent_input", "tumbling")


def _jumping(job: str, by_s: float) -> Trial:
    """The clock jumps while the job runs, the job dies, and the next run sees the new time."""
    jumps = Fault(kill_at=("record", 150), change=(("jump_at", ("record", 70)), ("jump_s", by_s)))
    return Trial(job, (jumps, Fault(kill_at=("manifest.after", 3), change=(("ahead_s", by_s),))), 2)


@pytest.mark.parametrize(
    "trial", [_jumping(job, by_s) for job in BY_THE_CLOCK for by_s in (HOUR_S, -HOUR_S)], ids=str
)
def test_a_clock_that_jumps_an_hour_costs_nothing(trial: Trial, outcome: Any) -> None:
    """Forth or back, within a run and from one run to the next: nothing is lost or doubled."""
    outcome()


@pytest.mark.parametrize(
    "trial",
    [
        Trial("one_of_2099", (Fault(kill_at=("record", at)),), parallelism)
        for at, parallelism in ((110, 1), (140, 3))
    ],
    ids=str,
)
def test_one_event_of_the_year_2099_is_survived(trial: Trial, outcome: Any) -> None:
    """What comes behind it is late, before a kill and after it."""
    outcome()
