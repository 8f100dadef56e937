"""Journalled operators driven by hand: what is called, what is taken from the journal, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.common.core.functions import AsyncMapFunction, MapFunction
from sage.common.core.state import ValueState
from sage.kernel import LocalEnvironment
from sage.kernel.checkpoint import steps
from sage.kernel.checkpoint.journal import Journal, JournalFolder
from sage.kernel.checkpoint.journal_segment import SegmentWriter
from sage.kernel.config import RetryPolicy
from sage.kernel.errors import (
    FunctionError,
    GraphError,
    JobFailedError,
    JournalError,
    StateCodecError,
)
from sage.kernel.operators import function_spec as shapes
from sage.kernel.operators.flat_map import FlatMapOperator
from sage.kernel.operators.function_spec import FunctionSpec
from sage.kernel.operators.journalled import HITS, function_identity, journal_of
from sage.kernel.operators.map import MapOperator
from sage.kernel.operators.map_async import MapAsyncOperator
from sage.kernel.operators.operator import LiveOperator, Operator
from sage.kernel.runtime.chain_compiler import compile_loop
from sage.kernel.runtime.channel import Batch, Mailbox
from sage.kernel.runtime.event_loop import AsyncHost, EventLoop
from sage.kernel.runtime.hosts import Outcome
from sage.kernel.runtime.output import Columns


class Endpoint:
    """Counts its calls; a record is answered when the test lets it."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.slow: set[Any] = set()
        self.failing: set[Any] = set()

    def __deepcopy__(self, memo: object) -> Endpoint:
        return self

    async def answer(self, record: Any) -> Any:
        self.calls.append(record)
        while record in self.slow:
            await asyncio.sleep(0)
        if record in self.failing:
            raise ValueError(record)
        return None if record == "nothing" else f"{record}!"

    def answer_at_once(self, record: Any) -> Any:
        self.calls.append(record)
        if record in self.failing:
            raise ValueError(record)
        return None if record == "nothing" else f"{record}!"

    def letters(self, record: str) -> Iterator[str]:
        self.calls.append(record)
        yield from record


class Host:
    """An `AsyncHost` and what belongs to it, run by the test's thread in place of a task."""

    def __init__(
        self,
        call: Callable[[Any], Any],
        journal: Journal | None,
        *,
        ordered: bool = True,
        concurrency: int = 4,
        retry: RetryPolicy | None = None,
    ) -> None:
        operator = MapAsyncOperator(
            FunctionSpec(shapes.MAP_ASYNC, call), concurrency, ordered, journal=True
        )
        self.live = operator.live()
        self.live.journal = journal
        self.mailbox, self.loop = Mailbox(), EventLoop()
        self.host = AsyncHost(self.live, retry, self.mailbox, self.loop)
        self.host.start()

    def feed(self, *records: Any) -> None:
        self.host.feed(Batch(list(records), ([*range(len(records))],)))

    def take(self, count: int) -> list[Outcome]:
        """Return so many outcomes as they come."""
        outcomes: list[Outcome] = []
        while len(outcomes) < count:
            outcomes += self.host.take()
            if len(outcomes) < count:
                assert self.mailbox.get(30) is not None, "nobody wakes the task"
        return outcomes

    def results(self, count: int) -> list[Any]:
        return [result for outcome in self.take(count) for result in outcome.results]

    @property
    def hits(self) -> int:
        return self.live.statistics.custom[HITS]

    def close(self) -> None:
        self.host.close()
        self.loop.close()


class Job:
    """The journals of one job, over its runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.epoch = folder, 0
        self.hosts: list[Host] = []

    def journal(self, from_checkpoint: int = 0) -> Journal:
        self.epoch += 1
        folder = JournalFolder(self.folder, epoch=self.epoch, from_checkpoint=from_checkpoint)
        return folder.journal("ask", 0, "answer")

    def host(self, endpoint: Endpoint, from_checkpoint: int = 0, **options: Any) -> Host:
        self.hosts.append(Host(endpoint.answer, self.journal(from_checkpoint), **options))
        return self.hosts[-1]


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path)
    yield job
    for host in job.hosts:
        host.close()


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


def eventually(host: Host, condition: Callable[[], object]) -> None:
    """Wait for the event loop to come round until something holds."""
    for _ in range(100_000):
        if condition():
            return
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), host.loop.loop).result(30)
    raise AssertionError("it never holds")


@pytest.mark.parametrize("ordered", [True, False])
def test_no_call_that_has_ended_is_made_again(job: Job, endpoint: Endpoint, ordered: bool) -> None:
    """After a kill only the calls that were in flight are repeated; results are the same."""
    endpoint.slow = {"c"}
    first = job.host(endpoint, ordered=ordered)
    first.feed("a", "b", "c", "d", "nothing")
    eventually(first, lambda: len(endpoint.calls) == 5 and first.host._workers == 1)
    before = list(endpoint.calls)
    second = job.host(endpoint, ordered=ordered)  # the first one is as good as killed
    second.feed("a", "b", "c", "d", "nothing")
    endpoint.slow.clear()
    outcomes = second.take(5)
    results = [(outcome.record, *outcome.results) for outcome in outcomes]
    if not ordered:
        results.sort()
    assert results == [
        ("a", "a!"),
        ("b", "b!"),
        ("c", "c!"),
        ("d", "d!"),
        ("nothing",),
    ]
    assert endpoint.calls == [*before, "c"]
    assert second.hits == 4


def test_results_of_the_journal_keep_the_order(job: Job, endpoint: Endpoint) -> None:
    """What is known at once does not overtake what has to be called."""
    first = job.host(endpoint)
    first.feed("b", "d")
    assert first.results(2) == ["b!", "d!"]
    second = job.host(endpoint)
    second.feed("a", "b", "c", "d")
    assert second.results(4) == ["a!", "b!", "c!", "d!"]
    assert sorted(endpoint.calls) == ["a", "b", "c", "d"]


def test_what_is_known_at_once_wakes_the_task(job: Job, endpoint: Endpoint) -> None:
    """Where all results are in the journal, no event loop is needed to go on."""
    first = job.host(endpoint)
    first.feed("a")
    first.take(1)
    second = job.host(endpoint)
    second.feed("a")
    assert second.mailbox.get(30) is not None
    assert [outcome.results for outcome in second.host.take()] == [("a!",)]


def test_a_result_is_durable_before_it_is_passed_on(job: Job, endpoint: Endpoint) -> None:
    """The task sees no result that has not been synced, and one sync covers all that it takes."""
    seen: list[str] = []
    steps.watch(seen.append)
    try:
        host = job.host(endpoint)
        host.feed("a", "b", "c")
        eventually(host, lambda: len(host.host._decided) == 3)
        assert seen.count("journal.write.after") == 3
        assert "journal.sync.after" not in seen
        assert len(host.host.take()) == 3
    finally:
        steps.watch(None)
    assert seen.count("journal.sync.after") == 1


def test_a_failure_is_no_result(job: Job, endpoint: Endpoint) -> None:
    """A call that failed for good is made again by the next run: it may have got well."""
    endpoint.failing = {"a"}
    first = job.host(endpoint, retry=RetryPolicy(max_attempts=2, delay_s=0))
    first.feed("a")
    (failed,) = first.take(1)
    assert isinstance(failed.error, ValueError)
    assert failed.attempts == 2
    endpoint.failing.clear()
    second = job.host(endpoint)
    second.feed("a")
    assert second.results(1) == ["a!"]
    assert endpoint.calls == ["a"] * 3


def test_a_record_that_cannot_be_stored_is_not_called(job: Job, endpoint: Endpoint) -> None:
    """It fails by its policy before anything is paid for, and the others go on."""
    host = job.host(endpoint)
    unstorable = object()
    host.feed("a", unstorable, "b")
    outcomes = host.take(3)
    assert [type(outcome.error) for outcome in outcomes] == [
        type(None),
        StateCodecError,
        type(None),
    ]
    assert endpoint.calls == ["a", "b"]


def test_a_result_that_cannot_be_stored_is_not_tried_again(job: Job) -> None:
    """Retries would pay again for what will never fit."""
    calls = []

    async def give(record: Any) -> Any:
        calls.append(record)
        return object()

    host = Host(give, job.journal(), retry=RetryPolicy(max_attempts=3, delay_s=0))
    job.hosts.append(host)
    host.feed("a")
    (outcome,) = host.take(1)
    assert isinstance(outcome.error, StateCodecError)
    assert calls == ["a"]


def test_a_journal_that_cannot_be_written_stops_the_calls(
    job: Job, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is passed on, nothing more is paid for, and the task learns why."""
    journal = job.journal()

    def full(frames: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "_write", full)
    host = Host(endpoint.answer, journal, concurrency=1)
    job.hosts.append(host)
    host.feed("a", "b", "c", "d")
    with pytest.raises(JournalError, match="No space left"):
        host.take(1)
    assert endpoint.calls == ["a"]


def test_a_function_may_change_its_record(job: Job) -> None:
    """A record is known by what it was when it came."""
    calls = []

    async def add(record: dict[str, int]) -> dict[str, int]:
        calls.append(dict(record))
        record["answer"] = record["question"] * 2
        return record

    for _ in range(2):
        host = Host(add, job.journal())
        job.hosts.append(host)
        host.feed({"question": 21})
        assert host.results(1) == [{"question": 21, "answer": 42}]
    assert calls == [{"question": 21}]


@pytest.mark.parametrize("ordered", [True, False])
def test_in_flight_is_what_was_fed_and_not_taken(
    job: Job, endpoint: Endpoint, ordered: bool
) -> None:
    """Waiting, running and decided records are in flight, in their order, with their riders."""
    endpoint.slow = {"a", "c"}
    host = job.host(endpoint, ordered=ordered, concurrency=2)
    assert host.host.in_flight() == Batch([], ())
    host.feed("a", "b", "c", "d", "e")
    eventually(host, lambda: "c" in endpoint.calls)
    assert host.host.in_flight() == Batch(["a", "b", "c", "d", "e"], ([0, 1, 2, 3, 4],))
    taken = host.host.take()
    if ordered:
        assert not taken  # b waits for a
        assert host.host.in_flight().values == ["a", "b", "c", "d", "e"]
    else:
        assert [outcome.record for outcome in taken] == ["b"]
        assert host.host.in_flight() == Batch(["a", "c", "d", "e"], ([0, 2, 3, 4],))
    endpoint.slow.clear()
    host.take(5 - len(taken))
    assert host.host.in_flight() == Batch([], ())
    assert not host.host.busy


def test_what_waits_at_a_barrier_is_not_called_again(job: Job, endpoint: Endpoint) -> None:
    """A run that goes on is fed what was in flight, and calls only what had not ended."""
    endpoint.slow = {"a"}
    first = job.host(endpoint)
    first.feed("a", "b", "c")
    eventually(first, lambda: len(first.host._decided) == 2)
    assert not first.host.take()
    assert first.live.journal is not None
    first.live.journal.roll(1)
    in_flight = first.host.in_flight()
    assert in_flight.values == ["a", "b", "c"]
    endpoint.calls.clear()
    second = job.host(endpoint, from_checkpoint=1)  # the first one is as good as killed
    endpoint.slow.clear()
    second.host.feed(in_flight)
    assert second.results(3) == ["a!", "b!", "c!"]
    assert endpoint.calls == ["a"]


# Functions that are not async.


def looped(live: LiveOperator, records: list[Any]) -> list[Any]:
    """Run the loop of one operator over records."""
    out = Columns()
    compile_loop([live], [live.statistics], layout=(), out=out).run(iter(records))
    return list(out.values)


def journalled(operator: Operator, journal: Journal) -> LiveOperator:
    live = operator.live()
    live.journal = journal
    return live


def test_map_takes_results_from_the_journal(job: Job, endpoint: Endpoint) -> None:
    """A function that blocks is not called again either, and None is a result."""
    operator = MapOperator(FunctionSpec(shapes.MAP, endpoint.answer_at_once), journal=True)
    records = ["a", "nothing", "b"]
    assert looped(journalled(operator, job.journal()), records) == ["a!", "b!"]
    again = journalled(operator, job.journal())
    assert looped(again, [*records, "c"]) == ["a!", "b!", "c!"]
    assert endpoint.calls == ["a", "nothing", "b", "c"]
    assert again.statistics.custom == {HITS: 3}
    assert again.statistics.no_output == 1


def test_flat_map_works_a_generator_off_before_its_first_item_goes_on(
    job: Job, endpoint: Endpoint
) -> None:
    """All items of a record are one result."""
    operator = FlatMapOperator(FunctionSpec(shapes.FLAT_MAP, endpoint.letters), journal=True)
    assert looped(journalled(operator, job.journal()), ["ab", "", "c"]) == ["a", "b", "c"]
    again = journalled(operator, job.journal())
    assert looped(again, ["ab", "", "c"]) == ["a", "b", "c"]
    assert endpoint.calls == ["ab", "", "c"]
    assert again.statistics.empty == 1


def test_a_result_of_map_is_durable_before_the_next_record(job: Job, endpoint: Endpoint) -> None:
    """What goes down the chain has been synced."""
    seen: list[Any] = []
    steps.watch(seen.append)
    operator = MapOperator(FunctionSpec(shapes.MAP, endpoint.answer_at_once), journal=True)
    try:
        looped(journalled(operator, job.journal()), ["a", "b"])
    finally:
        steps.watch(None)
    written_and_synced = [step for step in seen if step.endswith("after")]
    assert written_and_synced == ["journal.write.after", "journal.sync.after"] * 2


def test_a_retry_of_map_does_not_pay_for_what_cannot_be_stored(job: Job) -> None:
    """Its error comes again without a call."""
    calls = []

    def give(record: Any) -> Any:
        calls.append(record)
        return object()

    live = journalled(MapOperator(FunctionSpec(shapes.MAP, give), journal=True), job.journal())
    for _ in range(3):
        with pytest.raises(StateCodecError):
            looped(live, ["a"])
    assert calls == ["a"]


@pytest.mark.parametrize("verb", ["map", "map_async"])
def test_a_journal_that_cannot_be_written_ends_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Whatever the policy for records is: it is no fault of theirs, and they are not lost."""
    endpoint = Endpoint()

    def full(writer: object, frames: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SegmentWriter, "write", full)
    function = endpoint.answer if verb == "map_async" else endpoint.answer_at_once
    env = checkpointed(tmp_path)
    records: Any = env.from_collection(["a", "b", "c"])
    policy = RetryPolicy(max_attempts=3, delay_s=0, then="skip")
    kept: list[str] = []
    getattr(records, verb)(function, journal=True, on_error=policy, name="ask").sink(kept.append)
    with pytest.raises(JobFailedError, match=r"'ask' failed.*No space left") as caught:
        env.execute()
    assert isinstance(caught.value.__cause__, JournalError)
    assert not kept
    assert endpoint.calls.count("a") == 1


# What a function is known by.


class Ask(MapFunction[str, str]):
    """A function with a config."""

    def __init__(self, model: str, temperature: float = 0.0) -> None:
        self.model, self.temperature = model, temperature

    def map(self, record: str) -> str:
        return record


def identity(target: Any, *args: Any, **kwargs: Any) -> str:
    return function_identity(FunctionSpec(shapes.MAP, target, args, kwargs))


def test_a_function_is_known_by_its_name_and_config() -> None:
    """Equal configs are the same however they were given in order; others are not."""
    same = {
        identity(Ask, {"model": "m", "temperature": 1.0}),
        identity(Ask, {"temperature": 1.0, "model": "m"}),
        identity(Ask, model="m", temperature=1.0),
    }
    assert len(same) == 1
    assert identity(Ask, "m") != identity(Ask, "n")
    assert identity(Ask("m")) == identity(Ask("m")) != identity(Ask("n"))
    assert identity(Ask("m")).startswith("Ask ")


def test_what_cannot_be_stored_counts_by_its_type() -> None:
    """A client object in a config makes no identity of one process."""
    assert identity(Ask, object()) == identity(Ask, object()) != identity(Ask, len)


def test_callables_are_known_by_their_names() -> None:
    """Functions and methods have an identity that the next process finds again."""
    endpoint = Endpoint()
    assert identity(endpoint.answer_at_once) == identity(Endpoint().answer_at_once)
    assert identity(len) == "len"


def test_only_journalled_operators_get_a_journal(tmp_path: Path) -> None:
    """The deployment may ask for every operator's journal."""
    journals = JournalFolder(tmp_path, epoch=1)
    spec = FunctionSpec(shapes.MAP, len)
    options = {"uid": "1-map", "name": "len", "subtask": 0}
    assert journal_of(MapOperator(spec), journals, **options) is None  # type: ignore[arg-type]
    kept = journal_of(MapOperator(spec, journal=True), journals, **options)  # type: ignore[arg-type]
    assert isinstance(kept, Journal)


# Wrong use, found while the pipeline is built.


def checkpointed(folder: Path) -> LocalEnvironment:
    return LocalEnvironment(config={"fault_tolerance": {"checkpoint_dir": str(folder)}})


async def same(record: Any) -> Any:
    return record


class Counting(AsyncMapFunction[Any, Any]):
    """Keeps state of its own."""

    async def map(self, record: Any) -> Any:
        return record

    def snapshot_state(self) -> object:
        return 1


def test_a_journal_without_checkpoints_is_refused() -> None:
    """Who asks for a journal and takes no checkpoints is told so at the verb."""
    numbers = LocalEnvironment().from_collection([1])
    for build in (
        lambda: numbers.map_async(same, journal=True),
        lambda: numbers.map(same, executor="async", journal=True),
        lambda: numbers.map(str, journal=True),
        lambda: numbers.flat_map(lambda n: [n], journal=True),
    ):
        with pytest.raises(GraphError, match="takes no checkpoints") as caught:
            build()
        assert "fault_tolerance" in str(caught.value)


def test_wrong_values_are_refused(tmp_path: Path) -> None:
    """The option is true or false."""
    numbers = checkpointed(tmp_path).from_collection([1])
    with pytest.raises(GraphError, match="journal must be True or False, got 'yes'"):
        numbers.map_async(same, journal="yes")  # type: ignore[call-overload]


def test_functions_with_state_are_refused(tmp_path: Path) -> None:
    """A result from the journal would not bring the state that its call had changed."""
    numbers = checkpointed(tmp_path).from_collection([1])
    with pytest.raises(FunctionError, match="Counting keeps state of its own"):
        numbers.map_async(Counting, journal=True)


class Remembering(MapFunction[str, str]):
    """Keeps keyed state."""

    def open(self, context: Any) -> None:
        """Ask for it."""
        self._seen = context.state(ValueState("seen"))

    def map(self, record: str) -> str:
        """Let it through."""
        return record


def test_functions_with_keyed_state_are_refused(tmp_path: Path) -> None:
    """That shows when the function asks for it, before its first record."""
    env = checkpointed(tmp_path)
    words = env.from_collection(["a"]).key_by(len)
    words.map(Remembering, journal=True, name="ask").sink(str)
    with pytest.raises(JobFailedError, match="journals its results and keeps keyed state"):
        env.execute()


def test_worker_processes_are_refused(tmp_path: Path) -> None:
    """A journal belongs to the task's process."""
    numbers = checkpointed(tmp_path).from_collection([1])
    with pytest.raises(GraphError, match="cannot journal its results"):
        numbers.map(str, executor="process", journal=True)


def test_the_plan_says_what_is_journalled(tmp_path: Path) -> None:
    """``explain()`` shows which results a recovery will not ask for again."""
    env = checkpointed(tmp_path)
    env.from_collection([1]).map_async(same, journal=True, name="ask").map(str).print()
    assert "results are journalled" in str(env.explain())
