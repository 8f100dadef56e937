"""``map_batches``: how long records wait for company, and what happens to a batch that fails."""

from __future__ import annotations

import pytest

from sage.kernel import LocalEnvironment, MapFunction, RetryPolicy
from sage.kernel.testing import CollectingSink, Gate, ScriptedSource, check_conservation


def test_a_full_list_is_worked_off_at_once() -> None:
    """Without a wait every list has ``max_size`` records, but for the last one."""
    numbers = LocalEnvironment().from_collection(range(10))
    sizes = numbers.map_batches(lambda batch: [len(batch)] * len(batch), max_size=4).collect()
    assert sizes == [4] * 8 + [2] * 2


def test_batches_are_as_large_as_what_is_there() -> None:
    """With ``max_wait_ms=0`` nothing waits for company, and what is there together stays so."""
    gate, sink = Gate(), CollectingSink()
    env = LocalEnvironment()
    source = env.from_source(ScriptedSource(1, gate, *range(2, 200)))
    source.map_batches(list, max_size=50, max_wait_ms=0, name="batches").sink(sink)
    job = env.submit()
    assert sink.wait_for(1) == [1]  # the source is silent, and the list is far from full
    gate.open()
    metrics = job.wait(30).metrics
    assert sink.records == [*range(1, 200)]
    check_conservation(metrics, env.graph())


@pytest.mark.parametrize("max_wait_ms", [None, 0])
def test_a_batch_that_fails_is_the_policys_affair(max_wait_ms: float | None) -> None:
    """Whether it was full, had waited long enough or was left at the end of the input."""
    calls = []

    def at_the_third_call(batch: list[int]) -> list[int]:
        calls.append(batch)
        if len(calls) < 3:
            raise ValueError("busy")
        return batch

    for policy, left in [(RetryPolicy(max_attempts=3, delay_s=0.0), [7]), ("skip", [])]:
        calls.clear()
        seven = LocalEnvironment().from_collection([7])
        batches = seven.map_batches(
            at_the_third_call, max_size=2, max_wait_ms=max_wait_ms, on_error=policy
        )
        assert batches.collect() == left


def test_a_result_for_every_record() -> None:
    """A list of another length is an error, as nobody could say which record it is about."""
    numbers = LocalEnvironment().from_collection([1, 2])
    with pytest.raises(Exception, match="returned 1 results for 2 records"):
        numbers.map_batches(lambda batch: [0], max_size=2).collect()


def test_a_batch_that_fails_at_the_end_is_not_the_end() -> None:
    """What the function still has to say when its input has ended is said behind it."""

    class Last(MapFunction[list[int], list[int]]):
        def map(self, batch: list[int]) -> list[int]:
            raise ValueError("busy")

        def finish(self) -> list[int]:
            return [99]

    seven = LocalEnvironment().from_collection([7])
    assert seven.map_batches(Last, max_size=2, on_error="skip").collect() == [99]
