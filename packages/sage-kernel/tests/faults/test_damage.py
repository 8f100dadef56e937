"""Damaged checkpoints: the next older one is used and named, and nothing is written twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fault_harness import Ended, Fault, Trial, compared, run

from sage.kernel.checkpoint.manifest import FORMAT, Manifest


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def _delete(path: Path) -> None:
    path.unlink()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": _truncate,
    "flipped": _flip,
    "deleted": _delete,
}


def _complete(folder: Path) -> list[Path]:
    """Return the folders of complete checkpoints, oldest first."""
    return sorted(path.parent for path in folder.glob("job/chk-*/MANIFEST.json"))


def _killed(folder: Path, job: str, at: str, parallelism: int = 2) -> Trial:
    """Run a job until it is killed at a step of its fifth checkpoint."""
    trial = Trial(job, parallelism=parallelism)
    killed = run(trial.spec(folder), Fault(kill_at=(at, 5)))
    assert killed.was_killed, killed.log
    return trial


@pytest.mark.parametrize("damage", sorted(DAMAGES))
@pytest.mark.parametrize("pattern", ["MANIFEST.json", "*.state"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, damage: str, pattern: str
) -> None:
    """Its name and what is wrong with it are told, and the output is the oracle's."""
    trial = _killed(tmp_path, "keyed_lists", "manifest.after")
    newest = _complete(tmp_path)[-1]
    DAMAGES[damage](sorted(newest.glob(pattern))[-1])
    ended = run(trial.spec(tmp_path))
    assert ended.code == 0, ended.log
    looks_unfinished = (pattern, damage) == ("MANIFEST.json", "deleted")  # as after any kill
    level = "INFO" if looks_unfinished else "WARNING"
    assert f"{level} sage.checkpoint: passing over {newest}" in ended.log
    assert f"goes on at checkpoint 4 ({newest.parent}/chk-00000004-e0001)" in ended.log
    assert not compared(tmp_path, trial.job, 240, ended)


def test_output_that_a_damaged_checkpoint_had_committed_is_not_written_twice(
    tmp_path: Path,
) -> None:
    """The sink refuses, naming what is there; without it the job goes on and writes it again."""
    trial = _killed(tmp_path, "keyed_lists", "sink.commit.after", parallelism=1)
    newest = _complete(tmp_path)[-1]
    committed = sorted((tmp_path / "out/sink").glob("part-*"))[-1]
    _flip(sorted(newest.glob("*.state"))[-1])
    refused = run(trial.spec(tmp_path))
    assert refused.said["error"] == "JobFailedError"
    assert f"{committed.name} is committed already" in refused.said["told"]
    committed.unlink()
    ended = run(trial.spec(tmp_path))
    assert not compared(tmp_path, trial.job, 240, ended), ended.log


def test_without_a_single_intact_checkpoint_the_job_begins_anew(tmp_path: Path) -> None:
    """What its sinks had committed is in the way of that, unless it starts over."""
    trial = _killed(tmp_path, "several_sinks", "manifest.after")
    for each in _complete(tmp_path):
        shutil.rmtree(each)
    refused = run(trial.spec(tmp_path))
    assert "is committed already" in refused.said["told"]
    ended = run(trial.spec(tmp_path), Fault.of(options={"fresh": True}))
    assert not compared(tmp_path, trial.job, 240, ended), ended.log


def test_a_checkpoint_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    """A newer release's work is not lost by going on from an older checkpoint."""
    trial = _killed(tmp_path, "tumbling", "manifest.after")
    manifest = _complete(tmp_path)[-1] / "MANIFEST.json"
    kept = manifest.read_bytes()
    newer = replace(Manifest.from_bytes(kept, str(manifest)), format=FORMAT + 1)
    manifest.write_bytes(newer.to_bytes())
    refused = run(trial.spec(tmp_path))
    assert refused.said["error"] == "NewerFormatError", refused.log
    manifest.write_bytes(kept)
    ended = run(trial.spec(tmp_path))
    assert not compared(tmp_path, trial.job, 240, ended), ended.log


def test_damage_to_any_checkpoint_is_found_before_anything_runs(tmp_path: Path) -> None:
    """Of all three that are kept the oldest is used when the two others are damaged."""
    trial = _killed(tmp_path, "sessions", "manifest.after", parallelism=3)
    oldest, *newer = _complete(tmp_path)[-3:]
    for each in newer:
        _truncate(sorted(each.glob("*.state"))[0])
    ended: Ended = run(trial.spec(tmp_path))
    for each in newer:
        assert f"passing over {each}" in ended.log
    if ended.code == 0:
        assert f"({oldest})" in ended.log
        assert not compared(tmp_path, trial.job, 240, ended)
    else:
        assert "is committed already" in ended.said["told"], ended.log
