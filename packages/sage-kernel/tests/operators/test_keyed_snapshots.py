"""What functions on keyed streams remember, and their timers, come back from a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage.common.core.functions import MapFunction, ProcessFunction, SinkFunction
from sage.common.core.state import ListState, MapState, StateTtl, ValueState
from sage.kernel.checkpoint.operator_state import OperatorState, RestoredState, Section
from sage.kernel.operators.function_spec import MAP, SINK, FunctionSpec
from sage.kernel.operators.keyed_process import KeyedProcessOperator
from sage.kernel.operators.map import MapOperator
from sage.kernel.operators.operator import Operator
from sage.kernel.operators.side_output import PROCESS
from sage.kernel.operators.sink import SinkOperator
from sage.kernel.state.backend import StateBackend
from sage.kernel.state.codec import StateCodec
from sage.kernel.state.heap_backend import HeapBackend
from sage.kernel.state.key_group import key_group, subtask_of_group
from sage.kernel.state.keyed_state import KeyedState
from sage.kernel.state.sqlite_backend import SqliteBackend
from sage.kernel.testing import ManualClock
from sage.kernel.testing.operator_harness import Arrival, OperatorHarness

Order = tuple[str, int]
Record = tuple[str, int, tuple[Order, ...]]  # key, time, what to do


class FakeContext:
    """As much of a runtime context as the functions here ask for."""

    def __init__(self, keyed: KeyedState) -> None:
        self.state = keyed.handle


class Obedient(ProcessFunction[Record, Any]):
    """Does what its records say: sets and deletes timers of both kinds, remembers, tells."""

    def open(self, context: Any) -> None:
        self.count = context.state(ValueState("count", default=0))
        self.recent = context.state(ListState("recent", ttl=StateTtl(4.0)))
        self.last = context.state(ValueState("last", ttl=StateTtl(5.0)))
        self.seen = context.state(MapState("seen"))

    def process(self, record: Record, ctx: Any) -> Iterator[Any]:
        _, time, orders = record
        for order, by in orders:
            if order == "set":
                ctx.timers.set_event_timer(time + by)
            elif order == "set by the clock":
                ctx.timers.set_processing_timer(ctx.timers.now_s + by)
            elif order == "delete":
                ctx.timers.delete_event_timer(time + by)
            else:
                self.remember(by)
        yield self.told(ctx)

    def on_timer(self, timestamp_s: float, ctx: Any) -> Iterator[Any]:
        yield timestamp_s, ctx.time_domain, self.told(ctx)
        self.remember(int(timestamp_s))

    def remember(self, by: int) -> None:
        self.count.set(self.count.get() + 1)
        self.recent.add(by)
        self.last.set([by])
        self.seen.put(by, [*self.seen.get(by, []), by])

    def told(self, ctx: Any) -> Any:
        last, seen = self.last.get(), sorted(self.seen.items())
        return ctx.current_key, self.count.get(), self.recent.get(), str(last), str(seen)


class ObedientBeforeMany(Obedient):
    """Changes nothing by the clock: what is touched then is as old as the subtask's last record."""

    def on_timer(self, timestamp_s: float, ctx: Any) -> Iterator[Any]:
        yield timestamp_s, ctx.time_domain, self.told(ctx)
        if ctx.time_domain == "event":
            self.remember(int(timestamp_s))


class Counted(MapFunction[Record, Any]):
    """Says how often a key has come."""

    def open(self, context: Any) -> None:
        self.count = context.state(ValueState("count", default=0))

    def map(self, record: Record) -> Any:
        return record[0], self.count.update(lambda n: n + 1)


class Told(SinkFunction[Record]):
    """Writes the times at which a key has come so far."""

    def open(self, context: Any) -> None:
        self.times = context.state(ListState("times"))
        self.written: list[Any] = []

    def write(self, record: Record) -> None:
        self.times.add(record[1])
        self.written.append((record[0], self.times.get()))


OPERATORS: dict[str, Callable[[], Operator]] = {
    "process": lambda: KeyedProcessOperator(FunctionSpec(PROCESS, Obedient)),
    "map": lambda: MapOperator(FunctionSpec(MAP, Counted)),
    "sink": lambda: SinkOperator(FunctionSpec(SINK, Told)),
}


class Keyed(OperatorHarness):
    """An operator whose function remembers for each key, with a clock that stands."""

    def __init__(self, operator: Operator, backend: StateBackend) -> None:
        super().__init__(operator)
        self.clock = self.live.clock = ManualClock()
        keyed = self.live.keyed = KeyedState(backend, clock=self.clock)
        self.owner: Any = self.live.functions[0].owner
        self.owner.open(FakeContext(keyed))

    @property
    def told(self) -> list[Any]:
        is_sink = isinstance(self.owner, Told)
        return list(self.owner.written) if is_sink else [row[:2] for row in self.rows]

    def feed(self, records: Sequence[Record], from_s: int) -> None:
        """Let each record come one second after the other, with timers in between."""
        for n, record in enumerate(records):
            key, time, _ = record
            self.clock.advance(from_s + n - self.clock())
            if self.live.due_s is not None and self.live.due_s <= self.clock():
                list(self.live.on_due())
            self.process(Arrival(record, key, time, watermark=time))
            self.advance(time)

    def taken(self) -> OperatorState:
        state = OperatorState(StateCodec())
        self.live.snapshot(state)
        return state

    def restore(self, parts: list[list[Section]], subtask: int = 0, parallelism: int = 1) -> None:
        self.live.restore(RestoredState(StateCodec(), subtask, parallelism, len(parts), parts))


ORDERS = st.sampled_from(["set", "set by the clock", "delete", "remember"])
RECORDS = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.integers(0, 3),
        st.lists(st.tuples(ORDERS, st.integers(0, 6)), max_size=3).map(tuple),
    ),
    max_size=25,
).map(lambda records: _one_after_the_other(records))


def _one_after_the_other(records: Iterable[Record]) -> list[Record]:
    now, ordered = 0, list[Record]()
    for key, by, orders in records:
        now += by
        ordered.append((key, now, orders))
    return ordered


@pytest.mark.parametrize("disk", [False, True])
@pytest.mark.parametrize("name", OPERATORS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records=RECORDS, data=st.data())
def test_a_function_goes_on_as_if_it_had_not_stopped(
    name: str, disk: bool, records: list[Record], data: st.DataObject
) -> None:
    """State, timers of both kinds and times to live are there again, wherever it was stopped.

    The snapshot is of its moment, also when the old function goes on before it is read.
    """
    cut = data.draw(st.integers(0, len(records)))
    backends: list[StateBackend] = [SqliteBackend() if disk else HeapBackend() for _ in range(3)]
    try:
        whole, old, new = (Keyed(OPERATORS[name](), backend) for backend in backends)
        whole.feed(records, 0)
        old.feed(records[:cut], 0)
        before, due = list(old.told), (getattr(old.live, "due", None), old.live.due_s)
        state = old.taken()
        old.feed(records[cut:], cut)
        new.restore([list(state.sections())])
        assert (getattr(new.live, "due", None), new.live.due_s) == due
        new.feed(records[cut:], cut)
        whole.live.advance(math.inf)
        new.live.advance(math.inf)
        assert before + new.told == whole.told
    finally:
        for backend in backends:
            backend.close()


@pytest.mark.parametrize("name", OPERATORS)
def test_a_function_goes_on_with_another_parallelism(name: str) -> None:
    """From one subtask to three and then to two, every key takes its state and timers along."""
    records = _one_after_the_other(
        (f"k{n % 23}", n % 2, (("set", 7), ("set by the clock", 9), ("remember", n % 5)))
        for n in range(120)
    )
    make = OPERATORS[name]
    if name == "process":
        make = partial(KeyedProcessOperator, FunctionSpec(PROCESS, ObedientBeforeMany))
    whole = Keyed(make(), HeapBackend())
    whole.feed(records, 0)
    whole.live.advance(math.inf)
    told, subtasks = list[Any](), [Keyed(make(), HeapBackend())]
    for parallelism, start, end in ((1, 0, 40), (3, 40, 80), (2, 80, 120)):
        if start:
            parts = [list(subtask.taken().sections()) for subtask in subtasks]
            subtasks = [Keyed(make(), HeapBackend()) for _ in range(parallelism)]
            for n, subtask in enumerate(subtasks):
                subtask.restore(parts, n, parallelism)
        _feed_all(subtasks, records[start:end], start)
        if end == len(records):
            for subtask in subtasks:
                subtask.live.advance(math.inf)
        told += [result for subtask in subtasks for result in subtask.told]
    assert sorted(told, key=repr) == sorted(whole.told, key=repr)


def _feed_all(subtasks: Sequence[Keyed], records: Sequence[Record], from_s: int) -> None:
    """Give each record to whom its key belongs, and let time go on for all."""
    for n, record in enumerate(records):
        owner = subtask_of_group(key_group(record[0]), len(subtasks))
        for number, subtask in enumerate(subtasks):
            if number == owner:
                subtask.feed([record], from_s + n)
                continue
            subtask.clock.advance(from_s + n - subtask.clock())
            if subtask.live.due_s is not None and subtask.live.due_s <= subtask.clock():
                list(subtask.live.on_due())
            subtask.advance(record[1])
