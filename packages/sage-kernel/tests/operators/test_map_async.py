"""``map_async``: many calls in flight, refilled one by one, in order where that is promised."""

from __future__ import annotations

import asyncio

import pytest

from sage.kernel import LocalEnvironment
from sage.kernel.errors import GraphError
from sage.kernel.testing import CollectingSink, Gate, ScriptedSource


class Turnstile:
    """Calls wait until the test, or another call, lets them through."""

    def __init__(self) -> None:
        self.in_flight = self.most = 0
        self.ended: list[int] = []
        self.waiting: dict[int, asyncio.Event] = {}

    def __deepcopy__(self, memo: object) -> Turnstile:
        return self

    async def reversed_in_fours(self, n: int) -> int:
        """Calls end in the order 3, 2, 1, 0, 7, 6, 5, 4, ..."""
        event = self.waiting.setdefault(n, asyncio.Event())
        if n % 4 == 3:
            event.set()
        await event.wait()
        self.ended.append(n)
        if n % 4:
            self.waiting.setdefault(n - 1, asyncio.Event()).set()
        return n


def test_ordered_results_keep_the_order_of_their_records() -> None:
    """Calls end in another order than they began, and results leave in the records' order."""
    turnstile = Turnstile()
    numbers = LocalEnvironment().from_collection(range(40))
    assert numbers.map_async(turnstile.reversed_in_fours, concurrency=4).collect() == [*range(40)]
    assert turnstile.ended[:8] == [3, 2, 1, 0, 7, 6, 5, 4]


def test_unordered_results_come_as_their_calls_end() -> None:
    """A result does not wait for the call before it: the sink has it while that call goes on."""
    gate, sink = Gate(), CollectingSink()

    async def first_waits(n: int) -> int:
        while n == 0 and not gate.is_open:
            await asyncio.sleep(0)
        return n

    env = LocalEnvironment()
    env.from_collection(range(10)).map_async(first_waits, concurrency=2, ordered=False).sink(sink)
    job = env.submit()
    assert sorted(sink.wait_for(9)) == list(range(1, 10))
    gate.open()
    job.wait(30)
    assert sink.records[-1] == 0


def test_a_call_that_ends_is_replaced_at_once() -> None:
    """There are no waves: while one call goes on, the others are refilled all the time."""
    gate, done = Gate(), []
    most = in_flight = 0

    async def call(n: int) -> int:
        nonlocal most, in_flight
        in_flight += 1
        most = max(most, in_flight)
        while n == 0 and len(done) < 11:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        in_flight -= 1
        done.append(n)
        return n

    gate.open()
    numbers = LocalEnvironment().from_collection(range(12))
    assert numbers.map_async(call, concurrency=3).collect() == list(range(12))
    assert done[-1] == 0
    assert most == 3


def test_a_result_comes_while_the_source_is_silent() -> None:
    """No result waits for the next record."""
    gate, sink = Gate(), CollectingSink()

    async def same(n: int) -> int:
        return n

    env = LocalEnvironment()
    env.from_source(ScriptedSource(1, gate)).map_async(same).map(str).sink(sink)
    job = env.submit()
    assert sink.wait_for(1) == ["1"]
    gate.open()
    job.wait(30)


def test_falsy_results_are_results() -> None:
    """Only None means no output."""
    results = [0, "", None, False]

    async def give(n: int) -> object:
        return results[n]

    out = LocalEnvironment().from_collection(range(4)).map_async(give).collect()
    assert list(map(repr, out)) == ["0", "''", "False"]


def test_calls_start_no_faster_than_allowed() -> None:
    """``rate_per_s`` spaces the starts of the calls, however many may be in flight."""
    started = []

    async def call(n: int) -> int:
        started.append(asyncio.get_running_loop().time())
        return n

    numbers = LocalEnvironment().from_collection(range(6))
    assert numbers.map_async(call, rate_per_s=200).collect() == [*range(6)]
    # A loop's timers may be early by the resolution of its clock.
    assert started[-1] - started[0] >= 5 / 200 - 0.002


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"timeout_s": 0}, {"rate_per_s": -1}])
def test_wrong_options_are_refused_when_built(wrong: dict[str, float]) -> None:
    """Numbers out of range are errors at the verb."""

    async def same(n: int) -> int:
        return n

    with pytest.raises(GraphError, match=next(iter(wrong))):
        LocalEnvironment().from_collection([1]).map_async(same, **wrong)  # type: ignore[call-overload]
