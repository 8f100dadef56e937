"""The newest whole checkpoint is found, whatever happened to the others."""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from sage.kernel.checkpoint.manifest import Manifest
from sage.kernel.checkpoint.operator_state import Section
from sage.kernel.checkpoint.remote_filesystem import RemoteFilesystem
from sage.kernel.checkpoint.state_file import WrittenFile, write_state_file
from sage.kernel.checkpoint.storage import CheckpointStorage, safe_name, state_file_name
from sage.kernel.checkpoint.stored_checkpoint import MANIFEST
from sage.kernel.errors import CheckpointError, NewerFormatError


@pytest.fixture(params=["disk", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder on a disk, and one in an object store."""
    return str(tmp_path) if request.param == "disk" else f"memory:/{tmp_path}"


def folders(job: Any) -> list[str]:
    return [name for name in job.storage.files.names(job.storage.path) if name.startswith("chk-")]


def test_the_newest_complete_one_is_found(url: str, fake_job: Any) -> None:
    """A job that starts again goes on from its newest complete checkpoint."""
    job = fake_job(url)
    assert job.start() == (None, ())
    for payload in (b"one", b"two"):
        job.take(payload)
    job.run.release()
    again = fake_job(url)
    found = again.start()
    assert again.payload(found.checkpoint) == b"two"
    assert found.passed_over == ()
    assert again.take(b"three") > 2


def test_one_that_is_not_finished_is_passed_over_and_cleared_away(url: str, fake_job: Any) -> None:
    """A checkpoint without a manifest does not count, is named, and is gone after the start."""
    job = fake_job(url)
    job.start()
    job.take(b"one")
    job.take(b"two", complete=False)
    job.run.release()
    again = fake_job(url)
    found = again.start()
    assert again.payload(found.checkpoint) == b"one"
    ((path, reason, is_damaged),) = found.passed_over
    assert not is_damaged, "every kill leaves one behind"
    assert path.endswith("chk-00000002-e0001")
    assert "no manifest" in reason
    assert folders(again) == ["chk-00000001-e0001"]
    assert again.take(b"new") > 2, "a number is never used twice"


@pytest.mark.parametrize("name", ["task-0.state", MANIFEST])
@pytest.mark.parametrize("harm", ["flip", "truncate", "delete", "empty"])
def test_a_damaged_one_is_passed_over_by_name(
    tmp_path: Path, fake_job: Any, name: str, harm: str
) -> None:
    """The newest intact checkpoint is used, and it is said which were not, and why."""
    job = fake_job(tmp_path)
    job.start()
    for payload in (b"one", b"two", b"three"):
        job.take(payload)
    job.run.release()
    for number in (2, 3):
        damage(tmp_path / "job" / f"chk-0000000{number}-e0001" / name, harm)
    found = fake_job(tmp_path).start()
    assert job.payload(found.checkpoint) == b"one"
    assert [Path(each.path).name for each in found.passed_over] == [
        "chk-00000003-e0001",
        "chk-00000002-e0001",
    ]
    has_no_manifest = (name, harm) == (MANIFEST, "delete")
    for each in found.passed_over:
        assert each.is_damaged != has_no_manifest
        assert ("no manifest" if has_no_manifest else "damaged") in each.reason


def damage(path: Path, harm: str) -> None:
    content = path.read_bytes()
    match harm:
        case "flip":
            middle = len(content) // 2
            path.write_bytes(
                content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
            )
        case "truncate":
            path.write_bytes(content[:-1])
        case "empty":
            path.write_bytes(b"")
        case "delete":
            path.unlink()


def test_a_damaged_base_damages_what_builds_on_it(tmp_path: Path, fake_job: Any) -> None:
    """Files of earlier checkpoints that an incremental one needs are verified with it."""
    from sage.kernel.checkpoint.manifest import Base

    job = fake_job(tmp_path)
    job.start()
    job.take(b"one")
    job.take(b"full", complete=False)
    number = job.take(b"change", complete=False)
    full, change = (
        WrittenFile(f"{path.parent.name}/{path.name}", path.stat().st_size, checksum(path))
        for path in sorted((tmp_path / "job").glob("chk-0000000[23]*/*.state"))
    )
    job.storage.complete(job.manifest(number, change, bases=(Base("task", "x", (full,)),)))
    assert job.payload(job.storage.newest_valid().checkpoint) == b"change"
    damage(tmp_path / "job" / full.path, "flip")
    found = job.storage.newest_valid()
    assert job.payload(found.checkpoint) == b"one"
    assert full.path in found.passed_over[0].reason


def checksum(path: Path) -> str:
    return path.read_bytes()[-24:-8].hex()


def test_nobody_falls_back_behind_a_newer_format(tmp_path: Path, fake_job: Any) -> None:
    """A checkpoint of a newer release stops the start: an older one would be the wrong state."""
    job = fake_job(tmp_path)
    job.start()
    job.take(b"one")
    job.take(b"two", complete=False)
    newer = replace(job.manifest(2, WrittenFile("x/y", 1, "z")), format=99)
    job.storage.complete(newer)
    job.run.release()
    before = sorted((tmp_path / "job").glob("chk-*/*"))
    with pytest.raises(NewerFormatError, match="format 99"):
        fake_job(tmp_path).start()
    again = fake_job(tmp_path).storage
    again.remove_leftovers(99)
    assert sorted((tmp_path / "job").glob("chk-*/*")) == before


def test_one_that_cannot_be_read_now_is_not_passed_over(
    tmp_path: Path, fake_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that does not answer says nothing about the checkpoint: the start fails, clearly."""
    job = fake_job(tmp_path)
    job.start()
    job.take(b"one")
    job.take(b"two")

    def refused(path: str) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(job.storage.files, "reading", refused)
    with pytest.raises(CheckpointError, match="cannot read the manifest"):
        job.storage.newest_valid()


def test_only_the_newest_are_kept(url: str, fake_job: Any) -> None:
    """Retention keeps as many complete checkpoints as it was told to."""
    job = fake_job(url, retain=2)
    job.start()
    assert job.storage.retire(job.run.lineage) == 0
    for number in range(1, 8):
        job.take(b"%d" % number, complete=number != 5)
    assert job.storage.retire(job.run.lineage) == 6
    assert folders(job) == ["chk-00000006-e0001", "chk-00000007-e0001"]


def test_what_is_under_way_is_left_alone(url: str, fake_job: Any) -> None:
    """Retention and the start of a run touch no checkpoint that is just being written."""
    job = fake_job(url, retain=1)
    job.start()
    job.take(b"one")
    job.take(b"two", complete=False)
    job.storage.retire(job.run.lineage)
    job.storage.remove_leftovers(job.run.epoch)
    assert folders(job) == ["chk-00000001-e0001", "chk-00000002-e0001"]


def test_a_job_that_starts_over_forgets_when_it_has_something_new(url: str, fake_job: Any) -> None:
    """After a start from nothing old checkpoints do not count, and the first new one ends them."""
    job = fake_job(url)
    job.start()
    job.take(b"one")
    job.run.release()
    again = fake_job(url)
    again.start()
    again.run.continue_from(0)
    assert again.storage.newest_valid(again.run.lineage).checkpoint is None
    assert folders(again) == ["chk-00000001-e0001"]
    again.take(b"new")
    assert folders(again) == ["chk-00000003-e0002"]


def test_jobs_of_two_names_share_a_folder_in_peace(url: str, fake_job: Any) -> None:
    """Jobs of different names see nothing of each other, however odd the names are."""
    names = ["a", "a/b", "a_b", "../a", "", "Ä" * 300, "a b"]
    jobs = [fake_job(url, name) for name in names]
    for job in jobs:
        job.start()
        job.take(job.name.encode())
    assert [job.payload(job.storage.newest_valid().checkpoint) for job in jobs] == [
        name.encode() for name in names
    ]
    assert len({job.storage.path for job in jobs}) == len(names)


def test_names_of_files_are_safe() -> None:
    """A name of letters stays readable; any other is changed, differently from every other."""
    assert safe_name("Word_count-2") == "Word_count-2"
    odd = ["a/b", "a b", "a_b", "a.b", "", ".", "..", "a" * 81, "a" * 82]
    assert len({safe_name(name) for name in odd}) == len(odd)
    assert all("/" not in safe_name(name) and len(safe_name(name)) < 100 for name in odd)
    assert state_file_name("@x", 3) != state_file_name("_x", 3)


def test_a_written_file_travels() -> None:
    """What a task in another process has written comes to the coordinator by pickle."""
    file = WrittenFile("chk-1/a-0.state", 5, "ab")
    assert pickle.loads(pickle.dumps(file)) == file


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    """An impossible checkpoint_dir is an error that names it and says what to do."""
    (tmp_path / "file").write_text("in the way")
    storage = CheckpointStorage(str(tmp_path / "file"), "job")
    with pytest.raises(CheckpointError, match="file/job") as caught:
        storage.prepare()
    assert "another checkpoint_dir" in str(caught.value)


def test_a_scheme_that_nothing_knows_is_told_at_once() -> None:
    """A URL that fsspec cannot open is an error that says what is missing."""
    with pytest.raises(CheckpointError, match="nosuch://x") as caught:
        CheckpointStorage("nosuch://x", "job")
    assert "install" in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_told_at_once(tmp_path: Path) -> None:
    """A folder without the right to write is an error that says so."""
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match="Permission denied"):
        CheckpointStorage(str(tmp_path), "job").prepare()


def test_every_step_of_a_checkpoint_has_a_name(
    tmp_path: Path, fake_job: Any, steps_of: Callable[..., list[str]]
) -> None:
    """Each write, fsync and rename is announced, and a state is told from a manifest."""
    job = fake_job(tmp_path, retain=1)
    job.start()
    job.take(b"one")
    owner = [f"storage.owner.{what}" for what in WRITTEN]
    manifest = [f"storage.manifest.{what}" for what in WRITTEN]
    state = ["storage.state.write.before"] * 2 + ["storage.state.fsync.before"]
    assert steps_of(lambda: job.take(b"two")) == [
        *owner,
        *state,
        *manifest,
        "storage.retire.before",
    ]


WRITTEN = ["write.before", "fsync.before", "rename.before", "rename.after"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_leaves_the_old_checkpoint(
    tmp_path: Path, fake_job: Any, at_step: Callable[..., None], error: int
) -> None:
    """Whichever write, fsync or rename fails, the old checkpoint stands, and the next one works."""

    def fail() -> None:
        raise OSError(error, os.strerror(error))

    for step in range(len(WRITTEN) * 2 + 3):
        job = fake_job(tmp_path / str(step), retain=1)
        job.start()
        job.take(b"old")
        at_step(step, fail)
        with pytest.raises(CheckpointError, match="job") as caught:
            job.take(b"new")
        at_step(-1, fail)
        assert os.strerror(error) in caught.value.message
        assert error == errno.EIO or "checkpoint_dir" in (caught.value.hint or "")
        found = job.storage.newest_valid(job.run.lineage)
        is_there = step >= len(WRITTEN) * 2 + 2  # the manifest had been renamed
        assert job.payload(found.checkpoint) == (b"new" if is_there else b"old")
        job.take(b"newest")
        assert job.payload(job.storage.newest_valid().checkpoint) == b"newest"
        assert len(folders(job)) == 1


def test_an_old_checkpoint_that_cannot_be_deleted_stops_nothing(
    tmp_path: Path,
    fake_job: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What cannot be deleted is told and tried again with the next checkpoint."""
    job = fake_job(tmp_path, retain=1)
    job.start()
    job.take(b"one")

    def busy(path: str) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    with monkeypatch.context() as patched:
        patched.setattr(job.storage.files, "delete_folder", busy)
        job.take(b"two")
    assert "chk-00000001-e0001' yet: [Errno 16]" in caplog.text
    assert job.payload(job.storage.newest_valid(job.run.lineage).checkpoint) == b"two"
    job.take(b"three")
    assert folders(job) == ["chk-00000003-e0001"]


def test_a_disk_that_is_really_full_leaves_the_old_checkpoint(
    tmp_path: Path, fake_job: Any, child: Any
) -> None:
    """What the operating system refuses in the middle of a file is told, and nothing is lost."""

    def work() -> None:
        job = fake_job(tmp_path)
        job.start()
        job.take(b"old")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        job.take(bytes(4 << 20))

    assert child(work).ended() == "CheckpointError"
    assert not list(tmp_path.glob("job/chk-00000002*/*"))
    again = fake_job(tmp_path)
    assert again.payload(again.start().checkpoint) == b"old"


class FakeFullStore(MemoryFileSystem):
    """An object store that refuses the n-th of what is put into it."""

    left = -1

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        self._count()
        super().pipe_file(path, value, mode, **kwargs)

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if "w" in mode:
            self._count()
        return super()._open(path, mode, **kwargs)

    def _count(self) -> None:
        cls = type(self)
        cls.left -= 1
        if cls.left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_store_that_is_full_leaves_the_old_checkpoint(tmp_path: Path, fake_job: Any) -> None:
    """Whichever object an object store refuses, the old checkpoint stands, and the next works."""
    for refused in (1, 2, 3):
        job = fake_job(f"memory:/{tmp_path}/{refused}", retain=1)
        job.storage.files = RemoteFilesystem(FakeFullStore())
        job.start()
        job.take(b"old")
        FakeFullStore.left = refused
        with pytest.raises(CheckpointError, match="No space left"):
            take_through(job, b"new")
        assert job.payload(job.storage.newest_valid(job.run.lineage).checkpoint) == b"old"
        take_through(job, b"newest")
        assert job.payload(job.storage.newest_valid().checkpoint) == b"newest"
        assert len(folders(job)) == 1


def take_through(job: Any, payload: bytes) -> None:
    """Take a checkpoint with the storage's own filesystem, also for the task."""
    number = job.run.highest_begun + 1
    job.run.heartbeat(highest_begun=number)
    job.storage.begin(number, job.run.epoch)
    path = f"{job.storage.path}/chk-{number:08d}-e0001/task-0.state"
    sections = [Section("whole", "state", payload)]
    file = write_state_file(job.storage.files, path, [("task", sections)])
    job.storage.complete(job.manifest(number, file), job.run.check)
    job.storage.retire(job.run.lineage)


def test_a_manifest_is_plain_json(tmp_path: Path, fake_job: Any) -> None:
    """What a checkpoint consists of can be read without this library."""
    job = fake_job(tmp_path)
    job.start()
    job.take(b"one")
    content = json.loads((tmp_path / "job" / "chk-00000001-e0001" / MANIFEST).read_text())
    assert content["content"]["job"] == "job"
    assert Manifest.from_bytes(
        (tmp_path / "job" / "chk-00000001-e0001" / MANIFEST).read_bytes(), "m"
    )
