"""``sage checkpoint``: what there is, what is in it, and whether it is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.kernel.checkpoint.filesystem import filesystem_of
from sage.kernel.checkpoint.manifest import Manifest, OperatorEntry, TaskEntry
from sage.kernel.checkpoint.operator_state import Section
from sage.kernel.checkpoint.state_file import write_state_file
from sage.kernel.checkpoint.storage import CheckpointStorage, folder_name


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """A directory with two complete checkpoints of a job, and one that was not finished."""
    storage = CheckpointStorage(str(tmp_path), "words")
    run = storage.take_over()
    for number in (1, 2, 3):
        files, folder = filesystem_of(storage.begin(number, run.epoch))
        sections = [Section("whole", "state", b"x" * 5000 * number)]
        file = write_state_file(files, f"{folder}/count-0.state", [("count", sections)])
        manifest = Manifest(
            checkpoint=number,
            epoch=run.epoch,
            job="words",
            folder=folder_name(number, run.epoch),
            created_at=1_700_000_000.0 + number,
            duration_s=0.25,
            operators=(OperatorEntry("count", "count words", "keyed_process", 1),),
            tasks=(TaskEntry("count", ("count",), 0, 1, file=file),),
        )
        if number < 3:
            storage.complete(manifest, run.check)
    run.release()
    return tmp_path


def file_of(checkpoints: Path, number: int) -> Path:
    return checkpoints / "words" / folder_name(number, 1) / "count-0.state"


def test_list_shows_what_there_is(sage, checkpoints, monkeypatch):
    """Each checkpoint is listed with job, number, size and condition, on the narrowest screen."""
    monkeypatch.setenv("COLUMNS", "40")
    outcome = sage("checkpoint", "list", checkpoints)
    assert outcome.code == 0
    rows = [line.split() for line in outcome.out.splitlines() if "chk-0" in line]
    assert [row[:3] for row in rows[:2]] == [["words", str(n), "checkpoint"] for n in (1, 2)]
    assert "10.1" in outcome.out
    assert "unfinished" in outcome.out
    assert all(folder_name(number, 1) in outcome.out for number in (1, 2, 3)), "never broken in two"
    told = sage("checkpoint", "list", checkpoints / "words", "--json").json["checkpoints"]
    assert [one["condition"] for one in told] == ["complete", "complete", "unfinished"]
    assert [one.get("checkpoint") for one in told] == [1, 2, None]


def test_show_tells_what_the_newest_consists_of(sage, checkpoints):
    """``show`` names tasks and operators of the newest complete one, or of the one given."""
    outcome = sage("checkpoint", "show", checkpoints)
    assert outcome.code == 0
    assert "checkpoint 2 of 'words'" in outcome.out
    assert "count words" in outcome.out
    told = sage("checkpoint", "show", file_of(checkpoints, 1).parent, "--json").json
    assert told["checkpoint"] == 1
    assert told["tasks"][0]["file"]["path"].endswith("/count-0.state")
    assert told["operators"][0]["kind"] == "keyed_process"


def test_show_without_a_complete_one_fails(sage, checkpoints):
    """Where nothing can be shown, it says why."""
    outcome = sage("checkpoint", "show", file_of(checkpoints, 3).parent)
    assert outcome.code == 1
    assert "checkpoint-error" in outcome.err


def test_verify_of_whole_checkpoints_succeeds(sage, checkpoints):
    """What was read and is whole is called intact; what is unfinished is no damage."""
    outcome = sage("checkpoint", "verify", checkpoints)
    assert outcome.code == 0
    assert outcome.out.count("intact") == 2
    assert outcome.err == ""


@pytest.mark.parametrize("harm", ["flip", "truncate", "delete", "manifest"])
def test_verify_finds_damage_and_says_so_with_its_exit_code(sage, checkpoints, harm):
    """Every kind of damage ends with 1, and the file is named."""
    path = file_of(checkpoints, 2)
    if harm == "manifest":
        path = path.with_name("MANIFEST.json")
    content = path.read_bytes()
    if harm == "delete":
        path.unlink()
    else:
        cut = content[:-3] if harm == "truncate" else content[:99] + b"?" + content[100:]
        path.write_bytes(cut)
    outcome = sage("checkpoint", "verify", checkpoints)
    assert outcome.code == 1
    assert str(path) in outcome.err.replace("\n", "")
    told = sage("checkpoint", "verify", checkpoints, "--json")
    assert told.code == 1
    assert not told.json["ok"]
    assert [one["condition"] for one in told.json["checkpoints"]] == [
        "intact",
        "damaged",
        "unfinished",
    ]


def test_a_directory_without_checkpoints_is_an_error(sage, tmp_path):
    """A wrong directory is told, with what was expected."""
    for directory in (tmp_path, tmp_path / "nowhere"):
        outcome = sage("checkpoint", "list", directory)
        assert outcome.code == 1
        assert "there are no checkpoints in" in outcome.err
        assert "checkpoint_dir" in outcome.err


def test_a_mistyped_command_gets_a_suggestion(sage, tmp_path):
    """The commands of the group are suggested like all others."""
    outcome = sage("checkpoint", "verfy", tmp_path)
    assert outcome.code == 2
    assert "'verify'" in outcome.err
