"""Watermarks on their way: through every kind of operator, task and exchange, and past silence."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage.kernel import (
    CountWindow,
    DataStream,
    LocalEnvironment,
    ProcessFunction,
    SourceFunction,
    TumblingWindow,
)
from sage.kernel.errors import GraphError
from sage.kernel.graph.transformation import Partitioning
from sage.kernel.metrics.snapshot import JobMetrics
from sage.kernel.runtime.channel import Batch, Channel, Mailbox
from sage.kernel.runtime.output import OutputEdge
from sage.kernel.testing import CollectingSink, ManualClock, check_conservation

SIZE_S = 10
Record = tuple[int, str, float]  # a number of its own, key, time


def nothing(record: object) -> None:
    return None


def number_of(record: Record) -> int:
    return record[0]


def key_of(record: Record) -> str:
    return record[1]


def time_of(record: Record) -> float:
    return record[2]


def run(env: LocalEnvironment) -> JobMetrics:
    """Run to the end; nothing may be lost on the way."""
    metrics = env.submit().wait(60).metrics
    check_conservation(metrics, env.graph())
    return metrics


def counted(stream: DataStream[Any], **options: Any) -> tuple[CollectingSink, CollectingSink]:
    """Count in windows by key; return the sinks of the results and of the late records."""
    keyed = stream.key_by(key_of)
    counts = keyed.window(TumblingWindow(SIZE_S)).count(
        emit=lambda key, window, n: (key, window.start_s, n), **options
    )
    main, late = CollectingSink(), CollectingSink()
    counts.side_output("late").sink(late)
    counts.sink(main)
    return main, late


def start_of(time: float) -> float:
    return time // SIZE_S * SIZE_S


@dataclass(frozen=True)
class Row:
    """A record with what rides beside it, in the oracle."""

    record: Record
    watermark: float

    @property
    def is_late(self) -> bool:
        return start_of(time_of(self.record)) + SIZE_S <= self.watermark


def rows_of(records: list[Record], bound: float) -> list[Row]:
    """What one split brings: the running maximum less the bound rides beside each record."""
    highest, rows = -math.inf, []
    for record in records:
        highest = max(highest, time_of(record))
        rows.append(Row(record, highest - bound))
    return rows


def counts_of(rows: list[Row]) -> Counter[tuple[str, float]]:
    return Counter((key_of(r.record), start_of(time_of(r.record))) for r in rows)


@st.composite
def disordered(draw: st.DrawFn) -> list[Record]:
    steps = st.sampled_from([0, 0.5, 1, 3, -4, -12, 15])
    now, records = draw(st.sampled_from([-25.0, 0, 1e9])), []
    for number in range(draw(st.integers(0, 40))):
        now += draw(steps)
        records.append((number, draw(st.sampled_from("ab")), now))
    return records


CONFIGS = st.fixed_dictionaries(
    {
        "batch_size": st.sampled_from([1, 2, 7, 1024]),
        "linger_ms": st.sampled_from([0, 5.0]),
        "channel_batches": st.integers(1, 3),
    }
)
FEW = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


async def later(record: Record) -> Record:
    import asyncio

    for _ in range(number_of(record) * 7 % 5):  # calls end in another order than they start
        await asyncio.sleep(0)
    return record


def copies(record: Record) -> list[Record]:
    return [record] * (number_of(record) % 3)


def keeps(record: Record) -> bool:
    return number_of(record) % 4 != 1


class Beside(ProcessFunction[Any, Any]):
    """Passes records on, some to a side output that nobody reads; checks what rides along."""

    def open(self, context: Any) -> None:
        self.watermark = -math.inf

    def process(self, record: Any, ctx: Any) -> Iterator[Any]:
        assert ctx.watermark >= self.watermark, "the watermark went back"
        assert ctx.timestamp == time_of(record), "it has another record's time"
        self.watermark = ctx.watermark
        if number_of(record) % 3 == 0:
            ctx.output("seen", record)
        yield record


Step = tuple[Callable[[DataStream[Any]], DataStream[Any]], Callable[[list[Row]], list[Row]]]


def same(rows: list[Row]) -> list[Row]:
    return rows


def forked(stream: DataStream[Any]) -> DataStream[Any]:
    stream.map(number_of).sink(nothing)
    stream.key_by(key_of).window(TumblingWindow(3)).count().sink(nothing)
    return stream


KEEP_ORDER: dict[str, Step] = {
    "map": (lambda s: s.map(lambda r: r), same),
    "filter": (lambda s: s.filter(keeps), lambda rows: [r for r in rows if keeps(r.record)]),
    "flat_map": (
        lambda s: s.flat_map(copies),
        lambda rows: [r for r in rows for _ in copies(r.record)],
    ),
    "map_batches": (lambda s: s.map_batches(lambda batch: batch, max_size=3), same),
    "map_async": (lambda s: s.map_async(later, concurrency=3), same),
    "process": (lambda s: s.process(Beside), same),
    "fork": (forked, same),
    "key": (lambda s: s.key_by(key_of).map(lambda r: r), same),
}
ANY_ORDER: dict[str, Step] = {
    **KEEP_ORDER,
    "unordered": (lambda s: s.map_async(later, concurrency=3, ordered=False), same),
    "spread": (lambda s: s.rebalance().map(lambda r: r, parallelism=3), same),
    "by key": (lambda s: s.key_by(key_of).process(Beside, parallelism=2), same),
    "union": (
        lambda s: s.union(s.map(lambda r: r)),
        lambda rows: [r for r in rows for _ in range(2)],
    ),
}


@given(st.data())
@FEW
def test_a_chain_that_keeps_the_order_gives_what_a_batch_computation_gives(
    data: st.DataObject,
) -> None:
    """Counts and late records are exact, whatever is between, in batches of every size."""
    records, bound = data.draw(disordered()), data.draw(st.sampled_from([0, 4, 13]))
    env = LocalEnvironment(config=data.draw(CONFIGS))
    stream: DataStream[Any] = env.from_collection(records).assign_timestamps(
        time_of, max_out_of_orderness_s=bound
    )
    rows = rows_of(records, bound)
    for name in data.draw(st.lists(st.sampled_from(sorted(KEEP_ORDER)), max_size=4)):
        step, on_rows = KEEP_ORDER[name]
        stream, rows = step(stream), on_rows(rows)
    stream = stream.process(Beside)
    main, late = counted(stream, parallelism=data.draw(st.integers(1, 4)))
    run(env)
    expected = counts_of([row for row in rows if not row.is_late])
    assert Counter({(key, start): n for key, start, n in main.records}) == expected
    assert len(main.records) == len(expected)
    assert Counter(late.records) == Counter(row.record for row in rows if row.is_late)


@given(st.data())
@FEW
def test_behind_any_graph_no_record_is_lost_and_none_becomes_late(data: st.DataObject) -> None:
    """Main and late together are all records, and late is only what was late at its source."""
    env = LocalEnvironment(config=data.draw(CONFIGS))
    streams, rows = list[DataStream[Any]](), list[Row]()
    for number in range(data.draw(st.integers(1, 2))):
        records = [(1000 * number + n, key, t) for n, key, t in data.draw(disordered())]
        bound = data.draw(st.sampled_from([0, 13, 1000]))
        source = env.from_collection(records)
        stream: DataStream[Any] = source.assign_timestamps(time_of, max_out_of_orderness_s=bound)
        mine = rows_of(records, bound)
        for name in data.draw(st.lists(st.sampled_from(sorted(ANY_ORDER)), max_size=3)):
            step, on_rows = ANY_ORDER[name]
            stream, mine = step(stream), on_rows(mine)
        streams.append(stream)
        rows += mine
    merged = streams[0].union(*streams[1:]) if len(streams) > 1 else streams[0]
    main, late = counted(merged, parallelism=data.draw(st.integers(1, 4)))
    run(env)
    total = Counter[tuple[str, float]]()
    for key, start, n in main.records:
        assert (key, start) not in total, "a window has fired twice"
        total[key, start] = n
    total.update((key_of(r), start_of(time_of(r))) for r in late.records)
    assert total == counts_of(rows)
    assert not Counter(late.records) - Counter(row.record for row in rows if row.is_late)


@given(records=disordered(), config=CONFIGS, parallelism=st.integers(1, 4))
@FEW
def test_results_of_windows_are_in_time_for_the_next_window(
    records: list[Record], config: dict[str, Any], parallelism: int
) -> None:
    """A window behind a window counts all its results, and calls none of them late."""
    env = LocalEnvironment(config=config)
    timed = env.from_collection(records).assign_timestamps(time_of, max_out_of_orderness_s=4)
    small = (
        timed.key_by(key_of)
        .window(TumblingWindow(5))
        .count(emit=lambda key, window, n: (n, key, window.start_s), parallelism=parallelism)
    )
    large = (
        small.key_by(key_of)
        .window(TumblingWindow(SIZE_S))
        .reduce(
            lambda a, b: (a[0] + b[0], a[1], start_of(min(a[2], b[2]))), parallelism=parallelism
        )
    )
    late, main = CollectingSink(), CollectingSink()
    large.side_output("late").sink(late)
    large.sink(main)
    run(env)
    accepted = [r for r in rows_of(records, 4) if time_of(r.record) // 5 * 5 + 5 > r.watermark]
    assert late.records == []
    expected = counts_of(accepted)
    assert Counter({(key, start_of(t)): n for n, key, t in main.records}) == expected
    assert len(main.records) == len(expected)


@pytest.mark.parametrize("verb", ["map", "map_batches", "flat_map"])
def test_worker_processes_hold_time_back_for_what_they_keep(verb: str) -> None:
    """Records in a worker, also those in its buffer, are not overtaken by their watermark."""
    env = LocalEnvironment(config={"batch_size": 8})
    records = [(n, "ab"[n % 2], float(n)) for n in range(203)]
    stream: DataStream[Any] = env.from_collection(records).assign_timestamps(time_of)
    if verb == "map":
        stream = stream.map(lambda r: r, executor="process")
    elif verb == "flat_map":
        stream = stream.flat_map(lambda r: [r], executor="process")
    else:
        stream = stream.map_batches(lambda batch: batch, max_size=50, executor="process")
    main, late = counted(stream)
    run(env)
    assert late.records == []
    expected = counts_of(rows_of(records, 0))
    assert Counter({(key, start): n for key, start, n in main.records}) == expected


class Scripted(SourceFunction[Any]):
    """Gives the records of a script; a gate in it makes the source silent until it is opened.

    It never blocks, so that its task is free, and it tells the test when it is asked in vain: then
    everything that it gave before has been worked off by its task.
    """

    def __init__(self, *steps: Any) -> None:
        self._steps = list(steps)
        self._at = 0

    def __deepcopy__(self, memo: object) -> Scripted:
        return self

    def read(self, max_records: int) -> list[Any] | None:
        if self._at == len(self._steps):
            return None
        step = self._steps[self._at]
        if isinstance(step, Silence):
            if not step.is_over:
                step.asked.set()
                return []
            self._at += 1
            return []
        self._at += 1
        return [step]


class Silence:
    """A part of a script in which nothing comes until the test ends it."""

    def __init__(self) -> None:
        self.is_over = False
        self.asked = threading.Event()

    def wait(self) -> None:
        assert self.asked.wait(30), "the source never came to its silence"

    def end(self) -> None:
        self.is_over = True


QUIET: dict[str, Callable[[DataStream[Any]], DataStream[Any]]] = {
    "nothing": lambda s: s,
    "filter": lambda s: s.filter(lambda r: True),
    "flat_map": lambda s: s.flat_map(lambda r: [r]),
    "map_batches": lambda s: s.map_batches(lambda batch: batch, max_size=2),
    "map_async": lambda s: s.map_async(later),
    "unordered": lambda s: s.map_async(later, ordered=False),
    "process": lambda s: s.map(lambda r: r, executor="process"),
    "rebalance": lambda s: s.rebalance().map(lambda r: r, parallelism=3),
    "hash": lambda s: s.key_by(key_of).process(Beside, parallelism=4),
    "side output": lambda s: s.process(lambda r, ctx: ctx.output("on", r)).side_output("on"),
    "route": lambda s: s.route({"on": lambda r: True})["on"],
    "fork": forked,
    "union": lambda s: s.filter(lambda r: r[0] == 0).union(s.filter(lambda r: r[0])),
    "window": lambda s: s.key_by(key_of).window(TumblingWindow(5)).reduce(max),
}


def test_time_that_is_assigned_behind_an_exchange_goes_on_too() -> None:
    """Where no watermark comes in, the records that come say how far time is."""
    silence = Silence()
    env = LocalEnvironment()
    source = Scripted((0, "a", 1.0), (1, "b", 2.0), (2, "drop", 30.0), silence)
    spread = env.from_source(source).rebalance()
    timed = spread.assign_timestamps(time_of, resources={"num_cpus": 1})
    main, _ = counted(timed.filter(lambda r: r[1] != "drop"))
    job = env.submit()
    assert sorted(main.wait_for(2)) == [("a", 0, 1), ("b", 0, 1)]
    silence.end()
    job.wait(60)


@pytest.mark.parametrize("parallelism", [1, 3])
@pytest.mark.parametrize("chain", sorted(QUIET))
def test_time_goes_on_where_no_record_does(chain: str, parallelism: int) -> None:
    """A record that is filtered out still lets windows fire behind, while the source is silent."""
    silence = Silence()
    env = LocalEnvironment()
    source = Scripted((0, "a", 1.0), (1, "b", 2.0), (2, "drop", 30.0), silence)
    timed = env.from_source(source).assign_timestamps(time_of)
    main, late = counted(
        QUIET[chain](timed.filter(lambda r: r[1] != "drop")), parallelism=parallelism
    )
    job = env.submit()
    assert sorted(main.wait_for(2)) == [("a", 0, 1), ("b", 0, 1)]
    silence.end()
    check_conservation(job.wait(60).metrics, env.graph())
    assert (len(main.records), late.records) == (2, [])


def test_records_that_a_batch_operator_holds_are_not_overtaken() -> None:
    """A list that waits for company holds time back behind it, and none of it is late."""
    silence = Silence()
    env = LocalEnvironment()
    records = [(n, "a", float(n)) for n in range(0, 95, 5)]
    source = Scripted(*records[:7], silence, *records[7:])
    timed = env.from_source(source).assign_timestamps(time_of)
    held = timed.map_batches(lambda batch: batch, max_size=5, name="held")
    main, late = counted(held.rebalance().map(lambda r: r, parallelism=2))
    job = env.submit()
    silence.wait()
    assert [n for *_, n in main.wait_for(2)] == [2, 2]  # of the first list; 25 and 30 are held
    assert job.metrics()["held"].watermark_s == 25.0
    silence.end()
    job.wait(60)
    assert late.records == []
    assert sum(n for *_, n in main.records) == len(records)


def test_event_time_is_that_of_the_slowest_input() -> None:
    """An input far ahead closes no window that a slower input still has records for."""
    behind = Silence()

    def passing(record: Record) -> Record:
        if time_of(record) == 500.0:
            behind.end()  # the fast input has come this far, now let the slow one go on
        return record

    env = LocalEnvironment()
    slow = env.from_source(Scripted((0, "a", 1.0), behind, (1, "a", 2.0), (2, "a", 11.0)))
    fast = env.from_source(Scripted(*[(n, "b", t) for n, t in enumerate([1.0, 50.0, 500.0])]))
    timed = [s.assign_timestamps(time_of) for s in (slow, fast)]
    main, late = counted(timed[0].union(timed[1]).map(passing))
    run(env)
    assert late.records == []
    assert sorted(main.records) == [
        *[("a", 0, 2), ("a", 10, 1)],
        *[("b", 0, 1), ("b", 50, 1), ("b", 500, 1)],
    ]


@pytest.mark.parametrize("parallelism", [1, 3])
def test_nobody_waits_for_an_idle_input_and_it_may_wake_up(parallelism: int) -> None:
    """After its time-out time goes on without it; what it says later in windows gone by is late."""
    clock, asleep, awake = ManualClock(), Silence(), Silence()
    env = LocalEnvironment(config={"clock": clock})
    slow = env.from_source(Scripted((0, "a", 1.0), asleep, (1, "a", 2.0), (2, "a", 95.0)))
    fast = env.from_source(Scripted((3, "b", 1.0), (4, "b", 90.0), awake, (5, "b", 120.0)))
    idle = slow.assign_timestamps(time_of, idle_timeout_s=60)
    main, late = counted(idle.union(fast.assign_timestamps(time_of)), parallelism=parallelism)
    job = env.submit()
    asleep.wait()
    clock.advance(59)
    assert main.records == []
    clock.advance(1)
    assert sorted(main.wait_for(2)) == [("a", 0, 1), ("b", 0, 1)]
    asleep.end()
    assert late.wait_for(1) == [(1, "a", 2.0)]
    awake.end()
    check_conservation(job.wait(60).metrics, env.graph())
    assert sorted(main.records[2:]) == [("a", 90, 1), ("b", 90, 1), ("b", 120, 1)]


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_an_idle_input_is_waited_for_while_its_records_are_held(executor: Any) -> None:
    """What waits in a list for company is not overtaken because its source has become idle."""
    clock, asleep, awake = ManualClock(), Silence(), Silence()
    env = LocalEnvironment(config={"clock": clock})
    slow = env.from_source(Scripted((0, "a", 1.0), asleep, (1, "a", 2.0)))
    fast = env.from_source(Scripted((2, "b", 1.0), (3, "b", 90.0), awake, (4, "b", 95.0)))
    idle = slow.assign_timestamps(time_of, idle_timeout_s=60)
    held = idle.map_batches(lambda batch: batch, max_size=2, executor=executor)
    main, late = counted(held.union(fast.assign_timestamps(time_of)))
    job = env.submit()
    for silence in (asleep, awake):
        silence.wait()
    clock.advance(60)
    for _ in range(2):  # the source is asked again, and so has become idle
        asleep.asked.clear()
        asleep.wait()
    asleep.end()
    main.wait_for(2)
    awake.end()
    check_conservation(job.wait(60).metrics, env.graph())
    assert late.records == []
    assert sorted(main.records) == [("a", 0, 2), ("b", 0, 1), ("b", 90, 2)]


def test_an_input_whose_records_are_all_filtered_before_is_idle() -> None:
    """Batches of which nothing reaches assign_timestamps do not keep others waiting."""
    clock, silence = ManualClock(), Silence()
    env = LocalEnvironment(config={"clock": clock})

    class Chatter(SourceFunction[Any]):
        def read(self, max_records: int) -> list[Any] | None:
            return None if silence.is_over else ["noise"]

    noise = env.from_source(Chatter()).filter(lambda r: r != "noise")
    fast = env.from_source(Scripted((0, "b", 1.0), (1, "b", 90.0), silence))
    idle = noise.assign_timestamps(time_of, idle_timeout_s=60)
    main, _ = counted(idle.union(fast.assign_timestamps(time_of)))
    job = env.submit()
    silence.wait()
    while not main.records:  # the clock is read where the job is opened, too
        clock.advance(60)
        threading.Event().wait(0.001)
    assert main.records == [("b", 0, 1)]
    silence.end()
    job.wait(60)


def test_an_input_that_ends_is_not_waited_for() -> None:
    """The others say how far time is from then on."""
    silence = Silence()
    env = LocalEnvironment()
    short = env.from_source(Scripted((0, "a", 1.0))).assign_timestamps(time_of)
    going_on = env.from_source(Scripted((1, "b", 2.0), (2, "b", 30.0), silence))
    main, late = counted(short.union(going_on.assign_timestamps(time_of)), parallelism=2)
    job = env.submit()
    assert sorted(main.wait_for(2)) == [("a", 0, 1), ("b", 0, 1)]
    silence.end()
    job.wait(60)
    assert late.records == []


def test_what_a_task_says_at_its_end_is_not_late() -> None:
    """A task whose inputs have ended is not idle: its last results are waited for."""
    behind, ahead = Silence(), Silence()

    def passing(record: Record) -> Record:
        if time_of(record) == 500.0:
            behind.end()
        return record

    env = LocalEnvironment()
    short = env.from_source(Scripted((1, "a", 1.0), behind))
    long = env.from_source(Scripted((2, "b", 500.0), ahead))
    first = short.assign_timestamps(time_of).rebalance().key_by(key_of).window(TumblingWindow(5))
    early = first.reduce(max, parallelism=2)
    main, late = counted(early.union(long.assign_timestamps(time_of)).map(passing))
    job = env.submit()
    assert main.wait_for(1) == [("a", 0, 1)]
    ahead.end()
    job.wait(60)
    assert late.records == []


def test_a_side_output_has_the_time_of_where_it_leaves() -> None:
    """Timestamps that are assigned anew behind it do not hurry it."""
    env = LocalEnvironment(config={"batch_size": 1})
    records = [(n, "a", float(n)) for n in range(40)]
    timed = env.from_collection(records).assign_timestamps(time_of)

    def both(record: Record, ctx: Any) -> list[Record]:
        ctx.output("side", record)
        return [record]

    parted = timed.process(both)
    parted.assign_timestamps(lambda r: r[2] * 1000).window(CountWindow(3)).count().sink(nothing)
    main, late = counted(parted.side_output("side"), parallelism=2)
    run(env)
    assert late.records == []
    assert sorted(main.records) == [("a", start, 10) for start in (0, 10, 20, 30)]


def test_a_failure_behind_inputs_with_and_without_time_is_handled() -> None:
    """Where one input carries timestamps and the other none, skipping a record loses no other."""
    env, got = LocalEnvironment(), list[Any]()
    numbers = [1, 2, 3, 4] * 3
    timed = env.from_collection(numbers).assign_timestamps(lambda n: n).key_by(lambda n: n % 2)
    timed.window(TumblingWindow(2)).count().sink(nothing)
    plain = env.from_collection(numbers).key_by(lambda n: n % 2)

    def picky(pair: tuple[int, int]) -> tuple[int, int]:
        if pair[0] == pair[1]:
            raise ValueError(pair)
        return pair

    for pairs in (plain.join(timed), timed.join(plain)):  # one of them comes last
        pairs.map(picky, on_error="skip").sink(got.append)
    run(env)
    expected = [(a, b) for a in numbers for b in numbers if a % 2 == b % 2 and a != b]
    assert sorted(got) == sorted(2 * expected)


class Overtaken(Channel):
    """A fake channel: while it sends, somebody else tries to get in front."""

    def __init__(self, overtake: Callable[[], None]) -> None:
        super().__init__(Mailbox(), 0, 4, ("a", "b"))
        self.put: list[str] = []
        self._overtake = overtake

    def send(self, batch: Batch, watermark: float | None = None) -> None:
        rival = threading.Thread(target=self._overtake)
        rival.start()
        rival.join(0.05)  # it has to wait, or it has overtaken by now
        self.put.append("batch")
        self.rival = rival

    def mark(self, watermark: float, *, idle: bool) -> None:
        self.put.append("mark")

    def end(self) -> None:
        self.put.append("end")


@pytest.mark.parametrize("what", ["mark", "end"])
def test_nothing_overtakes_what_the_linger_thread_sends(what: str) -> None:
    """A watermark, or the end, that the task has to say comes behind the batch under way."""
    channel = Overtaken(lambda: getattr(edge, what)())
    edge = OutputEdge(
        Partitioning.FORWARD,
        [channel],
        layout=("time", "watermark"),
        batch_size=8,
        refuse=lambda record, riders, error: None,
    )
    edge.columns.append_row(("record", 1, 1))
    edge.watermark = 5
    edge.try_flush()
    channel.rival.join(30)
    assert (channel.put[0], channel.put[-1]) == ("batch", what)


# Processing time.


def test_windows_by_the_clock_fire_when_it_moves() -> None:
    """With time="processing" a record is in the window of the moment at which it came."""
    clock, first, second = ManualClock(100.0), Silence(), Silence()
    env = LocalEnvironment(config={"clock": clock})
    source = env.from_source(Scripted("a", "b", "a", first, "a", second, "b"))
    got = CollectingSink()
    source.key_by(lambda r: r).window(TumblingWindow(SIZE_S), time="processing").count().sink(got)
    job = env.submit()
    first.wait()
    assert got.records == []
    clock.advance(10)
    assert sorted(got.wait_for(2)) == [("a", 2), ("b", 1)]
    first.end()
    second.wait()
    clock.advance(10)
    assert got.wait_for(3)[2:] == [("a", 1)]
    second.end()
    check_conservation(job.wait(60).metrics, env.graph())
    assert got.records[3:] == [("b", 1)]


# What is refused, told and counted.


def test_a_service_cannot_answer_through_windows_and_timers() -> None:
    """Their results belong to no single request, so serve refuses them by name."""

    class Alarm(ProcessFunction[Any, Any]):
        def process(self, record: Any, ctx: Any) -> None:
            return None

        def on_timer(self, timestamp_s: float, ctx: Any) -> None:
            return None

    env = LocalEnvironment()
    source = env.from_collection([(0, "a", 1.0)])
    timed = source.assign_timestamps(time_of).key_by(key_of)
    for answers in (timed.window(TumblingWindow(5)).count(), source.key_by(key_of).process(Alarm)):
        with pytest.raises(GraphError, match=r"serve cannot answer through .*many records"):
            env.serve(answers)


def test_event_time_inside_a_loop_is_refused() -> None:
    """A record that goes round holds time back without end; the message says where it may be."""

    class Alarm(ProcessFunction[Any, Any]):
        def process(self, record: Any, ctx: Any) -> None:
            return None

        def on_timer(self, timestamp_s: float, ctx: Any) -> None:
            return None

    def windowed(stream: DataStream[Any]) -> DataStream[Any]:
        return stream.key_by(key_of).window(TumblingWindow(5)).reduce(max)

    def retimed(stream: DataStream[Any]) -> DataStream[Any]:
        return windowed(stream.assign_timestamps(time_of))

    def alarmed(stream: DataStream[Any]) -> DataStream[Any]:
        return stream.key_by(key_of).process(Alarm)

    for body, told in ((windowed, "cannot know"), (retimed, "cannot know"), (alarmed, "timers")):
        env = LocalEnvironment()
        timed = env.from_collection([(0, "a", 1.0)]).assign_timestamps(time_of)
        timed.iterate(body, max_iterations=2).sink(nothing)
        with pytest.raises(GraphError, match="inside a loop") as caught:
            env.execute()
        assert told in str(caught.value)


def test_behind_a_loop_timestamps_have_to_be_assigned_anew() -> None:
    """What leaves a loop has no event time; assigned again it has."""

    def build(env: LocalEnvironment) -> DataStream[Any]:
        timed = env.from_collection([(0, "a", 1.0), (1, "a", 12.0)]).assign_timestamps(time_of)
        return timed.iterate(lambda s: s.map(lambda r: r), max_iterations=2)

    env = LocalEnvironment()
    counted(build(env))
    with pytest.raises(GraphError, match=r"needs timestamps.*behind any loop"):
        env.execute()
    env = LocalEnvironment()
    main, _ = counted(build(env).assign_timestamps(time_of, max_out_of_orderness_s=50))
    run(env)
    assert sorted(main.records) == [("a", 0, 1), ("a", 10, 1)]


@given(records=disordered(), config=CONFIGS, sample=st.sampled_from([0.3, 1]))
@settings(max_examples=15, deadline=None)
def test_traced_records_count_once(
    records: list[Record], config: dict[str, Any], sample: float
) -> None:
    """Following records through windows changes no result and no count; they end in a state."""
    env = LocalEnvironment(config={**config, "sample_trace": sample})
    timed = env.from_collection(records).assign_timestamps(time_of, max_out_of_orderness_s=4)
    main, late = counted(timed, name="counts")
    result = env.submit().wait(60)
    check_conservation(result.metrics, env.graph())
    rows = rows_of(records, 4)
    expected = counts_of([row for row in rows if not row.is_late])
    assert Counter({(key, start): n for key, start, n in main.records}) == expected
    assert len(late.records) == sum(row.is_late for row in rows)
    fates = Counter(hop.fate for t in result.traces for hop in t.hops if hop.operator == "counts")
    assert set(fates) <= {"held", "late", "emitted"}
    if sample == 1:
        assert fates["late"] + fates["emitted"] >= len(late.records)
        assert sum(fates.values()) == len(records)


def test_metrics_show_how_far_time_has_come() -> None:
    """Operators that event time goes through show it, as far as the slowest subtask is."""
    silence = Silence()
    env = LocalEnvironment()
    source = Scripted((0, "a", 1.0), (1, "b", 20.0), (2, "a", 3.0), silence)
    plain = env.from_source(source, name="source").map(lambda r: r, name="before")
    timed = plain.assign_timestamps(time_of, max_out_of_orderness_s=4, name="times")
    main, late = counted(timed, name="counts", parallelism=2)
    job = env.submit()
    assert main.wait_for(1) == [("a", 0, 1)]
    silence.wait()
    late.wait_for(1)
    metrics = job.metrics()
    assert [metrics[name].watermark_s for name in ("source", "before")] == [None, None]
    assert metrics["times"].watermark_s == metrics["counts"].watermark_s == 16.0
    assert metrics["counts"].late == 1
    silence.end()
    ended = job.wait(60).metrics
    assert ended["counts"].watermark_s == 16.0
    by_name = {o["name"]: o for o in ended.to_dict()["operators"]}
    assert (by_name["counts"]["watermark_s"], by_name["counts"]["late"]) == (16.0, 1)
    assert by_name["before"]["watermark_s"] is None
    text = ended.to_prometheus()
    assert 'sage_operator_watermark_seconds{job="local",operator="times",subtask="0"} 16.0' in text
    assert 'operator="before",subtask="0"} ' not in "".join(
        line for line in text.splitlines() if "watermark_seconds" in line
    )


def test_the_plan_says_where_timestamps_come_from() -> None:
    """explain shows the bound on disorder, and what else says how far time is."""
    env = LocalEnvironment()
    stream = env.from_collection([(0, "a", 1.0)])
    bounded = stream.assign_timestamps(time_of, max_out_of_orderness_s=4, name="bounded")
    idle = bounded.assign_timestamps(time_of, idle_timeout_s=30, name="idle")

    class Own:
        def on_event(self, record: Any, timestamp_s: float) -> None:
            return None

    own = idle.assign_timestamps(time_of, watermarks=Own, name="own")
    own.window(TumblingWindow(5)).count().sink(nothing)
    text = str(env.explain())
    assert "bounded: timestamps, up to 4 s out of order" in text
    assert "idle: timestamps in order, idle after 30 s" in text
    assert "own: timestamps, watermarks by Own" in text


def test_rows_that_waited_for_a_partner_do_not_turn_time_back() -> None:
    """What a join or a group gives at its end has its record's time, and is not late."""
    env = LocalEnvironment(config={"batch_size": 2})
    left = env.from_collection([(0, "a", 1.0), (1, "b", 5.0), (2, "c", 30.0), (3, "a", 9.0)])
    right = env.from_collection([(4, "a", 2.0), (5, "d", 40.0), (6, "e", 7.0)])
    one, other = (s.assign_timestamps(time_of, name=n) for s, n in ((left, "l"), (right, "r")))
    pairs = one.key_by(key_of).join(other.key_by(key_of), how="full")
    windowed = (
        pairs.process(Rising)
        .window(TumblingWindow(SIZE_S))
        .count(emit=lambda key, window, n: (window.start_s, n))
    )
    groups = one.gather(key_of, 2).process(Rising)
    late, counts, partial = CollectingSink(), CollectingSink(), CollectingSink()
    windowed.side_output("late").sink(late)
    windowed.sink(counts)
    groups.sink(partial)
    run(env)
    assert late.records == []
    assert sorted(counts.records) == [(0, 4), (30, 1), (40, 1)]
    assert len(partial.records) == 3


class Rising(ProcessFunction[Any, Any]):
    """Passes everything on; fails if the watermark regresses."""

    def open(self, context: Any) -> None:
        self.watermark = -math.inf

    def process(self, record: Any, ctx: Any) -> Iterator[Any]:
        assert ctx.watermark >= self.watermark, "the watermark went back"
        self.watermark = ctx.watermark
        yield record


def test_side_outputs_of_windows_are_in_time_too() -> None:
    """What a window function says aside when its window fires is late for no window behind."""

    def tell(key: str, records: list[Record], ctx: Any) -> None:
        ctx.output("told", (0, key, ctx.window.start_s))

    env = LocalEnvironment(config={"batch_size": 3})
    timed = env.from_collection([(n, "ab"[n % 2], float(n)) for n in range(100)])
    keyed = timed.assign_timestamps(time_of).key_by(key_of)
    told = keyed.window(TumblingWindow(2)).process(tell).side_output("told")
    main, late = counted(told.process(Rising), parallelism=2)
    run(env)
    assert late.records == []
    assert sum(n for *_, n in main.records) == 100


class Noting(Channel):
    """A fake channel that notes what it is told."""

    def __init__(self) -> None:
        super().__init__(Mailbox(), 0, 4, ("a", "b"))
        self.noted: list[Any] = []

    def send(self, batch: Batch, watermark: float | None = None) -> None:
        self.noted.append((batch.values, watermark))

    def mark(self, watermark: float, *, idle: bool) -> None:
        self.noted.append((watermark, idle))


def test_a_batch_takes_the_watermark_along_and_it_is_not_said_twice() -> None:
    """Who gets records gets the watermark behind them; the others are told it alone, once."""
    channels = [Noting(), Noting()]
    edge = OutputEdge(
        Partitioning.REBALANCE,
        channels,
        layout=("time", "watermark"),
        batch_size=8,
        refuse=lambda record, riders, error: None,
    )
    edge.columns.append_row(("x", 1, 1))
    edge.watermark = 1.0
    edge.flush()
    edge.mark()
    edge.mark()
    edge.columns.append_row(("y", 1, 1))
    edge.flush()  # time has not gone on
    edge.mark()
    assert channels[0].noted == [(["x"], 1.0)]
    assert channels[1].noted == [(1.0, False), (["y"], None)]
    edge.idle = True
    edge.columns.append_row(("z", 1, 1))
    edge.flush()
    edge.mark()
    assert channels[0].noted[1:] == [(["z"], None), (1.0, True)]
    for _ in range(2):
        edge.columns.append_row(("awake", 1, 1))
        edge.flush()  # it is idle no more, but its task does not know how far time is yet
        edge.mark()
    assert channels[0].noted[3:] == channels[1].noted[3:] == [(["awake"], None)]
