"""What is listed is what a recovery would see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sage.kernel.checkpoint.inventory import checkpoints_in, verified
from sage.kernel.checkpoint.state_file import WrittenFile
from sage.kernel.errors import CheckpointError


@pytest.fixture(params=["disk", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder on a disk, and one in an object store."""
    return str(tmp_path) if request.param == "disk" else f"memory:/{tmp_path}"


def conditions(url: str) -> list[tuple[str, str]]:
    return [(one.path.rpartition("/")[2], one.condition) for one in checkpoints_in(url)]


def test_every_kind_of_folder_can_be_listed(url: str, fake_job: Any) -> None:
    """A checkpoint_dir, the folder of a job, one checkpoint and a savepoint can be given."""
    words, other = fake_job(url, "words"), fake_job(url, "other")
    for job in (words, other):
        job.start()
        job.take(b"one")
    words.take(b"two", complete=False)
    stored = words.storage.newest_valid().checkpoint
    stored.copy_to(words.storage.files, f"{url}/kept/first")
    stored.copy_to(words.storage.files, f"{url}/second")
    stored.copy_to(words.storage.files, f"{url}/words/savepoints/third")
    one = [("chk-00000001-e0001", "complete")]
    of_words = [*one, ("chk-00000002-e0001", "unfinished")]
    savepoints = [("second", "complete")], [("first", "complete")]
    assert conditions(f"{url}/words") == [*of_words, ("third", "complete")]
    assert conditions(f"{url}/other") == one
    assert conditions(f"{url}/second") == savepoints[0]
    assert conditions(f"{url}/words/chk-00000001-e0001") == one
    everything = conditions(url)
    assert everything == [*savepoints[0], *savepoints[1], *one, *of_words, ("third", "complete")]


def test_what_does_not_count_is_told(url: str, fake_job: Any) -> None:
    """Checkpoints of a fenced run and of a newer release are told from the others."""
    job = fake_job(url)
    job.start()
    job.take(b"one")
    job.take(b"two")
    again = fake_job(url)
    again.storage.take_over(lease_s=-1.0).continue_from(1)
    number = 3
    again.storage.begin(number, 2)
    newer = replace(job.manifest(number, WrittenFile("x/y", 1, "z")), format=9, epoch=2)
    again.storage.complete(replace(newer, folder="chk-00000003-e0002"))
    assert conditions(url) == [
        ("chk-00000001-e0001", "complete"),
        ("chk-00000002-e0001", "fenced"),
        ("chk-00000003-e0002", "newer format"),
    ]
    assert [one.is_damaged for one in checkpoints_in(url)] == [False, False, True]


def test_what_was_deleted_meanwhile_is_no_damage(tmp_path: Path, fake_job: Any) -> None:
    """A checkpoint that its job deletes while it is verified is left out."""
    job = fake_job(tmp_path, retain=1)
    job.start()
    job.take(b"one")
    listed = checkpoints_in(str(tmp_path))
    job.take(b"two")
    assert [verified(str(tmp_path), one) for one in listed] == [None]


def test_damage_is_found_by_reading(tmp_path: Path, fake_job: Any) -> None:
    """The list believes the manifests; verifying reads what they name."""
    job = fake_job(tmp_path)
    job.start()
    job.take(b"one")
    state = tmp_path / "job" / "chk-00000001-e0001" / "task-0.state"
    state.write_bytes(state.read_bytes().replace(b"one", b"two"))
    (listed,) = checkpoints_in(str(tmp_path))
    assert listed.condition == "complete"
    found = verified(str(tmp_path), listed)
    assert found is not None
    assert found.is_damaged
    assert str(state) in found.problem
    (state.parent / "MANIFEST.json").write_text("{}")
    (listed,) = checkpoints_in(str(tmp_path))
    assert listed.condition == "damaged"
    assert verified(str(tmp_path), listed) == listed


def test_a_folder_with_nothing_in_it_is_an_error(tmp_path: Path) -> None:
    """A wrong folder is told, and what would have been right."""
    with pytest.raises(CheckpointError, match="no checkpoints in") as caught:
        checkpoints_in(str(tmp_path))
    assert "checkpoint_dir" in str(caught.value)
