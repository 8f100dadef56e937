"""How many records a batch on an edge may hold."""

from __future__ import annotations

from sage.kernel import LocalEnvironment
from sage.kernel.optimizer.ruleset import optimize


async def identity(record: int) -> int:
    return record


def test_an_edge_into_async_calls_holds_no_more_than_the_calls_in_flight() -> None:
    """Records queued before slow calls are bounded by the concurrency, not by the batch size."""
    env = LocalEnvironment()
    calls = env.from_collection([1]).map_async(identity, concurrency=7)
    graph = optimize(env.graph()).stream_graph
    assert graph[calls.uid].inputs[0].batch_size == 7


def test_other_edges_take_the_environments_size() -> None:
    """Only async operators ask for a batch size of their own."""
    env = LocalEnvironment()
    mapped = env.from_collection([1]).map(abs, parallelism=2)
    graph = optimize(env.graph()).stream_graph
    assert graph[mapped.uid].inputs[0].batch_size is None
