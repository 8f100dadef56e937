"""What a worker process has to remember at a checkpoint, and workers that do not answer."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.kernel import FlatMapFunction, MapFunction
from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState
from sage.kernel.config import ErrorPolicy
from sage.kernel.errors import StateMismatchError, WorkerDiedError
from sage.kernel.graph.transformation import Transformation
from sage.kernel.operators.flat_map import FlatMapOperator
from sage.kernel.operators.function_spec import FLAT_MAP, MAP, FunctionSpec
from sage.kernel.operators.map import MapOperator
from sage.kernel.operators.map_batches import MAP_BATCHES, MapBatchesOperator
from sage.kernel.operators.operator import Operator
from sage.kernel.runtime.chain import Chain
from sage.kernel.runtime.channel import Batch, Mailbox
from sage.kernel.runtime.context import RuntimeContext
from sage.kernel.runtime.hosts import Outcome, Slice
from sage.kernel.runtime.output import Columns
from sage.kernel.runtime.process.host import ProcessHost
from sage.kernel.runtime.process.live import LiveInProcess
from sage.kernel.runtime.segment import Node, Outlet, Segment
from sage.kernel.runtime.services import Services
from sage.kernel.state.codec import StateCodec

pytestmark = pytest.mark.skipif(os.name != "posix", reason="worker processes need POSIX")

PATIENCE_S = 30.0


class Hosted:
    """An operator in a worker process, fed and asked by hand as its task does it."""

    def __init__(
        self,
        operator: Operator,
        layout: tuple[str, ...] = (),
        restored: RestoredState | None = None,
        timeout_s: float | None = None,
    ) -> None:
        transformation = Transformation("work", "work", operator, executor="process")
        self.live = LiveInProcess(transformation, ErrorPolicy(), Services())
        self.live.is_checkpointed = True
        node = Node(transformation, self.live, ErrorPolicy())
        root = Segment([node], (layout,), Outlet(Columns(operator.layout_after(layout))))
        chain = Chain(root, dead_letter=_unused, interrupted=lambda seconds: False)
        self.mailbox = Mailbox()
        self.host = ProcessHost(chain, self.mailbox, 0.005, 1024, timeout_s)
        self.live.open(RuntimeContext(name="work", uid="work"))
        if restored is not None:
            self.live.restore(restored)
        self.host.start()
        self.results: list[Any] = []
        self.decided = 0

    def feed(self, *values: Any, riders: tuple[list[Any], ...] = ()) -> None:
        """Feed records, as room for them comes."""
        at = 0
        while at < len(values):
            if room := self.host.room():
                columns = tuple(column[at : at + room] for column in riders)
                self.host.feed(Batch(list(values[at : at + room]), columns))
                at += room
            else:
                self.take()

    def take(self) -> None:
        """Wait until something is reported, and take it."""
        assert self.mailbox.get(PATIENCE_S) is not None, "the worker says nothing"
        self._took(self.host.take())

    def take_until(self, condition: Callable[[], bool]) -> None:
        """Take what is reported until a condition holds."""
        while not condition():
            self.take()

    def end(self) -> None:
        """Say that nothing more comes, and take all that is left."""
        self.host.no_more()
        self.take_until(lambda: not self.host.busy)
        self.host.close()

    def snapshot(self) -> OperatorState:
        """Wait for a cut, and return what is remembered of it."""
        self.take_until(self.host.cut)
        state = OperatorState(StateCodec("work"))
        self.live.snapshot(state)
        return state

    def _took(self, outcomes: list[Outcome | Slice]) -> None:
        for outcome in outcomes:
            assert isinstance(outcome, Slice)
            if outcome.failure is not None:
                raise outcome.failure
            self.live.statistics.entered += outcome.decided
            self.decided += outcome.decided
            self.results += outcome.results.values


def _unused(*_: Any, **__: Any) -> None:
    raise AssertionError("nothing is set aside here")


@pytest.fixture
def hosted() -> Iterator[Callable[..., Hosted]]:
    """Makes hosts, and ends what is left of their workers."""
    made: list[Hosted] = []

    def make(*args: Any, **kwargs: Any) -> Hosted:
        made.append(Hosted(*args, **kwargs))
        return made[-1]

    yield make
    for each in made:
        each.host.close()


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    """A named pipe, by which a worker and a test wait for each other."""
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    return path


def mapping(function: Any, *args: Any) -> MapOperator:
    return MapOperator(FunctionSpec(MAP, function, args))


class Waits(MapFunction[int, int]):
    """Gives every record back, and waits at the one that it was given."""

    def __init__(self, path: str, at: int) -> None:
        self.path = path
        self.at = at

    def map(self, record: int) -> int:
        if record == self.at:
            Path(self.path).read_text()
        return record


class Sums(MapFunction[int, int]):
    """Gives the running sum, which it keeps for itself."""

    total = 0

    def map(self, record: int) -> int:
        self.total += record
        return self.total

    def snapshot_state(self) -> object:
        return self.total

    def restore_state(self, state: Any) -> None:
        self.total = state


class Keeps(FlatMapFunction[int, int]):
    """Gives nothing until the end of the input, and then everything."""

    def __init__(self) -> None:
        self.kept: list[int] = []

    def flat_map(self, record: int) -> Any:
        self.kept.append(record)
        return ()

    def finish(self) -> Any:
        kept, self.kept = self.kept, []
        return kept

    def snapshot_state(self) -> object:
        return self.kept

    def restore_state(self, state: Any) -> None:
        self.kept = state


def test_records_without_an_outcome_are_in_flight(hosted: Callable[..., Hosted], fifo: str) -> None:
    """What the worker has not decided is remembered with its riders; no call is waited for."""
    work = hosted(mapping(Waits, fifo, 2), ("key",))
    work.feed(1, 2, 3, riders=(["a", "b", "c"],))
    work.take_until(lambda: work.results == [1])
    assert work.host.cut()
    assert work.host.in_flight() == Batch([2, 3], (["b", "c"],))
    Path(fifo).write_text("go")
    work.end()
    assert work.host.in_flight().values == []
    assert work.results == [1, 2, 3]


def test_there_is_no_cut_between_the_results_of_a_part(
    hosted: Callable[..., Hosted], fifo: str
) -> None:
    """Results that came before their records counted would come twice; so the part is waited for.

    What is let out of a part while a slow call behind it goes on belongs to records that are not
    decided yet.
    """
    work = hosted(mapping(Waits, fifo, -1))
    work.feed(*range(5000))
    work.take_until(lambda: work.decided == 5000 and work.host.room() > 30)
    work.host.feed(Batch([1, 2, 3, -1, 4]))
    work.take_until(lambda: work.results[-1] == 3)
    assert work.decided == 5000
    assert not work.host.cut()
    work.host.feed(Batch([5, 6]))
    Path(fifo).write_text("go")
    work.take_until(work.host.cut)
    in_flight = work.host.in_flight().values
    assert work.results[5000:] + in_flight == [1, 2, 3, -1, 4, 5, 6]
    assert in_flight in ([], [5, 6])


def test_the_state_of_a_function_agrees_with_what_is_decided(
    hosted: Callable[..., Hosted],
) -> None:
    """At each cut the function's own state is about the decided records, and about no others."""
    work = hosted(mapping(Sums))
    records = list(range(6000))
    for start in range(0, 6000, 500):
        work.feed(*records[start : start + 500])
        state = RestoredState.of(work.snapshot())
        [total] = state.whole("function 0") or [0]
        assert total == sum(records[: work.decided])
        assert work.host.in_flight().values == records[work.decided : start + 500]
    work.end()


def test_a_worker_goes_on_from_a_checkpoint(hosted: Callable[..., Hosted]) -> None:
    """With its state and what was in flight, a new worker gives what the old one would have."""
    before = hosted(mapping(Sums))
    before.feed(*range(100))
    state = RestoredState.of(before.snapshot())
    in_flight, results = before.host.in_flight().values, list(before.results)
    before.feed(1000, 2000)  # nothing of this is in the checkpoint
    before.end()
    after = hosted(mapping(Sums), restored=state)
    after.feed(*in_flight, 100)
    after.end()
    assert results + after.results == [sum(range(n + 1)) for n in range(101)]


def test_a_cut_that_nobody_waits_for_any_more_hinders_nothing(
    hosted: Callable[..., Hosted],
) -> None:
    """A checkpoint that was given up leaves no trace; the next one gets a state of its own."""
    work = hosted(mapping(Sums))
    work.feed(1)
    work.take_until(lambda: work.decided == 1)
    assert not work.host.cut()
    work.feed(*range(2, 500))
    work.take_until(lambda: work.decided == 499)
    state = RestoredState.of(work.snapshot())
    assert state.whole("function 0") == [sum(range(500))]
    work.end()


def test_what_finish_leaves_is_the_last_state(hosted: Callable[..., Hosted]) -> None:
    """While finish() is at work there is no cut; behind it the state is what it has left."""
    work = hosted(FlatMapOperator(FunctionSpec(FLAT_MAP, Keeps)))
    work.feed(1, 2)
    assert RestoredState.of(work.snapshot()).whole("function 0") == [[1, 2][: work.decided]]
    work.host.no_more()
    assert not work.host.cut()
    work.take_until(lambda: not work.host.busy)
    assert work.results == [1, 2]
    assert RestoredState.of(work.snapshot()).whole("function 0") == [[]]


def test_records_that_wait_for_company_are_in_flight(hosted: Callable[..., Hosted]) -> None:
    """The buffer of ``map_batches`` is fed again, and its records have not entered twice."""
    batches = MapBatchesOperator(
        FunctionSpec(MAP_BATCHES, lambda b: [n * 2 for n in b]), max_size=4
    )
    before = hosted(batches)
    before.feed(*range(6))
    before.take_until(lambda: before.decided == 6)
    state = RestoredState.of(before.snapshot())
    in_flight = before.host.in_flight().values
    assert (before.results, in_flight) == ([0, 2, 4, 6], [4, 5])
    after = hosted(batches)
    after.live.statistics.entered = before.live.statistics.entered
    after.live.restore(state)
    after.feed(*in_flight)
    after.end()
    assert after.results == [8, 10]
    assert after.live.statistics.entered == 6


def test_state_of_a_function_refuses_another_parallelism(hosted: Callable[..., Hosted]) -> None:
    """It cannot be divided, and the message names the operator."""
    work = hosted(mapping(Sums))
    work.feed(1)
    work.take_until(lambda: work.decided == 1)
    state = RestoredState.of(work.snapshot())
    state.parallelism = 2
    with pytest.raises(StateMismatchError, match="'Sums' had 1 subtasks and now has 2"):
        work.live.restore(state)


class Unsayable(MapFunction[int, int]):
    """Has a state that cannot leave its process."""

    def map(self, record: int) -> int:
        return record

    def snapshot_state(self) -> object:
        return (n for n in range(3))


def test_state_that_cannot_travel_is_told(hosted: Callable[..., Hosted]) -> None:
    """The error names the operator and the method."""
    work = hosted(mapping(Unsayable))
    with pytest.raises(Exception, match=r"'work' failed in snapshot_state\(\).*generator"):
        work.snapshot()


# Workers that do not answer.


def ended(pid: int) -> bool:
    """Wait until a process that is not our child has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], PATIENCE_S)[0])
    finally:
        os.close(handle)


def test_a_worker_that_does_not_answer_is_given_up(hosted: Callable[..., Hosted]) -> None:
    """One that was stopped is killed after its time, so that it can say nothing later."""
    work = hosted(mapping(lambda n: (os.getpid(), n)), timeout_s=0.6)
    work.feed(1)
    work.take_until(lambda: work.decided == 1)
    [(pid, _)] = work.results
    os.kill(pid, signal.SIGSTOP)
    work.host.feed(Batch([2]))
    with pytest.raises(Exception, match=r"did not answer for 0\.6 s and was killed") as caught:
        work.take_until(lambda: False)
    assert isinstance(caught.value.__cause__, WorkerDiedError)
    assert caught.value.__cause__.fields["under_way"] == 1
    assert ended(pid)
    assert work.results == [(pid, 1)]


def test_a_worker_that_goes_on_in_time_is_kept(hosted: Callable[..., Hosted]) -> None:
    """A pause costs nothing but time."""
    work = hosted(mapping(lambda n: (os.getpid(), n)), timeout_s=20)
    work.feed(1)
    work.take_until(lambda: work.decided == 1)
    [(pid, _)] = work.results
    os.kill(pid, signal.SIGSTOP)
    work.host.feed(Batch([2, 3]))
    os.kill(pid, signal.SIGCONT)
    work.end()
    assert work.results == [(pid, 1), (pid, 2), (pid, 3)]


def test_a_long_call_is_no_silence(hosted: Callable[..., Hosted]) -> None:
    """The worker says that it lives while its function is in a call that takes longer."""

    class Slow(MapFunction[int, int]):
        def map(self, record: int) -> int:
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                sum(range(1000))
            return record

    work = hosted(mapping(Slow), timeout_s=0.3)
    work.feed(1)
    work.end()
    assert work.results == [1]
