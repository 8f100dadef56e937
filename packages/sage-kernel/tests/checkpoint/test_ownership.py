"""One run at a time writes the checkpoints of a job, and a fenced one cannot harm its successor."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sage.kernel.checkpoint import owner_record, ownership, steps
from sage.kernel.checkpoint.filesystem import filesystem_of
from sage.kernel.checkpoint.owner_record import current_owner
from sage.kernel.checkpoint.ownership import Ownership, take
from sage.kernel.errors import CheckpointError, DamagedCheckpointError, FencedError


@pytest.fixture(params=["disk", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder on a disk, and one in an object store."""
    return str(tmp_path) if request.param == "disk" else f"memory:/{tmp_path}"


def taken(url: Any, job: str = "job", lease_s: float = 30.0) -> Ownership:
    files, path = filesystem_of(str(url))
    return take(files, path, job, lease_s=lease_s)


def test_each_run_has_a_higher_epoch(url: str) -> None:
    """Runs are numbered, and each begins behind what the one before had begun or just begins."""
    first = taken(url)
    first.heartbeat(highest_begun=7)
    first.heartbeat()
    first.release()
    first.release()
    second = taken(url)
    assert (first.epoch, second.epoch, second.highest_begun) == (1, 2, 8)
    second.check()


def test_a_second_run_of_the_same_job_is_refused(url: str) -> None:
    """While a run is alive, another of the same name is told which process, where, since when."""
    first = taken(url)
    with pytest.raises(CheckpointError, match="is running already") as caught:
        taken(url)
    error = caught.value
    assert error.fields["pid"] == os.getpid()
    assert f"process {os.getpid()} on {error.fields['host']}, since 20" in error.message
    assert "kill" in str(error)
    first.check()


def test_another_process_is_refused_too(tmp_path: Path, child: Any) -> None:
    """The same between processes."""
    first = taken(tmp_path)
    assert child(lambda: taken(tmp_path)).ended() == "CheckpointError"
    first.release()
    assert child(lambda: taken(tmp_path)).ended() == "done"


def test_a_dead_process_is_taken_over_at_once(tmp_path: Path, child: Any) -> None:
    """After a kill -9 nobody waits for a lease."""

    def work() -> None:
        taken(tmp_path, lease_s=3600.0)
        os.kill(os.getpid(), signal.SIGKILL)

    assert child(work).ended() == "killed"
    assert taken(tmp_path, lease_s=3600.0).epoch == 2


def test_a_process_of_another_machine_is_given_its_lease(
    tmp_path: Path, child: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A free lock says nothing about a process on another machine; its heartbeat does."""
    for module in (owner_record, ownership):
        monkeypatch.setattr(module, "this_machine", lambda: "another")
    assert child(lambda: taken(tmp_path)).ended() == "done"
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="is running already"):
        taken(tmp_path)
    assert taken(tmp_path, lease_s=0.0).epoch == 2


def test_a_clock_that_jumps_ends_no_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one machine the lease is measured by a clock that nobody can set."""
    run = taken(tmp_path)
    now = ownership.time.time()
    for hour in (-3600.0, 3600.0):
        monkeypatch.setattr(ownership.time, "time", lambda hour=hour: now + hour)
        with pytest.raises(CheckpointError, match="is running already"):
            taken(tmp_path)
    run.check()


def stopping_at(at: str) -> Callable[[str], None]:
    """Watch for a step, and stop this process there as SIGSTOP from outside would."""

    def stop(step: str) -> None:
        if step == at:
            os.kill(os.getpid(), signal.SIGSTOP)

    return stop


@pytest.mark.parametrize(
    ("at", "is_cleared", "told"),
    [
        ("storage.manifest.rename.before", False, "FencedError"),
        ("storage.manifest.rename.before", True, "FencedError"),
        ("storage.state.fsync.before", False, "FencedError"),
        ("storage.state.fsync.before", True, "CheckpointError"),  # tasks know no owners
    ],
)
def test_a_fenced_run_publishes_nothing_that_counts(
    tmp_path: Path, fake_job: Any, child: Any, at: str, is_cleared: bool, told: str
) -> None:
    """Stopped past its lease and continued, even between its last check and its manifest, no
    recovery takes what a run writes that was taken over, and the run is told."""

    def work() -> None:
        job = fake_job(tmp_path)
        job.start()
        job.take(b"common")
        steps.watch(stopping_at(at))
        job.take(b"of the fenced run")

    old = child(work)
    old.stopped()
    with pytest.raises(CheckpointError, match="is running already"):
        fake_job(tmp_path).start(lease_s=3600.0)
    new = fake_job(tmp_path, retain=1)
    assert new.payload(new.start(lease_s=0.0, clear=is_cleared).checkpoint) == b"common"
    old.signal(signal.SIGCONT)
    assert old.ended() == told

    published = Path(new.storage.path, "chk-00000002-e0001", "MANIFEST.json").exists()
    assert published == (at == "storage.manifest.rename.before" and not is_cleared)
    found = new.storage.newest_valid(new.run.lineage)
    assert new.payload(found.checkpoint) == b"common"
    assert not published or "taken over" in found.passed_over[0].reason
    new.run.release()

    third = fake_job(tmp_path, retain=1)
    assert third.payload(third.start().checkpoint) == b"common"
    third.take(b"next")
    assert third.payload(third.storage.newest_valid(third.run.lineage).checkpoint) == b"next"
    assert sorted(p.name for p in Path(third.storage.path).glob("chk-*")) == ["chk-00000005-e0003"]


def test_a_fenced_run_cannot_overwrite_the_record_of_its_successor(
    tmp_path: Path, child: Any
) -> None:
    """A run that was stopped in the middle of a heartbeat leaves the new owner as it is."""

    def work() -> None:
        run = taken(tmp_path)
        steps.watch(stopping_at("storage.owner.rename.before"))
        run.heartbeat()
        run.heartbeat()

    old = child(work)
    old.stopped()
    new = taken(tmp_path, lease_s=0.0)
    new.heartbeat(highest_begun=3)
    old.signal(signal.SIGCONT)
    assert old.ended() == "FencedError"
    files, path = filesystem_of(str(tmp_path))
    assert current_owner(files, path) == new.record
    new.check()


def test_a_starter_that_was_stopped_on_the_way_comes_too_late(tmp_path: Path, child: Any) -> None:
    """Of two starts at once one wins, also when the other is stopped before its record is there."""

    def work() -> None:
        steps.watch(stopping_at("storage.owner.rename.before"))
        taken(tmp_path)

    old = child(work)
    old.stopped()
    with pytest.raises(CheckpointError, match="just starting"):
        taken(tmp_path)
    new = taken(tmp_path, lease_s=-1.0)
    assert new.epoch == 2
    old.signal(signal.SIGCONT)
    assert old.ended() == "CheckpointError"
    new.check()
    new.heartbeat()


def test_a_disk_without_locks_has_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a mounted filesystem knows no locks, a run is still refused while another is alive."""

    def refused(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    first = taken(tmp_path)
    with pytest.raises(CheckpointError, match="is running already"):
        taken(tmp_path)
    first.check()
    second = taken(tmp_path, lease_s=0.0)
    with pytest.raises(FencedError):
        first.check()
    second.heartbeat()


@pytest.mark.parametrize("scheme", ["", "memory:/"])
def test_a_start_that_is_overtaken_gives_up(
    tmp_path: Path, at_step: Callable[..., None], scheme: str
) -> None:
    """A run that finds the record of another one where its own was to be is refused."""
    url = f"{scheme}{tmp_path}"
    files, path = filesystem_of(url)
    files.make_folder(f"{path}/owners")

    def overtake() -> None:
        files.publish(f"{path}/owners/00000001.json", b"another's", "another")

    at_step(0, overtake)
    with pytest.raises(CheckpointError, match="just starting"):
        taken(url)
    with files.reading(f"{path}/owners/00000001.json") as file:
        assert file.read() == b"another's"


def test_two_that_wrote_the_same_epoch_are_not_both_owners(tmp_path: Path) -> None:
    """In a store that lets the last of two writers win, the other one learns that it has lost."""
    url = f"memory:/{tmp_path}"
    first = taken(url)
    files, path = filesystem_of(url)
    other = replace(first.record, token="another", pid=1)
    files.publish(f"{path}/owners/00000001.json", other.to_bytes(), "test")
    with pytest.raises(FencedError, match="process 1"):
        first.check()


def test_of_many_starts_at_once_one_wins(tmp_path: Path, child: Any) -> None:
    """However many processes start a job at the same moment, at most one runs it, and one can."""
    gate_read, gate_write = os.pipe()

    def work() -> None:
        os.read(gate_read, 1)
        taken(tmp_path, lease_s=3600.0)
        os.kill(os.getpid(), signal.SIGSTOP)

    children = [child(work) for _ in range(8)]
    os.write(gate_write, b"x" * len(children))
    ends = [os.waitpid(one.pid, os.WUNTRACED)[1] for one in children]
    winners = [one for one, end in zip(children, ends, strict=True) if os.WIFSTOPPED(end)]
    assert len(winners) <= 1
    files, path = filesystem_of(str(tmp_path))
    owner = current_owner(files, path)
    assert [one.pid for one in winners] == ([owner.pid] if owner is not None else [])
    for one in winners:
        one.signal(signal.SIGKILL)
        one.ended()
    assert taken(tmp_path).epoch == (2 if winners else 1)
    os.close(gate_read)
    os.close(gate_write)


def test_a_run_that_cannot_say_so_still_lets_go(
    tmp_path: Path, at_step: Callable[..., None]
) -> None:
    """When the disk is full at the end, the lock is free all the same."""

    def fail() -> None:
        raise OSError(28, "No space left on device")

    run = taken(tmp_path)
    at_step(0, fail)
    with pytest.raises(CheckpointError, match="No space left"):
        run.release()
    assert taken(tmp_path).epoch == 2
    with pytest.raises(FencedError):
        run.check()


def test_every_flip_and_truncation_of_a_record_is_told(tmp_path: Path) -> None:
    """A damaged owner record is an error that names it: nobody starts on a guess."""
    taken(tmp_path).release()
    path = tmp_path / "owners" / "00000001.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        for harmed in (
            whole[:position],
            whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :],
        ):
            path.write_bytes(harmed)
            with pytest.raises(DamagedCheckpointError, match=r"00000001.json"):
                taken(tmp_path)
    path.write_bytes(whole)
    assert taken(tmp_path).epoch == 2


def test_numbers_go_up_although_the_records_are_gone(tmp_path: Path, fake_job: Any) -> None:
    """Whoever deletes the owner records of a job loses nothing: no folder is written twice."""
    job = fake_job(tmp_path)
    job.start()
    for payload in (b"one", b"two"):
        job.take(payload)
    job.run.release()
    for record in (tmp_path / "job" / "owners").iterdir():
        record.unlink()
    again = fake_job(tmp_path)
    assert again.payload(again.start().checkpoint) == b"two"
    assert again.run.epoch == 2
    assert again.take(b"three") == 3
    found = again.storage.newest_valid(again.run.lineage)
    assert again.payload(found.checkpoint) == b"three"


def test_the_folder_of_another_job_is_refused(tmp_path: Path) -> None:
    """A folder belongs to one job, even where two names look the same to a filesystem."""
    taken(tmp_path, "Job").release()
    with pytest.raises(CheckpointError, match="belongs to the job 'Job'"):
        taken(tmp_path, "job")
