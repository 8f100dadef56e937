"""A process that is killed at any step leaves a checkpoint to go on from."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_kill_at_each_step_leaves_the_old_or_the_new_checkpoint(
    tmp_path: Path, fake_job: Any, child: Any, at_step: Callable[..., None]
) -> None:
    """After a kill -9 before and after each write, fsync, rename and deletion one of both is whole,
    the next run takes over at once, and nothing is left over."""
    step, last = 0, ""
    while last != "done":
        job = fake_job(tmp_path / str(step), retain=1)

        def work(job: Any = job, step: int = step) -> None:
            job.start()
            job.take(b"old")
            at_step(step, kill_myself)
            job.take(b"new")

        last = child(work).ended()
        again = fake_job(tmp_path / str(step), retain=1)
        found = again.start()
        is_there = step >= 10  # the manifest had been renamed
        assert again.payload(found.checkpoint) == (b"new" if is_there else b"old"), step
        again.take(b"newest")
        assert again.payload(again.storage.newest_valid().checkpoint) == b"newest"
        left = sorted(p.name for p in Path(again.storage.path).iterdir())
        assert left == [f"chk-0000000{again.run.highest_begun}-e0002", "owners"]
        step += 1
    assert step > 12


def test_a_kill_at_each_step_of_a_start_is_survived(
    tmp_path: Path, fake_job: Any, child: Any, at_step: Callable[..., None]
) -> None:
    """A start that is killed at any of its steps does no harm, nor does a second one in a row."""
    job = fake_job(tmp_path, retain=2)
    job.start()
    job.take(b"old")
    job.take(b"unfinished", complete=False)
    job.run.release()
    last, step = "", 0
    while last != "done":

        def work(step: int = step) -> None:
            at_step(step, kill_myself)
            fake_job(tmp_path, retain=2).start()

        last = child(work).ended()
        assert last in ("killed", "done")
        step += 1
    again = fake_job(tmp_path)
    assert again.payload(again.start().checkpoint) == b"old"
    assert step > 10
    assert again.run.highest_begun > 2
    owners = sorted(os.listdir(f"{again.storage.path}/owners"))
    assert [name.rpartition(".")[2] for name in owners] == ["json", "lock"], "no leftovers"
