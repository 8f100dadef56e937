"""Compiled chains: one loop for a chain, shared by shape, that says where it failed."""

from __future__ import annotations

import traceback

import pytest

from sage.kernel import LocalEnvironment
from sage.kernel.errors import JobFailedError
from sage.kernel.runtime.chain_compiler import _factory


def test_chains_of_one_shape_are_compiled_once() -> None:
    """Another job, or another function, in the same order of verbs costs no compilation."""

    def run(by: int) -> list[int]:
        numbers = LocalEnvironment(config={"inline": False}).from_collection([1, 2, 3])
        return numbers.map(lambda n: n * by).filter(lambda n: n > by).collect()

    assert run(2) == [4, 6]
    before = _factory.cache_info()
    assert run(3) == [6, 9]
    assert run(4) == [8, 12]
    after = _factory.cache_info()
    assert after.misses == before.misses
    assert after.hits > before.hits


def test_a_traceback_shows_the_users_line_first_to_blame() -> None:
    """The user's frame ends the traceback of a failure, in the real file."""

    def fails(n: int) -> float:
        return 1 / n

    with pytest.raises(JobFailedError) as caught:
        LocalEnvironment(config={"inline": False}).from_collection([0]).map(fails).collect()
    cause = caught.value.__cause__
    assert cause is not None
    last = traceback.extract_tb(cause.__traceback__)[-1]
    assert (last.filename, last.line) == (__file__, "return 1 / n")


def test_a_pipeline_inside_a_function_fails_in_its_own_name() -> None:
    """A function that runs a pipeline of the same shape is blamed for its own record."""

    def inner(n: int) -> list[float]:
        return LocalEnvironment().from_collection([n]).map(lambda m: 1 / m, name="inner").collect()

    outer = LocalEnvironment().from_collection([1, 0]).map(inner, name="outer")
    with pytest.raises(JobFailedError, match="'outer' failed at record 0") as caught:
        outer.collect()
    assert "'inner' failed at record 0" in str(caught.value)


@pytest.mark.parametrize("length", [1, 10, 60])
def test_long_chains_are_one_loop(length: int) -> None:
    """A chain of any length gives what its functions give in turn."""
    stream = LocalEnvironment().from_collection(range(5))
    for _ in range(length):
        stream = stream.map(lambda n: n + 1)
    assert stream.collect() == [n + length for n in range(5)]


@pytest.mark.parametrize("depth", [1, 5, 30])
def test_deep_flat_maps_work(depth: int) -> None:
    """More inner loops than Python nests are no limit."""
    stream = LocalEnvironment().from_collection([1, 2])
    for _ in range(depth):
        stream = stream.flat_map(lambda n: [n])
    assert stream.collect() == [1, 2]
