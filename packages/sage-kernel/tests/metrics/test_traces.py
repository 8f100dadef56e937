"""Sampled traces: single records followed through the graph."""

from __future__ import annotations

from typing import Any

import pytest

from sage.common.errors import ConfigError
from sage.kernel import AsyncMapFunction, LocalEnvironment, ProcessFunction
from sage.kernel.errors import JobError, JobFailedError
from sage.kernel.metrics.trace import Hop, Sampler, Trace, Tracer
from sage.kernel.testing import CollectingSink, Gate, check_conservation


def traced(**config: Any) -> LocalEnvironment:
    return LocalEnvironment("traced", config={"sample_trace": 1, **config})


def route(trace: Trace) -> list[tuple[str, str, int]]:
    return [(hop.operator, hop.fate, hop.outputs) for hop in trace.hops]


def test_a_trace_names_every_operator_in_order() -> None:
    """A followed record shows each operator on its way, what came out and what became of it."""
    env = traced()
    words = env.from_collection(["a b"], name="source").flat_map(str.split, name="split")
    words.filter(lambda w: w == "a", name="only a").sink(CollectingSink(), name="sink")
    [trace] = env.execute().traces
    assert route(trace) == [
        ("source", "emitted", 1),
        ("split", "emitted", 2),
        ("only a", "emitted", 1),
        ("sink", "emitted", 0),
    ]
    assert trace.record == "'a b'"
    assert trace.is_complete
    assert all(hop.elapsed_s >= 0 for hop in trace.hops)
    assert trace.elapsed_s >= sum(hop.elapsed_s for hop in trace.hops)


@pytest.mark.parametrize(
    ("function", "on_error", "fate"),
    [
        (lambda r: None, "fail", "no_output"),
        (lambda r: 1 / 0, "skip", "skipped"),
        (lambda r: 1 / 0, "dead_letter", "dead_lettered"),
    ],
)
def test_a_trace_ends_with_the_fate_of_its_record(function: Any, on_error: Any, fate: str) -> None:
    """Where a record goes no further, its trace ends and says why."""
    env = traced()
    stream = env.from_collection([1], name="source").map(function, on_error=on_error, name="map")
    stream.sink(CollectingSink(), name="sink")
    [trace] = env.execute().traces
    assert route(trace)[1:] == [("map", fate, 0)]
    assert trace.is_complete


def test_a_trace_crosses_exchanges_and_forks_at_branches() -> None:
    """A trace goes on in other tasks, and into every branch."""
    env = traced(parallelism=2)
    numbers = env.from_collection([1, 2, 3], name="source").map(abs, name="abs")
    counts = numbers.key_by(lambda n: n, name="key").count(name="count")
    counts.sink(CollectingSink(), name="counts")
    numbers.map(str, name="text").sink(CollectingSink(), name="texts")
    traces = env.execute().traces
    assert len(traces) == 3
    for trace in traces:
        parents = {hop.operator: hop.parent for hop in trace.hops}
        names = [hop.operator for hop in trace.hops]
        assert sorted(names) == ["abs", "count", "counts", "key", "source", "text", "texts"]
        assert names[parents["key"] or 0] == names[parents["text"] or 0] == "abs"
        assert names[parents["counts"] or 0] == "count"
        assert trace.is_complete


def test_an_operator_that_collects_holds_the_trace_until_its_group_is_full() -> None:
    """Of a batch of two, the first record's trace ends held and the second's goes on with both."""
    env = traced()
    stream = env.from_collection([1, 2], name="source")
    batches = stream.map_batches(lambda b: b, max_size=2, name="batch")
    batches.sink(CollectingSink(), name="sink")
    first, second = env.execute().traces
    assert route(first)[1:] == [("batch", "held", 0)]
    assert route(second)[1:] == [("batch", "emitted", 2), ("sink", "emitted", 0)]


class _Slow(AsyncMapFunction[int, int]):
    def __init__(self) -> None:
        self.attempts = 0

    async def map(self, record: int) -> int | None:
        if record < 0:
            raise ValueError(record)
        return None if record == 0 else record


@pytest.mark.parametrize("ordered", [True, False])
def test_an_async_call_is_timed_from_feed_to_outcome(ordered: bool) -> None:
    """An async operator is one hop, with the fate of its outcome, and the trace goes on behind."""
    env = traced()
    stream = env.from_collection([7, 0, -1], name="source")
    calls = stream.map_async(_Slow, ordered=ordered, on_error="skip", name="call")
    calls.map(str, name="text").sink(CollectingSink(), name="sink")
    job = env.submit(autostop=True)
    routes = {trace.record: route(trace)[1:] for trace in job.traces()}
    assert routes["0"] == [("call", "no_output", 0)]
    assert routes["-1"] == [("call", "skipped", 0)]
    assert routes["7"] == [("call", "emitted", 1), ("text", "emitted", 1), ("sink", "emitted", 0)]
    check_conservation(job.metrics(), env.graph())


def _tenfold(record: int) -> int:
    return record * 10


def test_a_worker_process_is_not_followed_into_and_says_so() -> None:
    """The trace ends where the function runs in another process, with a note, not in silence."""
    env = traced()
    sink = CollectingSink()
    stream = env.from_collection([7], name="source").map(_tenfold, executor="process", name="far")
    stream.sink(sink, name="sink")
    [trace] = env.execute().traces
    assert sink.records == [70]
    assert not trace.is_complete
    assert trace.hops[-1].operator == "far"
    assert "worker process" in trace.hops[-1].note


class _Split(ProcessFunction[int, int]):
    def process(self, record: int, ctx: Any) -> Any:
        ctx.output("odd" if record % 2 else "even", record)
        return []


def test_a_side_output_is_followed() -> None:
    """What goes to a side output belongs to the trace of its record."""
    env = traced()
    both = env.from_collection([1, 2], name="source").process(_Split, name="split")
    both.side_output("odd").map(str, name="text").sink(CollectingSink(), name="odd")
    both.side_output("even").sink(CollectingSink(), name="even")
    odd, even = env.execute().traces
    assert [hop.operator for hop in odd.hops] == ["source", "split", "text", "odd"]
    assert [hop.operator for hop in even.hops] == ["source", "split", "even"]


def test_an_unread_side_output_is_emitted_all_the_same() -> None:
    """The fate in a trace is the one that is counted, also where nothing reads the output."""
    env = traced()
    main = env.from_collection([1], name="source").process(_Split, name="split")
    main.sink(CollectingSink(), name="sink")
    result = env.execute()
    assert route(result.traces[0])[1:] == [("split", "emitted", 0)]
    assert result.metrics["split"].emitted == 1


def test_a_loop_is_followed_round_and_a_route_is_bounded() -> None:
    """Each round is a hop more, but a record that goes round for ever makes no endless trace."""
    env = traced()
    stream = env.from_collection([0], name="source")
    grown = stream.iterate(lambda s: s.map(lambda n: n + 1, name="plus"), lambda n: n >= 3)
    grown.sink(CollectingSink(), name="sink")
    [trace] = env.execute().traces
    assert [hop.operator for hop in trace.hops].count("plus") == 3

    env = traced()
    sink = CollectingSink()
    stream = env.from_collection([0], name="source")
    stream.iterate(lambda s: s.map(lambda n: n + 1), lambda n: n >= 2000).sink(sink)
    [trace] = env.execute().traces
    assert sink.records == [2000]
    assert len(trace.hops) == Trace.MOST_HOPS
    assert not trace.is_complete
    assert str(trace).count("\n") == Trace.MOST_HOPS


@pytest.mark.parametrize("batch_size", [1, 3, 1024])
def test_tracing_changes_neither_order_nor_counts(batch_size: int) -> None:
    """Records arrive in the same order, followed or not, and the counts add up."""
    sink = CollectingSink()
    env = LocalEnvironment(config={"sample_trace": 0.2, "batch_size": batch_size})
    stream = env.from_collection(range(2000)).map(lambda n: n + 1)
    apart = stream.union(env.from_collection([]))  # a task of its own, behind a channel
    apart.flat_map(lambda n: [n, -n]).filter(lambda n: n % 3).sink(sink)
    job = env.submit(autostop=True)
    assert sink.records == [m for n in range(1, 2001) for m in (n, -n) if m % 3]
    check_conservation(job.metrics(), env.graph())


def test_a_failed_job_keeps_its_open_traces() -> None:
    """The trace of the record at which a job fails is there, and says that it has no end."""
    env = traced()
    stream = env.from_collection([0], name="source").map(lambda n: 1 / n, name="invert")
    stream.sink(CollectingSink())
    job = env.submit()
    with pytest.raises(JobFailedError):
        job.wait(30)
    [trace] = job.traces()
    assert not trace.is_complete
    assert "not followed to its end" in str(trace)


def test_a_trace_of_a_cancelled_job_is_kept() -> None:
    """A record that is under way when the job is cancelled has a trace without an end."""
    gate = Gate()

    def wait(record: int) -> int:
        gate.wait()
        return record

    env = traced()
    env.from_collection([1]).map(wait).sink(CollectingSink())
    job = env.submit()
    gate.wait_for_arrival()
    job.cancel()
    gate.open()
    assert job._run.join(30)
    assert len(list(job.traces())) == 1


def test_a_trace_is_finished_when_nothing_of_it_is_under_way() -> None:
    """While a branch is in another task, the trace is not among the finished ones."""
    gate = Gate()
    env = traced()
    numbers = env.from_collection([1], name="source")
    behind = numbers.union(env.from_collection([]), name="union")
    behind.for_each(lambda n: gate.wait(), name="far")
    numbers.sink(CollectingSink(), name="near")
    job = env.submit()
    gate.wait_for_arrival()
    assert not list(job.traces())
    gate.open()
    [trace] = job.wait(30).traces
    assert {hop.operator for hop in trace.hops} >= {"far", "near"}
    assert trace.is_complete


def test_the_newest_traces_are_kept_and_the_others_counted() -> None:
    """``max_traces`` bounds what is kept; the metrics say how many made room."""
    env = traced(max_traces=2)
    env.from_collection(range(5)).sink(CollectingSink())
    result = env.execute()
    assert [trace.record for trace in result.traces] == ["3", "4"]
    assert result.metrics.traces_dropped == 3


def test_sampling_feeds_the_latencies() -> None:
    """The times of followed records are the operators' latencies and the job's."""
    env = traced()
    stream = env.from_collection(range(8)).map(abs, name="abs").filter(lambda n: n < 4)
    stream.sink(CollectingSink())
    metrics = env.execute().metrics
    assert metrics["abs"].latency is not None
    assert metrics["abs"].latency.count == 8
    assert metrics.latency is not None
    assert metrics.latency.count == 4  # those that reached the sink


def test_without_sampling_there_are_no_traces() -> None:
    """Asking a job that follows nothing for traces says how to turn it on."""
    env = LocalEnvironment()
    env.from_collection([1]).map(abs, name="abs").sink(CollectingSink())
    job = env.submit(autostop=True)
    with pytest.raises(JobError, match="sample_trace"):
        list(job.traces())
    assert job.metrics()["abs"].latency is None


@pytest.mark.parametrize("share", [-0.1, 1.5, True, "all"])
def test_a_share_is_from_0_to_1(share: Any) -> None:
    """Anything but a share is refused where it is given."""
    with pytest.raises(ConfigError, match="sample_trace"):
        LocalEnvironment(config={"sample_trace": share})


def test_a_sampler_picks_the_same_records_however_they_fall_into_batches() -> None:
    """Which records are followed depends on the seed, not on the sizes of batches."""

    def picked(sizes: list[int]) -> list[int]:
        sampler, at, found = Sampler(0.05, "seed"), 0, []
        for size in sizes:
            found += [at + position for position in sampler.picked(size)]
            at += size
        return found

    whole = picked([10_000])
    assert whole == picked([1] * 10_000) == picked([3, 997] * 10)
    assert 400 < len(whole) < 600
    assert Sampler(1, "seed").picked(4) == [0, 1, 2, 3]


def test_a_trace_is_drawn_as_a_tree() -> None:
    """``str()`` shows the route indented, with times, waits and forks."""
    tracer = Tracer(1)
    trace = tracer.begin("x" * 500, "source", 0).trace
    trace.add(Hop(0, "split", 0, 0.001, 0.002, 2, "emitted"))
    trace.add(Hop(1, "left", 1, 0.0, 0.0, 1, "emitted"))
    trace.add(Hop(2, "end", 1, 0.0, 0.0, 0, "filtered"))
    trace.add(Hop(1, "right", 0, 0.0, 0.5, 0, "no_output", "2 attempts"))
    head, *lines = str(trace).splitlines()
    assert head.startswith("'xxx")
    assert "…" in head
    assert lines == [
        "└─ source[0] emitted",
        "   └─ split[0] emitted 2 in 2.00 ms after 1.00 ms",
        "      ├─ left[1] emitted in 0.00 ms",
        "      │  └─ end[1] filtered in 0.00 ms",
        "      └─ right[0] no_output in 500.00 ms (2 attempts)",
    ]
    assert trace.to_dict()["hops"][1]["parent"] == 0


def test_a_repr_that_raises_ends_no_job() -> None:
    """A record that cannot show itself is followed all the same."""

    class Shy:
        def __repr__(self) -> str:
            raise ValueError

    env = traced()
    env.from_collection([Shy()]).map(lambda r: 1).sink(CollectingSink())
    [trace] = env.execute().traces
    assert trace.record == "<Shy, whose repr raises ValueError>"
