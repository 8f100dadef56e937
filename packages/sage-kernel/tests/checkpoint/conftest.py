"""A stand-in for a job that takes checkpoints, and children that are killed for good."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from sage.kernel.checkpoint import steps
from sage.kernel.checkpoint.filesystem import filesystem_of
from sage.kernel.checkpoint.manifest import Manifest, TaskEntry
from sage.kernel.checkpoint.operator_state import Section
from sage.kernel.checkpoint.state_file import WrittenFile, read_state_file, write_state_file
from sage.kernel.checkpoint.storage import CheckpointStorage, Found, folder_name, state_file_name
from sage.kernel.checkpoint.stored_checkpoint import StoredCheckpoint


class FakeJob:
    """One task whose state is a few bytes, and its coordinator, without a runtime."""

    def __init__(self, url: Any, name: str = "job", *, retain: int = 3) -> None:
        self.url, self.name, self.retain = str(url), name, retain
        self.storage = CheckpointStorage(self.url, name, retain=retain)

    def start(self, lease_s: float = 30.0, *, clear: bool = True) -> Found:
        """Take over, find what to go on from, and clear up."""
        self.run = self.storage.take_over(lease_s)
        found = self.storage.newest_valid(self.run.lineage)
        stored = found.checkpoint
        self.run.continue_from(stored.manifest.checkpoint if stored else 0)
        if clear:
            self.storage.remove_leftovers(self.run.epoch)
        return found

    def take(self, payload: bytes, *, complete: bool = True) -> int:
        """Take a checkpoint the way a job does; return its number."""
        number = self.run.highest_begun + 1
        self.run.heartbeat(highest_begun=number)
        files, folder = filesystem_of(self.storage.begin(number, self.run.epoch))
        sections = [Section("whole", "state", payload)]
        file = write_state_file(
            files, f"{folder}/{state_file_name('task', 0)}", [("task", sections)]
        )
        if complete:
            self.storage.complete(self.manifest(number, file), self.run.check)
            self.storage.retire(self.run.lineage)
        return number

    def manifest(self, number: int, file: WrittenFile, **more: Any) -> Manifest:
        task = TaskEntry("task", ("task",), 0, 1, file=file, **more)
        folder = folder_name(number, self.run.epoch)
        return Manifest(
            checkpoint=number, epoch=self.run.epoch, job=self.name, folder=folder, tasks=(task,)
        )

    def payload(self, stored: StoredCheckpoint | None) -> bytes | None:
        """Read back what `take` was given."""
        if stored is None:
            return None
        file = stored.manifest.tasks[0].file
        assert file is not None
        found = read_state_file(self.storage.files, stored.locate(file), expected=file)
        return b"".join(section.payload for _, section in found)


class Child:
    """A forked process that does some work; how it ends is seen by `ended` or `stopped`."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                work()
                code = 0
            except BaseException as error:
                if os.environ.get("SHOW_CHILDREN"):
                    traceback.print_exception(error)
                code = EXIT_CODES.get(type(error).__name__, 1)
            finally:
                os._exit(code)

    def ended(self) -> str:
        """Wait for its end; return "done", "killed" or the name of the error."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        names = {0: "done", -signal.SIGKILL: "killed"} | {c: n for n, c in EXIT_CODES.items()}
        return names.get(status, str(status))

    def stopped(self) -> None:
        """Wait until it has been stopped by SIGSTOP."""
        assert os.WIFSTOPPED(os.waitpid(self.pid, os.WUNTRACED)[1])

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def close(self) -> None:
        if self.pid:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)


EXIT_CODES = {"FencedError": 70, "CheckpointError": 71, "DamagedCheckpointError": 72}


@pytest.fixture
def fake_job() -> Callable[..., FakeJob]:
    """Make a `FakeJob`."""
    return FakeJob


@pytest.fixture
def child() -> Iterator[Callable[[Callable[[], object]], Child]]:
    """Run work in a child process, which is gone when the test ends."""
    with ExitStack() as stack:

        def start(work: Callable[[], object]) -> Child:
            started = Child(work)
            stack.callback(started.close)
            return started

        yield start


@pytest.fixture
def steps_of() -> Iterator[Callable[[Callable[[], object]], list[str]]]:
    """Run work and return the names of the steps that it reached."""

    def run(work: Callable[[], object]) -> list[str]:
        reached: list[str] = []
        steps.watch(reached.append)
        try:
            work()
        finally:
            steps.watch(None)
        return reached

    yield run
    steps.watch(None)


@pytest.fixture
def at_step() -> Iterator[Callable[[int, Callable[[], object]], None]]:
    """Have something done at the n-th step from now on (0 is the next one)."""

    def install(at: int, do: Callable[[], object]) -> None:
        count = -1

        def callback(step: str) -> None:
            nonlocal count
            count += 1
            if count == at:
                do()

        steps.watch(callback)

    yield install
    steps.watch(None)
