"""Checkpoints of loops: a barrier goes round, and no head ends while another one waits for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sage.common.core.functions import SourceFunction
from sage.kernel import LocalEnvironment
from sage.kernel.checkpoint import steps
from sage.kernel.checkpoint.barrier import Barrier
from sage.kernel.runtime.channel import LoopTracker, Mailbox
from sage.kernel.runtime.loop_member import LoopMember
from sage.kernel.runtime.restoration import Restoration
from sage.kernel.runtime.task_checkpoints import TaskCheckpoints

PATIENCE_S = 20


class UntilComplete(SourceFunction[int]):
    """Gives a number, and another one when a checkpoint is complete."""

    def __init__(self, complete: threading.Event) -> None:
        self.complete, self.given = complete, 0

    def read(self, max_records: int) -> Sequence[int] | None:
        if self.given == 2:
            return None
        if self.given == 1 and not self.complete.wait(0.01):
            return []
        self.given += 1
        return [100]

    def snapshot_position(self) -> int:
        return self.given

    def seek(self, position: int) -> None:
        self.given = position


def test_a_head_that_had_ended_before_does_not_hold_the_loop_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint may have come between the ends of two heads; the other one can end as well."""
    finished: list[Any] = []

    def first_head(self: Restoration, vertex: Any, subtask: int) -> bool:
        ended = subtask == 0 and vertex.head.loop == vertex.head.uid and vertex.parallelism == 2
        finished.extend([vertex.name] if ended else [])
        return ended

    monkeypatch.setattr(Restoration, "is_finished", first_head)
    given = {"checkpoint_dir": tmp_path, "checkpoint_interval": 1000}
    env = LocalEnvironment("job", config={"fault_tolerance": given})
    nothing = env.from_collection(list[int]())
    nothing.iterate(lambda stream: stream.map(abs), max_iterations=3, parallelism=2).for_each(print)
    assert env.submit().wait(PATIENCE_S).status == "finished"
    assert finished


def test_a_loop_does_not_end_while_a_barrier_goes_round() -> None:
    """A head that ended without its barrier would be gone where another one is still at work."""
    tracker = LoopTracker()
    member = LoopMember(tracker, Mailbox(), [], [], 8)
    member.open_cut()
    assert tracker.under_way
    member.close_cut()
    assert not tracker.under_way


def test_a_barrier_that_never_comes_round_does_not_stop_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint of a loop may be given up while its barrier is under way."""
    lost: list[int] = []
    came_round = TaskCheckpoints._came_round

    def loses_the_first(self: TaskCheckpoints, channel: Any, barrier: Barrier) -> None:
        if barrier.checkpoint == 1:
            lost.append(barrier.checkpoint)
        else:
            came_round(self, channel, barrier)

    monkeypatch.setattr(TaskCheckpoints, "_came_round", loses_the_first)
    complete = threading.Event()
    steps.watch(lambda step: complete.set() if step == "manifest.after" else None)
    given = {"checkpoint_dir": tmp_path, "checkpoint_timeout": 0.2, "checkpoint_interval": 0.01}
    env = LocalEnvironment("job", config={"fault_tolerance": given})
    again = env.from_future("again")
    smaller = env.from_source(UntilComplete(complete)).union(again).map(lambda n: n // 2)
    smaller.filter(lambda n: n > 4).fill_future(again)
    results: list[int] = []
    smaller.filter(lambda n: n <= 4).for_each(results.append)
    try:
        assert env.submit().wait(PATIENCE_S).status == "finished"
    finally:
        steps.watch(None)
    assert lost
    assert results == [3, 3]


def test_a_full_loop_whose_records_wait_behind_a_barrier_lets_the_next_barrier_in(
    tmp_path: Path,
) -> None:
    """What is kept back keeps the loop full, and would keep out the very barrier it waits for."""
    gate = threading.Event()

    def plus_one(number: int) -> int:
        assert gate.wait(PATIENCE_S)
        return number + 1

    given = {"checkpoint_dir": tmp_path, "checkpoint_interval": 1000}
    config = {"fault_tolerance": given, "batch_size": 1, "channel_batches": 1}
    env = LocalEnvironment("job", config=config)
    again = env.from_future("again")
    more = env.from_collection(range(40)).union(again).rebalance().map(plus_one, parallelism=2)
    more.filter(lambda n: n % 100).fill_future(again)
    results: list[int] = []
    more.filter(lambda n: n % 100 == 0).for_each(results.append)
    job = env.submit()
    # The loop is full, and the next number waits in front of it, behind it the source.
    while not any(
        edge.upstream == "collection" and edge.batches == 1 and edge.received == 3
        for edge in job.metrics().edges
    ):
        assert not job.join(0.01), job.error
    steps.watch(lambda step: gate.set() if step == "barrier.injected" else None)
    try:
        job.checkpoint(PATIENCE_S)
    finally:
        steps.watch(None)
        gate.set()
    job.wait(PATIENCE_S)
    assert results == [100] * 40
