"""A savepoint stands alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from sage.kernel.checkpoint.filesystem import filesystem_of
from sage.kernel.checkpoint.manifest import Base
from sage.kernel.checkpoint.state_file import WrittenFile, read_state_file
from sage.kernel.checkpoint.stored_checkpoint import StoredCheckpoint, load
from sage.kernel.errors import CheckpointError, DamagedCheckpointError


@pytest.fixture
def incremental(tmp_path: Path, fake_job: Any) -> tuple[Any, StoredCheckpoint]:
    """A job whose newest checkpoint builds on a file of one that was given up."""
    job = fake_job(tmp_path / "checkpoints")
    job.start()
    written = []
    for payload in (b"full ", b"change"):
        number = job.take(payload, complete=False)
        (path,) = (tmp_path / "checkpoints" / "job").glob(f"chk-{number:08d}*/*.state")
        content = path.read_bytes()
        name = f"{path.parent.name}/{path.name}"
        written.append(WrittenFile(name, len(content), content[-24:-8].hex()))
    bases = (Base("task", "state", (written[0],)),)
    job.storage.complete(job.manifest(number, written[1], bases=bases))
    found = job.storage.newest_valid().checkpoint
    assert found is not None
    return job, found


def content(stored: StoredCheckpoint, url: str) -> bytes:
    files, _ = filesystem_of(url)
    return b"".join(
        section.payload
        for task in stored.manifest.tasks
        for file in task.files()
        for _, section in read_state_file(files, stored.locate(file), expected=file)
    )


@pytest.mark.parametrize("scheme", ["", "memory:/"])
def test_a_savepoint_has_all_that_it_needs(
    scheme: str, tmp_path: Path, incremental: tuple[Any, StoredCheckpoint]
) -> None:
    """A copy of an incremental checkpoint is whole when the job's folder is gone, anywhere."""
    job, stored = incremental
    url = f"{scheme}{tmp_path}/savepoints/first"
    copied = stored.copy_to(job.storage.files, url)
    shutil.rmtree(tmp_path / "checkpoints")
    loaded = load(url)
    assert loaded == copied
    assert loaded.manifest.kind == "savepoint"
    assert loaded.manifest.checkpoint == stored.manifest.checkpoint
    assert content(loaded, url) == b"full change"
    assert loaded.manifest.own_bytes == loaded.manifest.total_bytes == stored.manifest.total_bytes


def test_a_savepoint_can_be_moved(
    tmp_path: Path, incremental: tuple[Any, StoredCheckpoint]
) -> None:
    """The folder of a savepoint may be renamed and copied."""
    job, stored = incremental
    stored.copy_to(job.storage.files, str(tmp_path / "here"))
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    (tmp_path / "here").rename(moved)
    assert content(load(str(moved)), str(moved)) == b"full change"


def test_a_folder_with_something_in_it_is_refused(
    tmp_path: Path, incremental: tuple[Any, StoredCheckpoint]
) -> None:
    """A savepoint never mixes with what is there."""
    job, stored = incremental
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="not empty"):
        stored.copy_to(job.storage.files, str(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_damage_is_not_copied(tmp_path: Path, incremental: tuple[Any, StoredCheckpoint]) -> None:
    """A savepoint of a damaged checkpoint fails, and leaves nothing that looks like one."""
    job, stored = incremental
    path = Path(stored.path, "task-0.state")
    path.write_bytes(path.read_bytes().replace(b"change", b"chance"))
    with pytest.raises(DamagedCheckpointError):
        stored.copy_to(job.storage.files, str(tmp_path / "copy"))
    with pytest.raises(DamagedCheckpointError, match="no manifest"):
        load(str(tmp_path / "copy"))


def test_what_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    """A folder that holds none, or that is not there, is an error that names it."""
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DamagedCheckpointError, match="no complete checkpoint") as caught:
            load(str(path))
        assert str(path) in caught.value.message
