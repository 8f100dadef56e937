"""Sources: what has been emitted is delivered, whatever the source does next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sage.kernel import BatchFunction, LocalEnvironment, SourceFunction, StopSignal
from sage.kernel.errors import FunctionError, GraphError, JobFailedError
from sage.kernel.operators.source import SourceOperator
from sage.kernel.testing import CollectingSink, Gate, ScriptedSource, check_conservation


class Numbers(SourceFunction[int]):
    """Gives what it is told to, then ends; a gate in the list means "nothing now"."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.asked: list[int] = []

    def read(self, max_records: int) -> list[int] | None:
        self.asked.append(max_records)
        if not self.steps:
            return None
        step = self.steps[0]
        if isinstance(step, Gate):
            if not step.is_open:
                return []
            self.steps.pop(0)
            return []
        if isinstance(step, Exception):
            raise step
        return [self.steps.pop(0)]


@pytest.mark.parametrize("separate_tasks", [False, True])
def test_a_silent_generator_holds_nothing_back(separate_tasks: bool) -> None:
    """A record that was yielded before a silence reaches the sink while the source is silent."""
    gate, sink = Gate(), CollectingSink()
    env = LocalEnvironment()
    stream = env.from_source(ScriptedSource(1, 2, gate, 3))
    if separate_tasks:
        stream = stream.map(lambda n: n, parallelism=2)
    stream.sink(sink)
    job = env.submit()
    assert sorted(sink.wait_for(2)) == [1, 2]
    assert not gate.is_open
    gate.open()
    job.wait(30)
    assert sorted(sink.records) == [1, 2, 3]


def test_a_fast_generator_that_falls_silent_holds_nothing_back() -> None:
    """The last record before a silence is delivered, also when thousands came fast before it."""
    gate, sink = Gate(), CollectingSink()

    def numbers() -> Iterator[int]:
        yield from range(5001)
        gate.wait()

    env = LocalEnvironment()
    env.from_source(numbers).map(lambda n: n, parallelism=2).sink(sink)
    job = env.submit()
    assert len(sink.wait_for(5001)) == 5001
    gate.open()
    job.wait(30)


def test_a_silent_polling_source_holds_nothing_back() -> None:
    """The same for a source that is polled and has nothing now."""
    gate, sink = Gate(), CollectingSink()
    env = LocalEnvironment()
    env.from_source(Numbers(1, 2, gate, 3)).map(lambda n: n, parallelism=2).sink(sink)
    job = env.submit()
    assert sorted(sink.wait_for(2)) == [1, 2]
    gate.open()
    job.wait(30)
    assert sorted(sink.records) == [1, 2, 3]


@pytest.mark.parametrize("branches", [1, 2])
def test_a_function_that_is_stuck_holds_nothing_back(branches: int) -> None:
    """What a function gave before it got stuck at a record goes on while it is stuck."""
    gate, sink = Gate(), CollectingSink(timeout_s=10.0)

    def stuck_at_five(n: int) -> int:
        if n == 5:
            gate.wait()
        return n

    env = LocalEnvironment()
    stream = env.from_collection(range(6)).map(stuck_at_five)
    for number in range(branches):
        stream.rebalance().map(lambda n: n, parallelism=2, name=f"branch{number}").sink(sink)
    job = env.submit()
    try:
        gate.wait_for_arrival()
        assert sorted(sink.wait_for(5 * branches)) == sorted([*range(5)] * branches)
    finally:
        gate.open()
        job.wait(30)


@pytest.mark.parametrize("separate_tasks", [False, True])
@pytest.mark.parametrize("make", [ScriptedSource, Numbers])
def test_what_came_before_a_source_raised_is_delivered(make: Any, separate_tasks: bool) -> None:
    """A source that raises fails the job by name, after what it gave before was read."""
    sink = CollectingSink()
    env = LocalEnvironment()
    stream = env.from_source(make(*range(20), OSError("unplugged")), name="sensor")
    (stream.map(lambda n: n, parallelism=2) if separate_tasks else stream).sink(sink)
    with pytest.raises(JobFailedError, match="'sensor' failed in reading: OSError: unplugged"):
        env.submit().wait(30)
    if not separate_tasks:
        assert sink.records == list(range(20))


def test_a_batch_function_ends_with_none_or_a_stop_signal() -> None:
    """None and StopSignal end a batch source, and neither reaches a function."""

    class Until(BatchFunction[int]):
        def __init__(self, end: Any) -> None:
            self.end, self.left = end, [3, 0, 2]

        def execute(self) -> Any:
            return self.left.pop(0) if self.left else self.end

    for end in (None, StopSignal, StopSignal("end")):
        assert LocalEnvironment().from_batch(Until, end).map(lambda n: n).collect() == [3, 0, 2]


@pytest.mark.parametrize("source", [[], (), range(0), lambda: iter(()), Numbers()])
def test_a_source_may_be_empty(source: Any) -> None:
    """A source without records ends at once, and so does the job."""
    env = LocalEnvironment()
    stream = env.from_source(source)
    assert stream.union(stream.map(str, parallelism=2)).collect() == []


@pytest.mark.parametrize("records", [[0, "", None, False, [], {}], ["a"], range(10_000)])
def test_falsy_records_are_records(records: Any) -> None:
    """Nothing is taken for the end of the input, or left out, because it is false."""
    assert LocalEnvironment().from_collection(records).collect() == list(records)
    assert LocalEnvironment().from_source(lambda: iter(records)).collect() == list(records)


def test_a_sequence_is_divided_among_subtasks() -> None:
    """At higher parallelism each subtask of a sequence reads its own part."""
    env = LocalEnvironment()
    assert sorted(env.from_collection(range(11), parallelism=4).collect()) == list(range(11))


def test_a_source_is_never_asked_for_more_than_a_batch() -> None:
    """``read`` is asked for at most ``batch_size`` records."""
    source = Numbers(1, 2, 3)
    asked: list[int] = []
    source.asked = asked

    class Shared(Numbers):
        def __deepcopy__(self, memo: object) -> Shared:
            return self

    shared = Shared(*range(50))
    assert len(LocalEnvironment(config={"batch_size": 4}).from_source(shared).collect()) == 50
    assert max(shared.asked) <= 4


def test_text_is_no_source() -> None:
    """A string is refused where it would be read letter by letter."""
    with pytest.raises(FunctionError, match="letter by letter"):
        LocalEnvironment().from_source("notes.txt")
    with pytest.raises(FunctionError, match="wants a source"):
        LocalEnvironment().from_source(7)


def test_a_generator_is_read_off_the_main_task() -> None:
    """The user's ``next()`` runs on a reader thread, so that nothing else is stuck in it."""
    seen: list[str] = []

    def numbers() -> Iterator[int]:
        seen.append(threading.current_thread().name)
        yield 1

    assert LocalEnvironment().from_source(numbers).collect() == [1]
    assert seen == ["sage-reader"]


def test_inputs_of_unequal_length_end_together() -> None:
    """comap and join end when the longer input has ended, and lose nothing of either."""
    env = LocalEnvironment()
    short, long = env.from_collection([1]), env.from_collection(range(3000))
    both = short.connect(long).map(lambda n: ("short", n), lambda n: ("long", n))
    assert sorted(both.collect()) == [*(("long", n) for n in range(3000)), ("short", 1)]
    joined = short.key_by(lambda n: n).join(long.key_by(lambda n: n), how="full", parallelism=2)
    pairs = joined.collect()
    assert len(pairs) == 3000
    assert (1, 1) in pairs
    empty = env.from_collection([])
    assert empty.connect(long).map(str, lambda n: None).collect() == []


class Either(SourceFunction[int]):
    """Ends or does not, as its option says."""

    bounded = False

    def __init__(self, bounded: bool = False) -> None:
        self.bounded = bounded

    def read(self, max_records: int) -> list[int] | None:
        return None if self.bounded else []


@pytest.mark.parametrize(
    ("source", "bounded"),
    [
        (SourceOperator(given=Either), False),
        (SourceOperator(given=Either(bounded=True)), True),
        (SourceOperator(given=Either, kwargs={"bounded": True}), True),
        (SourceOperator(given=Either, args=({"bounded": True},)), True),
        (SourceOperator(given=Numbers), True),
        (SourceOperator(given=[1]), True),
    ],
)
def test_a_source_says_whether_it_ends(source: SourceOperator, bounded: bool) -> None:
    """By its class, or where that depends, by its option, however the option is given."""
    assert source.bounded is bounded


def test_counts_add_up_when_a_source_fails() -> None:
    """Also in a job that failed every record has one fate, and every edge conserves."""
    env = LocalEnvironment()
    env.from_source(ScriptedSource(*range(100), OSError())).map(str, parallelism=2).sink(
        CollectingSink()
    )
    job = env.submit()
    with pytest.raises(JobFailedError):
        job.wait(30)
    check_conservation(job.metrics(), env.graph(), ended=False)


def test_a_generator_that_was_read_is_refused_the_second_time() -> None:
    """A second run over a spent generator is an error, not an empty result."""
    stream = LocalEnvironment().from_collection(n for n in range(3))
    assert stream.collect() == [0, 1, 2]
    with pytest.raises(GraphError, match="has been read already"):
        stream.collect()
