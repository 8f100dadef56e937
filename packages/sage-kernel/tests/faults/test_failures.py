"""Errors of disks, networks and sinks: the job goes on, or is started again in its process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fault_harness import Fault, Trial, compared, run

RESTART = ("restart", {"strategy": "fixed", "max_attempts": 3, "delay_s": 0.01})

AT_A_SINK = ("sink.prepare.before", "sink.prepare.after", "sink.commit.before", "sink.commit.after")
ELSEWHERE = (
    *("record", "task.snapshot", "task.write.before", "storage.state.fsync.before"),
    *("manifest.before", "storage.manifest.write.before", "storage.manifest.rename.before"),
    *("storage.manifest.rename.after", "storage.owner.rename.before", "checkpoint.retired"),
    *("storage.retire.before", "recovery.restored"),
)
JOBS = ("several_sinks", "keyed_lists", "sessions", "ordered_calls", "loop", "join", "early_end")


def _shown(trials: list[Trial]) -> Any:
    return pytest.mark.parametrize("trial", trials, ids=str)


def _restarted(steps: tuple[str, ...], nth: int) -> list[Trial]:
    return [
        Trial(
            JOBS[at % len(JOBS)],
            (Fault.of(raise_at=(step, nth + 2 * step.startswith("storage.owner"))),),
            1 + at % 3,
            options=(RESTART,),
        )
        for at, step in enumerate(steps)
    ]


@_shown(_restarted(AT_A_SINK, 3) + _restarted(AT_A_SINK[2:], 6))
def test_a_sink_that_fails_is_asked_again(trial: Trial, outcome: Any) -> None:
    """Also where it has done what it was asked and only its answer was lost."""
    failed, _ = outcome()
    assert failed.said["steps"]["recovery.found"] == 2, "it has not failed"


@_shown(_restarted(ELSEWHERE, 3))
def test_an_error_at_any_step_is_survived_in_the_process(trial: Trial, outcome: Any) -> None:
    """What cannot be written is given up, anything else starts the job again."""
    failed, _ = outcome()
    [step, nth] = dict(trial.faults[0].change)["raise_at"]
    assert failed.said["steps"][step] >= nth, "it has not failed"


@_shown(
    [
        Trial(
            "several_sinks",
            (Fault(kill_at=("manifest.after", 4)), Fault.of(raise_at=(f"recovery.{step}", 1))),
            2,
            options=(RESTART,),
        )
        for step in ("commit.before", "commit.after", "abort.before", "abort.after")
    ]
)
def test_an_error_in_a_recovery_starts_another_one(trial: Trial, outcome: Any) -> None:
    """What was committed or aborted already is so again."""
    _, failed, _ = outcome()
    assert failed.said["steps"]["recovery.found"] == 2, "it has not failed"


@_shown(
    [
        Trial(
            "keyed_lists",
            (Fault.of(fail_from=("record", 100), fail_until=104),),
            2,
            options=(("restart", {"strategy": kind, **more}),),
        )
        for kind, more in (
            ("fixed", {"max_attempts": 5, "delay_s": 0.01}),
            ("exponential", {"initial_delay_s": 0.01}),
            ("failure_rate", {"max_failures": 5, "within_s": 60, "delay_s": 0.01}),
        )
    ]
)
def test_each_restart_strategy_goes_on_where_a_checkpoint_stands(
    trial: Trial, outcome: Any
) -> None:
    """Four failures in a row, in one process."""
    failed_often, _ = outcome()
    assert failed_often.said["steps"]["recovery.found"] == 5


def test_a_disk_that_is_still_full_at_the_restart_counts_as_another_failure(
    tmp_path: Path,
) -> None:
    """Reading the checkpoint to go on from may fail as well; the strategy decides on that too."""
    trial = Trial("keyed_count", (), 2, options=(RESTART,))
    failing = Fault.of(raise_at=("record", 100), fail_from=("recovery.found", 2), fail_until=4)
    ended = run(trial.spec(tmp_path), failing)
    assert ended.said["steps"]["recovery.found"] == 4, ended.log
    assert not compared(tmp_path, trial.job, 240, ended), ended.log
