"""What a run says of itself to those who want to run the same job.

A record is replaced as a whole, so whoever reads one sees it as it was at some moment.
"""

from __future__ import annotations

import functools
import socket
import time
from dataclasses import dataclass, field

import msgspec

from sage.kernel.checkpoint.filesystem import Filesystem, explained
from sage.kernel.checkpoint.lineage import Lineage
from sage.kernel.checkpoint.sealed import seal, unseal
from sage.kernel.errors import DamagedCheckpointError

__all__ = [
    "OwnerRecord",
    "current_owner",
    "epochs_in",
    "read_record",
    "record_path",
    "this_machine",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerRecord:
    """A run of a job, as others see it.

    Attributes:
        job: Name of the job.
        epoch: Its number among the runs.
        token: Tells it from every other run.
        pid: Its process.
        host: The machine's name.
        machine: The machine and its boot: locks and the monotonic clock mean something within it.
        started_at: When it took over, in seconds since 1970.
        heartbeat_at: When it last gave a sign of life, in seconds since 1970.
        heartbeat_s: The same on the machine's monotonic clock.
        is_locked: Whether it holds its lock for as long as it lives.
        is_released: Whether it has ended, and said so.
        highest_begun: The highest number of a checkpoint that it, or a run before it, has begun.
        lineage: Which checkpoints count.
    """

    job: str
    epoch: int
    token: str
    pid: int
    host: str
    machine: str
    started_at: float
    heartbeat_at: float
    heartbeat_s: float
    is_locked: bool = False
    is_released: bool = False
    highest_begun: int = 0
    lineage: Lineage = field(default_factory=Lineage)

    def to_bytes(self) -> bytes:
        """Return it as JSON with its checksum."""
        return seal(msgspec.json.encode(self))

    def silent_s(self) -> float:
        """Return for how long it has given no sign of life."""
        if self.machine == this_machine():
            return time.monotonic() - self.heartbeat_s
        return time.time() - self.heartbeat_at


def current_owner(files: Filesystem, folder: str) -> OwnerRecord | None:
    """Return the run that wrote, or writes, the checkpoints of a job; None if it never ran.

    Args:
        files: Where the job's folder is.
        folder: The job's folder.
    """
    owners = f"{folder}/owners"
    with explained("read the owners in", owners):
        highest = max(epochs_in(files, owners), default=0)
        return read_record(files, owners, highest) if highest else None


def epochs_in(files: Filesystem, owners: str) -> list[int]:
    """Return the epochs that there are records of."""
    names = (name.partition(".") for name in files.names(owners))
    return [int(stem) for stem, _, kind in names if kind == "json" and stem.isdigit()]


def read_record(files: Filesystem, owners: str, epoch: int) -> OwnerRecord:
    """Return the record of an epoch.

    Raises:
        DamagedCheckpointError: if it is not what was written.
    """
    path = record_path(owners, epoch)
    with files.reading(path) as file:
        content = file.read()
    body = unseal(content)
    if body is None:
        reason = "it is not what was written"
        raise DamagedCheckpointError(
            f"the owner record {path!r} is damaged: {reason}",
            hint="if no run of this job is alive, delete the file",
            path=path,
            reason=reason,
        )
    return msgspec.json.decode(body, type=OwnerRecord)


def record_path(owners: str, epoch: int) -> str:
    """Return where the record of an epoch is."""
    return f"{owners}/{epoch:08d}.json"


@functools.cache
def this_machine() -> str:
    """Name the machine and its boot: containers of one kernel share its locks and its clock."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return socket.gethostname()
