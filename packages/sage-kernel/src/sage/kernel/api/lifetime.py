"""Jobs and the life of the process: Ctrl-C, and scripts that end while a job still runs.

A bounded job that was submitted runs to its end before the interpreter shuts its executors down; if
it fails, its error is printed and the exit code is not zero. An unbounded job is stopped with a
message.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sage.kernel.errors import JobCancelledError, JobTimeoutError

if TYPE_CHECKING:
    from sage.kernel.api.job import Job

__all__ = ["forget_job", "keep_alive", "stop_jobs", "stopping_on_interrupt", "wait_for_jobs"]

_alive: dict[Job, bool] = {}
_failed = False
_installed = False


def keep_alive(job: Job, *, bounded: bool) -> None:
    """Let the process wait for ``job`` (or stop it, if it has no end) before it exits."""
    _install()
    for ended in [other for other in _alive if other.status == "finished"]:
        del _alive[ended]
    _alive[job] = bounded


def forget_job(job: Job) -> None:
    """The caller has seen how the job ended."""
    _alive.pop(job, None)


@contextmanager
def stopping_on_interrupt(job: Job) -> Iterator[None]:
    """Turn the first Ctrl-C into an orderly end of ``job`` and the second into a stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = 0

    def interrupt(number: int, frame: Any) -> None:
        nonlocal pressed
        pressed += 1
        if pressed == 1:
            job.drain()
            how = "finishing what was read"
            if job.makes_checkpoints:
                how = "at a checkpoint, where the next run goes on"
            print(f"\nstopping: {how}; press Ctrl-C again to stop at once", file=sys.stderr)
            return
        job.cancel()
        raise KeyboardInterrupt

    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.default_int_handler:
        yield  # somebody else decides what Ctrl-C means
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if pressed:
        raise KeyboardInterrupt


def _install() -> None:
    global _installed
    if _installed:
        return
    _installed = True
    # concurrent.futures registers its shutdown when it is imported; the callbacks run last in,
    # first out, so ours has to be registered after it to run while executors still work.
    import concurrent.futures.thread  # noqa: F401

    register = getattr(threading, "_register_atexit", atexit.register)
    register(_wait_at_exit)
    atexit.register(_exit_with_failure)


def wait_for_jobs() -> None:
    """Wait for the jobs that were submitted and whose end nobody has waited for.

    Raises:
        JobFailedError: if one of them fails; the rest is waited for at the end of the process.
        KeyboardInterrupt: if Ctrl-C stopped one of them.
    """
    for job, bounded in list(_alive.items()):
        _wait_for(job, bounded)


def stop_jobs() -> None:
    """Let the jobs that were submitted end: Ctrl-C came before anybody waited for them."""
    running = [job for job in _alive if job.status == "running"]
    for job in running:
        job.drain()
    for job in running:
        with contextlib.suppress(JobCancelledError, JobTimeoutError):
            job.wait(10)


def _wait_for(job: Job, bounded: bool) -> None:
    if not bounded and job.status == "running":
        print(
            f"sage: job {job.name!r} has no end and is stopped because the script ended; "
            f"run_streaming() keeps it running",
            file=sys.stderr,
        )
        job.drain()
    with contextlib.suppress(JobCancelledError, JobTimeoutError), stopping_on_interrupt(job):
        job.wait(None if bounded else 10)


def _wait_at_exit() -> None:
    global _failed
    for job, bounded in list(_alive.items()):
        try:
            _wait_for(job, bounded)
        except KeyboardInterrupt:
            _failed = True  # what happens is told where the key is handled
        except BaseException as error:
            _failed = True
            print(f"sage: job {job.name!r} failed: {error}", file=sys.stderr)


def _exit_with_failure() -> None:
    if _failed:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
