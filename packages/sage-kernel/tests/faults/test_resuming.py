"""Going on with other parallelism, another plan, other sources; from savepoints; after Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from fault_harness import Child, Fault, Trial, compared, run

KILLED = ("manifest.after", 5)


def _rescaled(job: str, *parallelism: int) -> Trial:
    *before, last = parallelism
    killed = [Fault(kill_at=KILLED, change=(("parallelism", each),)) for each in before]
    return Trial(job, tuple(killed), last)


@pytest.mark.parametrize(
    "trial",
    [
        _rescaled("keyed_lists", 1, 3, 2),
        _rescaled("sessions", 3, 2, 3),
        _rescaled("parallel_sources", 1, 3, 2),
        _rescaled("keyed_process", 3, 2),
        _rescaled("several_sinks", 3, 1),
        _rescaled("tumbling", 2, 3),
        _rescaled("sessions", 2, 3),
        _rescaled("sliding", 3, 2),
        _rescaled("interval_join", 1, 3),
        _rescaled("join", 3, 2),
        _rescaled("unordered_calls", 2, 3),
        _rescaled("ordered_calls", 3, 1),
        _rescaled("timed_duplicates", 1, 2),
        _rescaled("loop_of_calls", 2, 3),
        _rescaled("early_end", 3, 2),
        _rescaled("gather", 3, 2),
        _rescaled("flushed_by_timers", 3, 2),
        _rescaled("parallel_sources", 3, 2),
        _rescaled("in_processes", 1, 2),
    ],
    ids=str,
)
def test_a_job_goes_on_with_another_parallelism(trial: Trial, outcome: Any) -> None:
    """Killed, and each time another number of subtasks takes over."""
    outcome()


def _killed(folder: Path, job: str, **change: Any) -> Trial:
    trial = Trial(job, parallelism=2)
    killed = run(trial.spec(folder), Fault(kill_at=KILLED, change=tuple(change.items())))
    assert killed.was_killed, killed.log
    return trial


@pytest.mark.parametrize(
    ("job", "other", "culprit"),
    [
        ("keyed_count", "keyed_lists", "count"),
        ("tumbling", "sessions", "'window.count'"),
        ("tumbling", "wider_windows", "TumblingWindow(size_s=25.0"),
        ("tumbling", "lenient_windows", "'window.count'"),
        ("ordered_calls", "prepared_calls", "'Call'"),
        ("keyed_process", "stateless", "'times source'"),
        ("own_state", "without_state", "'function 0'"),
    ],
)
def test_another_plan_is_refused_by_the_name_of_its_operator(
    tmp_path: Path, job: str, other: str, culprit: str
) -> None:
    """State is never given to another operator, nor forgotten; the old plan goes on as ever."""
    trial = _killed(tmp_path, job)
    refused = run(trial.spec(tmp_path), Fault.of(job=other))
    assert refused.said["error"] == "StateMismatchError", refused.log
    assert culprit in refused.said["told"]
    ended = run(trial.spec(tmp_path))
    assert not compared(tmp_path, job, 240, ended), ended.log


def test_a_source_of_another_length_is_refused(tmp_path: Path) -> None:
    """Its name and both lengths are told; the old source goes on."""
    trial = _killed(tmp_path, "keyed_lists")
    refused = run(trial.spec(tmp_path), Fault.of(records=300))
    assert "source 'source' had 240 records" in refused.said["told"]
    assert "has 300 now" in refused.said["told"]
    assert refused.said["error"] == "StateMismatchError"
    ended = run(trial.spec(tmp_path))
    assert not compared(tmp_path, trial.job, 240, ended), ended.log


@pytest.mark.parametrize("change", ["shrank", "changed"])
def test_a_file_that_changed_or_shrank_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The file is named; with the old one in its place the job goes on."""
    pytest.importorskip("sage.libs.io")
    file = tmp_path / "lines.txt"
    kept = "".join(f"{'x' * (number % 9)} {number}\n" for number in range(240))
    file.write_text(kept)
    monkeypatch.setenv("LINES", str(file))
    trial = _killed(tmp_path, "lines")
    os.truncate(file, 50)
    if change == "changed":
        file.write_text(kept.replace("x", "y"))
    refused = run(trial.spec(tmp_path))
    assert refused.said["error"] == "JobFailedError", refused.log
    assert str(file) in refused.said["told"]
    file.write_text(kept)
    ended = run(trial.spec(tmp_path))
    assert not compared(tmp_path, "lines", 240, ended), ended.log


def test_a_finished_job_adds_nothing_and_starts_over_when_asked(tmp_path: Path) -> None:
    """Run again it ends at once, with the same counts; ``fresh=True`` does everything again."""
    trial = Trial("several_sinks", parallelism=2)
    run(trial.spec(tmp_path))
    again = run(trial.spec(tmp_path))
    assert "record" not in again.said["steps"], "it has read again"
    assert not compared(tmp_path, trial.job, 240, again), again.log
    fresh = run(trial.spec(tmp_path), Fault.of(options={"fresh": True}))
    assert fresh.said["steps"]["record"] == 240
    assert not compared(tmp_path, trial.job, 240, fresh), fresh.log


def test_a_fresh_start_that_is_killed_goes_on_and_not_back(tmp_path: Path) -> None:
    """What the history before it had is gone; its own checkpoints count."""
    trial = _killed(tmp_path, "several_sinks")
    fresh = run(trial.spec(tmp_path), Fault(kill_at=("record", 60), change=_FRESH))
    assert fresh.was_killed
    ended = run(trial.spec(tmp_path))
    assert not compared(tmp_path, trial.job, 240, ended), ended.log


_FRESH = (("options", {"fresh": True}),)


_ONLY_ONE = (("options", {"checkpoint_interval": 60}),)  # nothing is committed behind a savepoint


@pytest.mark.parametrize("parallelism", [2, 3])
def test_another_job_goes_on_from_a_savepoint(tmp_path: Path, parallelism: int) -> None:
    """With the same or another parallelism; what the savepoint covers is committed by it."""
    trial = Trial("keyed_lists", parallelism=2)
    savepoint = str(tmp_path / "kept" / "savepoint")
    options = {"checkpoint_interval": 60}  # nothing is committed behind the savepoint
    asked = run(trial.spec(tmp_path), Fault.of(savepoint=savepoint, name="old", options=options))
    assert asked.was_killed, asked.log
    from_there = Fault.of(name="new", parallelism=parallelism, options={"restore_from": savepoint})
    ended = run(trial.spec(tmp_path), from_there)
    assert not compared(tmp_path, trial.job, 240, ended), ended.log


def test_a_savepoint_that_a_kill_cut_short_is_none(tmp_path: Path) -> None:
    """It is refused, and the job that it was taken of has lost nothing."""
    trial = Trial("keyed_lists", parallelism=2)
    savepoint = str(tmp_path / "kept")
    asked = Fault(
        kill_at=("storage.manifest.write.before", 2), change=(*_ONLY_ONE, ("savepoint", savepoint))
    )
    killed = run(trial.spec(tmp_path), asked)
    assert killed.was_killed, killed.log
    refused = run(trial.spec(tmp_path), Fault.of(name="new", options={"restore_from": savepoint}))
    assert refused.said["error"] == "DamagedCheckpointError", refused.log
    ended = run(trial.spec(tmp_path))
    assert not compared(tmp_path, trial.job, 240, ended), ended.log


@pytest.mark.parametrize("job", ["several_sinks", "tumbling", "ordered_calls", "loop", "union"])
def test_ctrl_c_stops_at_a_checkpoint_and_the_next_run_goes_on(tmp_path: Path, job: str) -> None:
    """Nothing that was read is read again."""
    trial = Trial(job, parallelism=2)
    with Child(trial.spec(tmp_path)) as child:
        assert child.has_started()
        _wait_for(tmp_path / "out", "*/part-*")
        child.signal(signal.SIGINT)
        stopped = child.ended()
    assert stopped.said["error"] == "KeyboardInterrupt", stopped.log
    assert "stopping: at a checkpoint" in stopped.log, "who pressed it is told what happens"
    assert not list(tmp_path.glob("out/*/pending-*")), "something was not committed"
    ended = run(trial.spec(tmp_path))
    assert not compared(tmp_path, job, 240, ended), ended.log
    read = [each.said["steps"].get("record", 0) for each in (stopped, ended)]
    assert sum(read) == 240, f"read {read}"


def _wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + 20
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.005)
