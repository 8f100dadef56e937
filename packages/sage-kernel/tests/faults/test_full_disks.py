"""A disk that is full: the checkpoint before stands, and the job goes on when there is room."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_harness import Fault, Trial, compared, run

WRITES = [  # a step of each write, and its how many-th time is in the fourth checkpoint or so
    ("storage.state.fsync.before", 14),
    ("storage.manifest.fsync.before", 4),
    ("storage.owner.rename.before", 7),
]


@pytest.mark.parametrize(("step", "nth"), WRITES)
def test_checkpoints_that_could_not_be_written_are_counted_and_the_job_goes_on(
    tmp_path: Path, step: str, nth: int
) -> None:
    """The disk is full for a while; the next checkpoint covers what the failed ones would have."""
    trial = Trial("several_sinks", parallelism=2, options=(("max_failed", 1000),))
    ended = run(trial.spec(tmp_path), Fault.of(fail_from=(step, nth), fail_until=nth + 3))
    assert not compared(tmp_path, trial.job, 240, ended), ended.log
    assert ended.said["failed"] == ended.log.count("was given up") >= 1


@pytest.mark.parametrize(("step", "nth"), WRITES)
def test_a_job_ends_after_so_many_failed_checkpoints_and_goes_on_when_there_is_room(
    tmp_path: Path, step: str, nth: int
) -> None:
    """It says why, and the newest complete checkpoint is what the next run begins with."""
    trial = Trial("keyed_lists", parallelism=2, options=(("max_failed", 3),))
    failed = run(trial.spec(tmp_path), Fault.of(fail_from=(step, nth)))
    assert failed.said["error"] == "CheckpointError", failed.log
    assert "3 checkpoints in a row could not be completed" in failed.said["told"]
    assert "No space left on device" in failed.said["told"]
    ended = run(trial.spec(tmp_path))
    assert "goes on at checkpoint" in ended.log
    assert not compared(tmp_path, trial.job, 240, ended), ended.log


def test_a_sign_of_life_that_cannot_be_written_ends_no_job(tmp_path: Path) -> None:
    """Nothing is lost by it: at worst another run takes over, and this one learns of that."""
    options = (("checkpoint_interval", 0.3), ("lease_s", 0.15))
    trial = Trial("keyed_lists", parallelism=2, options=options)
    silent = Fault.of(fail_from=("storage.owner.write.before", 6), fail_until=8, pause_s=0.003)
    ended = run(trial.spec(tmp_path), silent)
    assert "no sign of life could be given" in ended.log
    assert not compared(tmp_path, trial.job, 240, ended), ended.log


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a tmpfs, and not everywhere")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_up_leaves_the_old_checkpoint_intact(
    tmp_path: Path, small_disk: Path
) -> None:
    """A real disk without room; the next run, with room, ends with the oracle's output."""
    trial = Trial("keyed_lists", parallelism=2)
    there = (("checkpoint_dir", str(small_disk)),)
    filling = small_disk / "filling"
    killed = run(trial.spec(tmp_path), Fault(kill_at=("manifest.after", 3), change=_at(there)))
    assert killed.was_killed, killed.log
    _fill(filling)
    refused = run(trial.spec(tmp_path), Fault(change=_at(there)))
    assert refused.said["error"] == "CheckpointError", refused.log
    assert "No space left on device" in refused.said["told"]
    filling.unlink()
    ended = run(trial.spec(tmp_path), Fault(change=_at(there)))
    assert not compared(tmp_path, trial.job, 240, ended), ended.log


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass


def _at(options: tuple[tuple[str, str], ...]) -> tuple[tuple[str, dict[str, str]], ...]:
    return (("options", dict(options)),)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(tmp_path: Path) -> None:
    """At the start, where it can still be put right."""
    (tmp_path / "file").write_text("no folder")
    trial = Trial("keyed_count", options=(("checkpoint_dir", str(tmp_path / "file" / "below")),))
    refused = run(trial.spec(tmp_path))
    assert refused.said["error"] == "CheckpointError"
    assert "record" not in refused.said["steps"]
