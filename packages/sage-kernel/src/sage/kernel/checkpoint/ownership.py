"""Who runs a job: at most one run, and whoever was taken over can harm nothing any more.

Each start of a job takes the next *epoch*, and with it a record and a lock of its own::

    <job>/owners/00000003.json   who runs it since when, last sign of life, which checkpoint it
    <job>/owners/00000003.lock   continues; the lock is held (flock) as long as its process lives

The highest epoch is the owner. Each file has one writer, so that a process that was stopped in the
middle of anything (SIGSTOP, a paused machine) and goes on later cannot overwrite what belongs to
its successor. It is told at its next `Ownership.check`; and should it have been stopped between
that and its manifest, the manifest counts for nothing: its successor has recorded from which
checkpoint it goes on, and what an older epoch publishes behind that one is not in the *lineage*.
Invariant: of all runs of a job, only the latest can add to its history.

Safety never depends on clocks. They only say when a run that gives no sign of life may be taken
over; on one machine that is the monotonic clock, and a lock that is free needs no clock at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from sage.kernel.checkpoint.filesystem import Filesystem, explained
from sage.kernel.checkpoint.lineage import Lineage
from sage.kernel.checkpoint.owner_record import (
    OwnerRecord,
    current_owner,
    epochs_in,
    read_record,
    record_path,
    this_machine,
)
from sage.kernel.errors import CheckpointError, FencedError

__all__ = ["Ownership", "take"]

_STEP = "storage.owner"


class Ownership:
    """The right to write the checkpoints of a job; `take` grants it.

    Used by one thread, the coordinator's.

    Attributes:
        record: What others see of it.
    """

    def __init__(
        self, files: Filesystem, folder: str, record: OwnerRecord, lock: int | None
    ) -> None:
        self.record = record
        self._files = files
        self._folder = folder
        self._lock = lock

    @property
    def epoch(self) -> int:
        """The number of this run."""
        return self.record.epoch

    @property
    def highest_begun(self) -> int:
        """The highest number of a checkpoint that was ever begun; the next one is higher."""
        return self.record.highest_begun

    @property
    def lineage(self) -> Lineage:
        """Which checkpoints count."""
        return self.record.lineage

    def check(self) -> None:
        """Make sure that nobody has taken over.

        Raises:
            FencedError: if somebody has.
        """
        with explained("read the owners in", self._folder):
            highest = max(epochs_in(self._files, self._folder), default=0)
            if highest == self.epoch and self._lock is not None:
                return  # nobody else can have this epoch
            owner = read_record(self._files, self._folder, highest) if highest else self.record
        if owner.token != self.record.token:
            raise _fenced(self.record, owner)

    def continue_from(self, checkpoint: int) -> None:
        """Record from which checkpoint this run goes on; 0 if it starts from nothing.

        What earlier runs publish behind it from now on counts for nothing. To be called before the
        first checkpoint is begun.
        """
        self._write(replace(self.record, lineage=self.lineage.forked(self.epoch, checkpoint)))

    def heartbeat(self, *, highest_begun: int | None = None) -> None:
        """Give a sign of life, every third of the lease; and before a checkpoint is begun, say so.

        Args:
            highest_begun: The number of the checkpoint that is about to begin.

        Raises:
            FencedError: if another run has taken over.
            CheckpointError: if it cannot be written.
        """
        self.check()
        begun = self.highest_begun if highest_begun is None else highest_begun
        self._write(
            replace(
                self.record,
                highest_begun=max(begun, self.highest_begun),
                heartbeat_at=time.time(),
                heartbeat_s=time.monotonic(),
            )
        )

    def release(self) -> None:
        """Say that this run has ended, so that the next one need not wait.

        Raises:
            CheckpointError: if that cannot be written; the lock is free all the same.
        """
        if self.record.is_released:
            return
        try:
            with contextlib.suppress(FencedError):  # the next one is there already
                self._write(replace(self.record, is_released=True))
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _write(self, record: OwnerRecord) -> None:
        path = record_path(self._folder, record.epoch)
        try:
            with explained("write the owner record", path):
                self._files.publish(path, record.to_bytes(), _STEP)
        except CheckpointError:
            self.check()  # a successor clears away what the runs before it have left
            raise
        self.record = record


def take(
    files: Filesystem,
    folder: str,
    job: str,
    *,
    lease_s: float = 30.0,
    highest_epoch: int = 0,
    highest_begun: int = 0,
) -> Ownership:
    """Become the run that writes the checkpoints of a job.

    Args:
        files: Where the job's folder is.
        folder: The job's folder; it is there.
        job: Name of the job.
        lease_s: After how many seconds without a sign of life a run counts as gone whose process
            cannot be seen to have ended: it is stopped, or on another machine.
        highest_epoch: The highest epoch that has left a checkpoint; should somebody have deleted
            the records, numbers still go up.
        highest_begun: The highest number of a checkpoint that is there.

    Raises:
        CheckpointError: if another run of the job is alive, or the folder is another job's.
    """
    owners = f"{folder}/owners"
    with explained("write the owner record in", owners):
        files.make_folder(owners)
        before = current_owner(files, folder)
        if before is not None:
            _refuse_if_alive(files, owners, before, job, lease_s)
        first = max(before.epoch if before else 0, highest_epoch) + 1
        with _locked(files, owners, first, lease_s) as (epoch, lock):
            record = _first_record(job, epoch, before, highest_begun, lock)
            won = files.create(record_path(owners, epoch), record.to_bytes(), _STEP)
            if not won or max(epochs_in(files, owners)) > epoch:
                raise _starting(owners)
        _forget_older(files, owners, epoch)
    return Ownership(files, owners, record, lock)


def _first_record(
    job: str, epoch: int, before: OwnerRecord | None, highest_begun: int, lock: int | None
) -> OwnerRecord:
    return OwnerRecord(
        job=job,
        epoch=epoch,
        token=secrets.token_hex(8),
        pid=os.getpid(),
        host=socket.gethostname(),
        machine=this_machine(),
        started_at=time.time(),
        is_locked=lock is not None,
        # One higher than before, so that a run that stalls right behind this cannot undo what the
        # run does that takes over from it.
        highest_begun=max(before.highest_begun + 1 if before is not None else 0, highest_begun),
        lineage=before.lineage if before is not None else Lineage(),
        heartbeat_at=time.time(),
        heartbeat_s=time.monotonic(),
    )


def _refuse_if_alive(
    files: Filesystem, owners: str, before: OwnerRecord, job: str, lease_s: float
) -> None:
    if before.job != job:
        raise CheckpointError(
            f"{owners!r} belongs to the job {before.job!r}, not to {job!r}",
            hint="give one of them another name, or another checkpoint_dir",
            path=owners,
        )
    if before.is_released or before.silent_s() > lease_s:
        return
    if before.is_locked and before.machine == this_machine():
        lock = _try_lock(f"{owners}/{before.epoch:08d}.lock")
        if lock is not None:  # its process has gone without a word
            os.close(lock)
            return
    since = datetime.fromtimestamp(before.started_at).isoformat(sep=" ", timespec="seconds")
    raise CheckpointError(
        f"the job {job!r} is running already: process {before.pid} on {before.host}, since "
        f"{since}, last sign of life {max(before.silent_s(), 0.0):.0f} s ago",
        hint=f"stop that run first (kill {before.pid}), or give this job another name or "
        "checkpoint_dir; a run that has died on another machine is taken over "
        f"{lease_s:.0f} s (lease_s) after its last sign of life",
        pid=before.pid,
        host=before.host,
        started_at=before.started_at,
        path=owners,
    )


@contextlib.contextmanager
def _locked(
    files: Filesystem, owners: str, epoch: int, lease_s: float
) -> Iterator[tuple[int, int | None]]:
    """Hold the lock of the first epoch that nobody else is just taking; None where are no locks."""
    lock = None
    if files.is_local:
        try:
            while (lock := _try_lock(path := f"{owners}/{epoch:08d}.lock")) is None:
                if time.time() - os.stat(path).st_mtime < lease_s:
                    raise _starting(owners)
                epoch += 1  # whoever holds it was stopped on the way here
            os.utime(lock)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise  # else a mounted filesystem without locks: there is the lease
    try:
        yield epoch, lock
    except BaseException:
        if lock is not None:
            os.close(lock)
        raise


def _try_lock(path: str) -> int | None:
    """Return a descriptor that holds the lock; None if another process does."""
    import fcntl

    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def _forget_older(files: Filesystem, owners: str, epoch: int) -> None:
    """Delete what earlier runs left; the newest record holds all that they said."""
    for name in files.names(owners):
        number = name.lstrip(".").partition(".")[0]
        if number.isdigit() and int(number) < epoch:
            files.delete(f"{owners}/{name}")


def _starting(owners: str) -> CheckpointError:
    return CheckpointError(
        f"another run of this job is just starting in {owners!r}",
        hint="start it once only, or give this job another name or checkpoint_dir",
        path=owners,
    )


def _fenced(mine: OwnerRecord, owner: OwnerRecord) -> FencedError:
    return FencedError(
        f"the job {mine.job!r} was taken over by process {owner.pid} on {owner.host} (epoch "
        f"{owner.epoch}, this is {mine.epoch}): this run gave no sign of life for too long",
        hint="nothing is lost: the other run goes on from the last complete checkpoint",
        pid=owner.pid,
        host=owner.host,
        epoch=owner.epoch,
        path=mine.job,
    )
