"""Tokenizing in other processes: the same tokens in the same order, and no process left behind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sage.common.errors import ServiceError
from sage.libs.embedding import DEFAULT_MODEL, load_tokenizer
from sage.libs.embedding.gpu_token_workers import TokenWorkers
from sage.libs.embedding.gpu_tokens import CachedTokenizer, joined
from sage.libs.embedding.weights import resolve

WINDOWS = [joined([f"text {n} of many", "" if n % 3 else "水 " * 40]) for n in range(30)]


@pytest.fixture(scope="module")
def workers() -> Iterator[TokenWorkers]:
    pool = TokenWorkers(resolve(DEFAULT_MODEL), 16, processes=2)
    yield pool
    pool.close()


def agree(workers: TokenWorkers) -> None:
    tokenizer = CachedTokenizer(load_tokenizer(), 16)
    found = list(workers.encode(WINDOWS))
    assert len(found) == len(WINDOWS)
    for window, tokens in zip(WINDOWS, found, strict=True):
        expected = tokenizer.encode(window)
        np.testing.assert_array_equal(tokens.flat, expected.flat)
        np.testing.assert_array_equal(tokens.lengths, expected.lengths)


def test_gives_the_same_tokens_in_order(workers: TokenWorkers) -> None:
    """More windows than processes come back in order, as this process would tokenize them."""
    agree(workers)


def test_serves_threads_at_once(workers: TokenWorkers) -> None:
    """Several threads get the tokens of their own windows."""
    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(agree, workers) for _ in range(3)]:
            done.result()


def test_replaces_a_dead_process(workers: TokenWorkers) -> None:
    """A killed process fails the call that needed it, and only that one."""
    workers._workers[0].kill()
    with pytest.raises(ServiceError, match="status -9"):
        list(workers.encode(WINDOWS))
    agree(workers)


def test_leaves_no_process_behind() -> None:
    """After closing, also in the middle of the work and twice, all have ended."""
    pool = TokenWorkers(resolve(DEFAULT_MODEL), 16, processes=2)
    next(pool.encode(WINDOWS))
    pool.close()
    pool.close()
    assert all(worker.poll() is not None for worker in pool._workers)
