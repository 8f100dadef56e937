"""Processes that stop, are taken for dead, and come back."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from fault_harness import Child, Ended, Fault, Trial, compared, run

SHORT = {"lease_s": 0.4}


def _when_free(trial: Trial, folder: Path) -> Ended:
    """Run the job as soon as the run before counts as gone."""
    while True:
        ended = run(trial.spec(folder), Fault.of(options=SHORT))
        if ended.said.get("error") != "CheckpointError" or "running already" not in ended.log:
            return ended


@pytest.mark.parametrize(
    ("job", "step"),
    [
        ("keyed_lists", "task.snapshot"),
        ("several_sinks", "sink.prepare.before"),
        ("tumbling", "storage.state.fsync.before"),
        ("union", "storage.manifest.rename.before"),
        ("keyed_process", "manifest.after"),
        ("several_sinks", "sink.commit.before"),
        ("ordered_calls", "storage.owner.rename.before"),
        ("batches", "record"),
    ],
)
def test_a_run_that_was_taken_over_is_fenced(tmp_path: Path, job: str, step: str) -> None:
    """It stands still past its lease, another one ends its work, and it can spoil nothing."""
    trial = Trial(job, parallelism=2)
    stopped_at = Fault.of(stop_at=(step, 90 if step == "record" else 5), options=SHORT)
    spec = trial.spec(tmp_path)
    with Child(stopped_at.of_spec(spec)) as first:
        first.has_stopped()
        second = _when_free(trial, tmp_path)
        assert second.code == 0, second.log
        first.signal(signal.SIGCONT)
        fenced = first.ended()
    assert fenced.said["error"] == "FencedError", fenced.log
    assert f"process {second.said['pid']}" in fenced.said["told"]
    assert not compared(tmp_path, job, spec.records, second, may_leave=True)


def test_a_run_that_stands_still_for_less_than_its_lease_goes_on(tmp_path: Path) -> None:
    """Nobody can take it over, and it ends as if nothing had been."""
    trial = Trial("keyed_lists", parallelism=2)
    with Child(Fault.of(stop_at=("task.snapshot", 5)).of_spec(trial.spec(tmp_path))) as first:
        first.has_stopped()
        refused = run(trial.spec(tmp_path))
        first.signal(signal.SIGCONT)
        ended = first.ended()
    assert refused.said["error"] == "CheckpointError"
    assert f"process {ended.said['pid']}" in refused.said["told"]
    assert not compared(tmp_path, trial.job, 240, ended), ended.log


def test_two_jobs_of_different_names_share_a_folder(tmp_path: Path) -> None:
    """They do not see each other; two of the same name do, and one of them is refused."""
    one, other = Trial("keyed_count"), Trial("keyed_count")
    with Child(Fault.of(name="one").of_spec(one.spec(tmp_path))) as first:
        assert first.has_started()
        second = run(Fault.of(name="two", job="tumbling").of_spec(other.spec(tmp_path)))
        ended = first.ended()
    assert ended.code == 0, ended.log
    assert second.code == 0, second.log


@pytest.mark.parametrize("restarts", [False, True])
def test_a_worker_process_that_stands_still_is_given_up(tmp_path: Path, restarts: bool) -> None:
    """The job fails for it, or starts again with other workers; it can spoil nothing later."""
    trial = Trial(
        "in_processes",
        parallelism=2,
        engine=(("worker_timeout_s", 0.5),),
        options=(("restart", {"strategy": "fixed", "delay_s": 0.01}),) if restarts else (),
    )
    spec = trial.spec(tmp_path)
    with Child(Fault.of(stop_worker_at=("record", 90)).of_spec(spec)) as child:
        ended = child.ended()
    if restarts:
        assert ended.said["steps"]["recovery.found"] == 2, ended.log
    else:
        assert "did not answer for 0.5 s and was killed" in ended.said["told"], ended.log
        ended = run(spec)
    assert not compared(tmp_path, trial.job, spec.records, ended), ended.log
