"""``env.serve``: each caller gets what became of its own record, through every verb."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sage.common.errors import ServiceError
from sage.kernel import DataStream, LocalEnvironment, MapFunction
from sage.kernel.errors import GraphError, JobCancelledError, JobFailedError
from sage.kernel.testing import Gate

ANSWER_S = 30.0


def negatives_aside(n: int, ctx: Any) -> list[int] | None:
    if n < 0:
        ctx.output("negative", n)
        return None
    return [n]


def by_side_output(s: DataStream[int]) -> DataStream[Any]:
    parted = s.process(negatives_aside)
    return parted.union(parted.side_output("negative").map(lambda n: ("negative", n)))


def by_route(s: DataStream[int], **spread: int) -> DataStream[Any]:
    ways = s.route({"small": lambda n: n < 10, "large": lambda n: n < 100})
    small = ways["small"].rebalance().map(lambda n: ("small", n), **spread)
    return small.union(ways["large"].map(lambda n: ("large", n)))


async def plus_one(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


PIPELINES: dict[str, tuple[Callable[[DataStream[int]], DataStream[Any]], int, Any]] = {
    "map": (lambda s: s.map(lambda n: 2 * n), 4, 8),
    "dropped": (lambda s: s.filter(lambda n: n > 9), 4, None),
    "dropped by process": (lambda s: s.process(lambda n, ctx: None), 4, None),
    "flat_map": (lambda s: s.flat_map(lambda n: [n, n]), 4, 4),
    "map_async": (lambda s: s.map_async(plus_one), 4, 5),
    "map_batches": (lambda s: s.map_batches(list, max_size=9, max_wait_ms=0), 4, 4),
    "keyed": (lambda s: s.key_by(lambda n: n % 2).count(parallelism=2), 4, (0, 1)),
    "joined": (
        lambda s: s.key_by(lambda n: n).join(s.map(str).key_by(int), parallelism=2),
        4,
        (4, "4"),
    ),
    "joined with nothing": (
        lambda s: s.key_by(abs).join(
            s.filter(lambda n: n < 0).key_by(abs), how="left", state_ttl_s=0.001
        ),
        4,
        (4, None),
    ),
    "comap": (lambda s: s.connect(s.filter(lambda n: n < 0)).map(str, str), 4, "4"),
    "gathered": (
        lambda s: s.union(s.map(lambda n: n)).gather(lambda n: n, 2).map(lambda g: g.results),
        4,
        (4, 4),
    ),
    "partly gathered": (
        lambda s: (
            s.union(s.filter(lambda n: n < 0))
            .gather(lambda n: n, 2, timeout_s=0.001)
            .map(lambda g: (g.results, g.partial))
        ),
        4,
        ((4,), True),
    ),
    "loop": (lambda s: s.iterate(lambda b: b.map(lambda n: n + 3), until=lambda n: n > 9), 4, 10),
    "loop of routes": (lambda s: s.iterate(_halved_or_raised, until=lambda n: n > 9), 4, 11),
    "side output": (by_side_output, -4, ("negative", -4)),
    "beside a side output": (by_side_output, 4, 4),
    "route": (by_route, 4, ("small", 4)),
    "second route": (by_route, 40, ("large", 40)),
    "no route": (by_route, 400, None),
    "route over an exchange": (lambda s: by_route(s, parallelism=2), 4, ("small", 4)),
}


def _halved_or_raised(s: DataStream[int]) -> DataStream[int]:
    ways = s.route({"even": lambda n: n % 2 == 0, "odd": lambda n: True})
    return ways["even"].map(lambda n: n // 2).union(ways["odd"].map(lambda n: n + 10))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_verb_answers_its_caller(pipeline: str) -> None:
    """What came of a record goes back to who sent it, and a record that is dropped is None."""
    build, record, answer = PIPELINES[pipeline]
    stream = build(LocalEnvironment().from_collection([]))
    with stream.env.serve(stream) as service:
        assert service.call(record, ANSWER_S) == answer


def test_many_callers_get_their_own_answers() -> None:
    """Fifty threads and a hundred coroutines call at once, and none gets another's answer."""
    doubled = LocalEnvironment().from_collection([]).map_async(plus_one).map(lambda n: 2 * n)

    async def many(numbers: range) -> list[int]:
        return await asyncio.gather(*(service.acall(n, ANSWER_S) for n in numbers))

    with doubled.env.serve(doubled) as service, ThreadPoolExecutor(50) as callers:
        awaited = callers.submit(asyncio.run, many(range(1000, 1100)))
        answers = list(callers.map(service.call, range(500)))
        assert answers == [2 * (n + 1) for n in range(500)]
        assert awaited.result(ANSWER_S) == [2 * (n + 1) for n in range(1000, 1100)]


def test_all_outputs_of_a_record() -> None:
    """``call_all`` waits until nothing more can come of the record, and keeps the order."""
    words = LocalEnvironment().from_collection([]).flat_map(str.split)
    with words.env.serve(words) as service:
        assert service.call_all("a b c", ANSWER_S) == ["a", "b", "c"]
        assert service.call_all("", ANSWER_S) == []


def test_an_outer_join_lets_go_of_what_found_its_partner() -> None:
    """A caller's request ends with its pair, although the join keeps the record for others."""
    numbers = LocalEnvironment().from_collection([])
    pairs = numbers.key_by(abs).join(numbers.map(str).key_by(int), how="full")
    with pairs.env.serve(pairs) as service:
        assert service.call_all(4, ANSWER_S) == [(4, "4")]


def _no_key_for_zero(n: int) -> int | None:
    return n or None


@pytest.mark.parametrize(
    "build",
    [
        lambda s: s.map(lambda n: 1 // n),
        lambda s: s.map_batches(lambda batch: [1 // n for n in batch], max_wait_ms=0),
        lambda s: s.key_by(_no_key_for_zero).reduce(max),
        lambda s: s.key_by(_no_key_for_zero).reduce(max, parallelism=2),
    ],
    ids=["map", "map_batches", "key", "key over an exchange"],
)
def test_a_record_that_fails_fails_its_call_alone(build: Any) -> None:
    """The caller gets the error with operator and record, and the others go on."""
    stream = build(LocalEnvironment().from_collection([]))
    with stream.env.serve(stream) as service:
        with pytest.raises(JobFailedError, match="at record"):
            service.call(0, ANSWER_S)
        assert service.call(1, ANSWER_S) == 1
        assert service.job.status == "running"


def test_a_closed_service_says_so() -> None:
    """After ``close`` what was asked is answered, and a new call is refused."""
    stream = LocalEnvironment().from_collection([]).map(abs)
    service = stream.env.serve(stream)
    assert service.call(-1, ANSWER_S) == 1
    service.close()
    service.close()
    assert service.job.status == "finished"
    with pytest.raises(ServiceError, match="closed"):
        service.call(1)


def test_an_answer_that_does_not_come_in_time() -> None:
    """``timeout_s`` ends the wait of ``call`` and of ``acall``, and not the service."""
    held = LocalEnvironment().from_collection([]).map_batches(list, max_size=3)
    with held.env.serve(held) as service:
        with pytest.raises(ServiceError, match="did not answer within"):
            service.call(1, timeout_s=0.001)
        with pytest.raises(ServiceError, match="did not answer within"):
            asyncio.run(service.acall(2, timeout_s=0.001))
        assert service.call(3, ANSWER_S) == 3


@pytest.mark.parametrize("how", ["cancel", "failure"])
def test_no_caller_waits_for_a_job_that_is_over(how: str) -> None:
    """Calls that are under way when the job ends fail, with its error as their cause."""
    gate = Gate()

    class Held(MapFunction[int, int]):
        def open(self, context: Any) -> None:
            gate.wait()
            if how == "failure":
                raise ValueError("no model")

        def map(self, record: int) -> int:
            return record

    stream = LocalEnvironment().from_collection([]).rebalance().map(Held, parallelism=2)
    service = stream.env.serve(stream)
    with ThreadPoolExecutor(20) as callers:
        calls = [callers.submit(service.call, n, ANSWER_S) for n in range(20)]
        gate.wait_for_arrival()
        if how == "cancel":
            service.job.cancel()
        gate.open()
        errors = [call.exception(ANSWER_S) for call in calls]
    assert all("the job of the service" in str(e) or "closed" in str(e) for e in errors), errors
    with pytest.raises(ServiceError, match="closed"):
        service.call(1)
    with pytest.raises((JobCancelledError, JobFailedError)):
        service.close()


def test_what_cannot_be_served_is_refused_when_built() -> None:
    """Two sources, or no stream that is clearly the answer, are told at once."""
    env = LocalEnvironment()
    one, two = env.from_collection([1]), env.from_collection([2])
    with pytest.raises(GraphError, match="which stream answers"):
        env.serve()
    with pytest.raises(GraphError, match="one source"):
        env.serve(one.union(two))
