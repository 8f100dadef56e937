"""Snapshots are written in order, and changes only on top of files that are whole."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.checkpoint.messages import Acknowledged, Declined, Finished, Message
from sage.kernel.checkpoint.operator_state import Chunk, OperatorState, Section
from sage.kernel.checkpoint.state_file import WrittenFile
from sage.kernel.errors import CheckpointError
from sage.kernel.runtime.snapshot_writer import SnapshotWriter, TaskSnapshot
from sage.kernel.state.codec import StateCodec

TASK = (0, 0)


class Disk:
    """Takes files, or fails."""

    def __init__(self) -> None:
        self.fails = False

    def write(
        self, folder: str, label: str, operators: Iterator[tuple[str, Iterator[Section]]]
    ) -> WrittenFile:
        if self.fails:
            raise CheckpointError("no space left")
        size = sum(len(s.payload) for _, sections in operators for s in sections)
        return WrittenFile(f"{folder}/{label}", size, "sum")


class Written:
    """A writer, and what it has reported."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.writer = SnapshotWriter(self.disk.write)
        self.messages: list[Message] = []
        self._arrived = threading.Semaphore(0)

    def report(self, message: Message) -> None:
        self.messages.append(message)
        self._arrived.release()

    def snapshot(self, checkpoint: int, pairs: int, *, value: object = 1) -> Message:
        """Submit what an operator with that many (changed) pairs says; return the answer."""
        changes = not self.writer.wants_full(TASK)
        return self.submit(checkpoint, [("counts", pairs, changes)], value=value)

    def submit(
        self, checkpoint: int, pieces: Sequence[tuple[str, int, bool]], *, value: object = 1
    ) -> Message:
        """Submit pieces of state: their names, how many pairs, and whether they are changes."""
        state = OperatorState(StateCodec("count"))
        for name, pairs, changes in pieces:
            chunks = [Chunk(range(pairs), [value] * pairs)] if pairs else []
            state.put_lazily(name, chunks, changes=changes)
        barrier = Barrier(checkpoint, f"chk-{checkpoint}")
        self.writer.submit(self.report, TaskSnapshot(TASK, "t", barrier, [("uid", state)]))
        assert self._arrived.acquire(timeout=20)
        return self.messages[-1]


def bases(message: Message) -> list[str]:
    """Return the files that an acknowledged one rests on."""
    assert isinstance(message, Acknowledged)
    return [file.path for files in message.bases.values() for file in files]


def test_changes_rest_on_the_files_before_them_until_they_outgrow_them() -> None:
    """A chain is begun anew when its changes are larger than what they change."""
    written = Written()
    assert bases(written.snapshot(1, 100)) == []
    assert bases(written.snapshot(2, 60)) == ["chk-1/t"]
    assert bases(written.snapshot(3, 60)) == ["chk-1/t", "chk-2/t"]
    assert written.writer.wants_full(TASK)
    assert bases(written.snapshot(4, 100)) == []
    assert bases(written.snapshot(5, 1)) == ["chk-4/t"]
    written.writer.close()


def test_a_chain_has_only_so_many_files() -> None:
    """Changes may be tiny for ever; a recovery must not have to read a file for each of them."""
    written = Written()
    longest = max(len(bases(written.snapshot(n, 1000 if n == 1 else 1))) for n in range(1, 100))
    assert 8 < longest <= 64
    written.writer.close()


def test_changes_do_not_rest_on_what_was_gone_in_between() -> None:
    """What is taken whole and is empty is forgotten, not brought back by the next changes."""
    written = Written()
    written.submit(1, [("kept", 9, False), ("emptied", 9, False)])
    written.submit(2, [("kept", 9, False), ("emptied", 0, False)])
    third = written.submit(3, [("kept", 1, True), ("emptied", 1, True)])
    assert bases(third) == ["chk-2/t"]
    written.writer.close()


def test_there_is_one_thread_however_many_tasks_begin_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two would tell the end of a task before its snapshot, and one of them would never end."""
    started: list[threading.Thread] = []
    together = threading.Barrier(2)

    class SlowlyMade(threading.Thread):
        def __init__(self, **given: Any) -> None:
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(0.2)  # as long as nobody else is here
            super().__init__(**given)
            started.append(self)

    written = Written()
    tasks = [
        threading.Thread(
            target=written.writer.submit_finished, args=(written.report, Finished((n, 0), ()))
        )
        for n in range(2)
    ]
    monkeypatch.setattr(threading, "Thread", SlowlyMade)
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert len(started) == 1
    written.writer.close()
    assert len(written.messages) == 2


def test_nothing_rests_on_a_file_that_could_not_be_written() -> None:
    """Behind a full disk the next snapshot is a full one."""
    written = Written()
    written.snapshot(1, 100)
    written.disk.fails = True
    assert isinstance(declined := written.snapshot(2, 10), Declined)
    assert not declined.fatal
    written.disk.fails = False
    assert bases(written.snapshot(3, 100)) == []
    assert bases(written.snapshot(4, 10)) == ["chk-3/t"]
    written.writer.close()


def test_a_value_that_cannot_be_stored_is_fatal() -> None:
    """It names the operator, and trying again would not help."""
    written = Written()
    declined = written.snapshot(1, 1, value=threading.Lock())
    assert isinstance(declined, Declined)
    assert declined.fatal
    assert "'count'" in str(declined.error)
    written.writer.close()


def test_the_end_of_a_task_is_told_behind_its_snapshots() -> None:
    """So the coordinator never takes last words for a checkpoint that the task has cut."""
    written = Written()
    state = OperatorState(StateCodec())
    state.put_whole("n", 1)
    barrier = Barrier(1, "chk-1")
    written.writer.submit(written.report, TaskSnapshot(TASK, "t", barrier, [("uid", state)]))
    written.writer.submit_finished(written.report, Finished(TASK, ()))
    written.writer.close()
    assert [type(m) for m in written.messages] == [Acknowledged, Finished]
