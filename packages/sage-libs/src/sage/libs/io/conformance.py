"""The conformance suite of transactional sinks: what every one of them promises, as tests.

A sink's own test file is this long::

    class TestMySink(TransactionalSinkConformance):
        def make_sink(self, place):
            return MySink(self.server, place)

        def committed(self, place):
            return [row["n"] for row in self.server.read(place)]

pytest finds the tests in the subclass. `CheckpointedJob` drives the sinks as the engine does and
can be killed before each call of a sink; what it remembers is what is on the engine's disk then.
Needs pytest.
"""

from __future__ import annotations

import contextlib
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from sage.common.core.functions import TransactionalSink
from sage.common.errors import SageError

__all__ = ["CheckpointedJob", "FakeContext", "Killed", "TransactionalSinkConformance", "opened"]


class Killed(BaseException):
    """Stands for the end of the process, where a test goes on in the same one."""


class FakeContext:
    """The part of a runtime context that sinks look at."""

    name = "sink"
    uid = "sink-1"
    attempt = 0

    def __init__(
        self, subtask: int = 0, parallelism: int = 1, mode: str | None = "exactly_once"
    ) -> None:
        self.parallel_index = subtask
        self.parallelism = parallelism
        self.checkpoint_mode = mode
        self.logger = logging.getLogger("sage.operator.sink")


def opened(
    sink: Any, subtask: int = 0, parallelism: int = 1, mode: str | None = "exactly_once"
) -> Any:
    """Attach and open a sink as one subtask of a job, and return it."""
    context = FakeContext(subtask, parallelism, mode)
    sink.attach(context)
    sink.open(context)
    return sink


def _no_step() -> None:
    """Nobody kills."""


@dataclass
class CheckpointedJob:
    """Writes ``{"n": 0}`` to ``{"n": records - 1}``, each by the subtask ``n % parallelism``.

    Every second checkpoint fails after all sinks have prepared, so that its epoch is committed
    with the next one.

    Args:
        make_sink: Makes a sink of one subtask.
        records: How many records there are.
        each: Records between two checkpoints.
        abandon: Does with a sink what the system does with the files and connections of a dead
            process.
        step: Called before each call of a sink; raises `Killed` to end the run.

    Attributes:
        position: Records before the last complete checkpoint.
        checkpoint: Its number.
        prepared: The epochs that it covers and that may not be committed yet.
        begun: The highest number of a checkpoint that was begun.
    """

    make_sink: Callable[[], Any]
    records: int = 10
    each: int = 3
    abandon: Callable[[Any], None] = lambda sink: None
    step: Callable[[], None] = _no_step
    position: int = 0
    checkpoint: int = 0
    prepared: tuple[int, ...] = ()
    begun: int = 0

    def run(self, parallelism: int = 1, *, fresh: bool = False) -> None:
        """Run from the last complete checkpoint to the end, or from the start if it is fresh."""
        sinks = [self.make_sink() for _ in range(parallelism)]
        if fresh:
            self.position, self.checkpoint, self.prepared = 0, self.begun, ()
        try:
            for subtask, sink in enumerate(sinks):
                self.step()
                opened(sink, subtask, parallelism)
            self._settle(sinks, fresh)
            self._work(sinks)
            for sink in sinks:
                self._call(sink.flush)
                self._call(sink.close)
        finally:
            for sink in sinks:
                self.abandon(sink)

    def _settle(self, sinks: list[Any], fresh: bool) -> None:
        for sink in sinks:
            if fresh:
                self._call(sink.start_over)
            for epoch in self.prepared:
                self._call(sink.commit, epoch)
            for epoch in range(self.checkpoint + 1, self.begun + 1):
                self._call(sink.abort, epoch)

    def _work(self, sinks: list[Any]) -> None:
        position, is_last = self.position, False
        prepared: tuple[int, ...] = ()
        while not is_last:
            self.begun += 1
            epoch = self.begun
            for sink in sinks:
                self._call(sink.begin, epoch)
            for n in range(position, min(position + self.each, self.records)):
                self._call(sinks[n % len(sinks)].write, {"n": n})
                position = n + 1
            for sink in sinks:
                self._call(sink.prepare, epoch)
            prepared += (epoch,)
            is_last = position == self.records
            if is_last or epoch % 2:
                self.position, self.checkpoint, self.prepared = position, epoch, prepared
                for number in prepared:
                    for sink in sinks:
                        self._call(sink.commit, number)
                prepared = ()

    def _call(self, method: Callable[..., Any], *arguments: Any) -> None:
        self.step()
        method(*arguments)


@dataclass
class _KillAt:
    """Ends the run at one of its steps."""

    at: int
    steps: count[int] = field(default_factory=count)

    def __call__(self) -> None:
        if next(self.steps) >= self.at:
            raise Killed


class TransactionalSinkConformance(ABC):
    """Tests of a transactional sink that writes mappings ``{"n": number}``."""

    @abstractmethod
    def make_sink(self, place: str) -> Any:
        """Return a new sink.

        Args:
            place: Where it writes: a name of letters and digits. Each is empty at first.
        """

    @abstractmethod
    def committed(self, place: str) -> list[int]:
        """Return the numbers that a reader finds there, in any order."""

    def abandon(self, sink: Any) -> None:
        """Close the files and connections of a sink whose process is dead, and nothing else."""
        return  # most let go when they are collected

    def clear(self, place: str) -> None:
        """Remove what the sink has committed, where it cannot do so itself in ``start_over``."""
        return

    def job(self, place: str) -> CheckpointedJob:
        """Return a job that writes ten records."""
        return CheckpointedJob(lambda: self.make_sink(place), abandon=self.abandon)

    def test_it_is_a_transactional_sink(self) -> None:
        """It has every method of the protocol."""
        assert isinstance(self.make_sink("a"), TransactionalSink)

    def test_records_appear_with_their_commit(self) -> None:
        """What is written or prepared cannot be seen; the next epoch goes on meanwhile."""
        sink = opened(self.make_sink("a"))
        sink.begin(7)
        sink.write({"n": 1})
        sink.prepare(7)
        sink.begin(8)
        sink.write({"n": 2})
        assert self.committed("a") == []
        sink.commit(7)
        assert self.committed("a") == [1]
        sink.prepare(8)
        sink.commit(8)
        sink.flush()
        sink.close()
        assert sorted(self.committed("a")) == [1, 2]

    def test_commit_and_abort_can_be_repeated(self) -> None:
        """Twice is as once, an unknown epoch is no mistake, and what is committed stays."""
        sink = opened(self.make_sink("a"))
        sink.commit(3)
        sink.abort(4)
        for epoch, settle in ((5, sink.commit), (6, sink.abort)):
            sink.begin(epoch)
            sink.write({"n": epoch})
            sink.prepare(epoch)
            for _ in range(2):
                settle(epoch)
        sink.abort(5)
        sink.commit(6)
        sink.begin(7)
        sink.write({"n": 7})
        sink.abort(7)
        sink.close()
        assert self.committed("a") == [5]

    def test_what_was_prepared_outlives_its_process(self) -> None:
        """A new sink commits what a dead one prepared, and drops what it was writing."""
        dead = opened(self.make_sink("a"))
        dead.begin(1)
        dead.write({"n": 1})
        dead.prepare(1)
        dead.begin(2)
        dead.write({"n": 2})
        self.abandon(dead)
        sink = opened(self.make_sink("a"))
        sink.commit(1)
        sink.abort(2)
        sink.begin(3)
        sink.write({"n": 3})
        sink.prepare(3)
        sink.commit(3)
        sink.close()
        assert sorted(self.committed("a")) == [1, 3]

    def test_prepared_records_survive_another_parallelism(self) -> None:
        """The new subtasks together settle what all old ones prepared, each record once."""
        for place, before, after in (("a", 1, 3), ("b", 3, 2), ("c", 4, 1)):
            for subtask in range(before):
                dead = opened(self.make_sink(place), subtask, before)
                for epoch in (1, 2):
                    dead.begin(epoch)
                    dead.write({"n": 10 * epoch + subtask})
                    dead.prepare(epoch)
                self.abandon(dead)
            for subtask in range(after):
                sink = opened(self.make_sink(place), subtask, after)
                sink.commit(1)
                sink.abort(2)
                sink.begin(3)
                sink.close()
            assert sorted(self.committed(place)) == [10 + subtask for subtask in range(before)]

    def test_a_finished_job_that_runs_again_adds_nothing(self) -> None:
        """Its last checkpoint is restored, and nothing is written or taken away."""
        for place, parallelism in (("a", 1), ("b", 2)):
            job = self.job(place)
            for _ in range(3):
                job.run(parallelism)
                assert sorted(self.committed(place)) == list(range(10))

    def test_a_job_that_starts_over_begins_with_nothing(self) -> None:
        """All subtasks together remove what the earlier run wrote or left behind."""
        job = self.job("a")
        job.run(3)
        self.clear("a")
        job.run(2, fresh=True)
        assert sorted(self.committed("a")) == list(range(10))

    def test_output_that_would_come_twice_is_refused(self) -> None:
        """A job that lost its checkpoints, or goes back behind its output, is told so."""
        self.job("a").run()
        for checkpoint, begun in ((0, 0), (1, 4)):
            job = self.job("a")
            job.checkpoint, job.begun = checkpoint, begun
            with pytest.raises(SageError, match="fresh=True"):
                job.run()
        assert sorted(self.committed("a")) == list(range(10))

    def test_each_record_is_there_once_after_any_kills(self) -> None:
        """Killed before any calls, run after run and with any parallelism: exactly once."""
        for seed in range(15):
            rng = random.Random(seed)
            place = f"seed{seed}"
            job = self.job(place)
            for _ in range(rng.randrange(4)):
                job.step = _KillAt(rng.randrange(60))
                with contextlib.suppress(Killed):
                    job.run(rng.randint(1, 3))
                seen = self.committed(place)
                assert len(seen) == len(set(seen)), f"seed {seed}"
                assert max(seen, default=-1) < job.position, f"seed {seed}"
            job.step = _no_step
            job.run(rng.randint(1, 3))
            assert sorted(self.committed(place)) == list(range(10)), f"seed {seed}"
