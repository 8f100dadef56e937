"""A child made by ``fork`` uses what its parent has opened, and waits for no thread of its."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from sage.libs.cache import QueryCache
from sage.libs.embedding import BatchEmbedder, MockTextEmbedder
from sage.libs.process_threads import ProcessThreads
from sage.libs.vectors import ShardedStore

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

WAIT_S = 20


def in_a_child(work: Callable[[], Any]) -> int:
    """Return how a child that does some work ends: 0 if it did it and did not hang."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(WAIT_S)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def test_threads_are_those_of_the_process() -> None:
    """They are started anew in the child, and the parent's go on."""
    threads = ProcessThreads(2, "two")
    assert threads.submit(int, "1").result() == 1
    assert in_a_child(lambda: threads.submit(int, "2").result()) == 0
    assert threads.submit(int, "3").result() == 3
    threads.shutdown()


def test_a_sharded_store_is_searched() -> None:
    """Servers load an index first and fork their workers then."""
    store = ShardedStore(dim=2, shards=2, store="numpy")
    store.upsert(["a", "b", "c"], [[1, 0], [0, 1], [1, 1]])
    assert store.search([1, 0], top_k=1)[0][0].id == "a"
    assert in_a_child(lambda: store.search([1, 0], top_k=1)) == 0
    store.close()


def test_a_batch_embedder_embeds() -> None:
    """Also if the parent was embedding; what it waits for is not waited for here."""
    embedder = BatchEmbedder(MockTextEmbedder())

    async def embed() -> int:
        under_way = asyncio.ensure_future(embedder.embed_batch(["a", "b"]))
        await asyncio.sleep(0)
        status = in_a_child(lambda: asyncio.run(embedder.embed_batch(["a", "c"])))
        await under_way
        return status

    assert asyncio.run(embed()) == 0


def test_an_answer_that_the_parent_works_out_is_worked_out_here() -> None:
    """Nobody else will in this process."""
    cache = QueryCache()
    entered, released = threading.Event(), threading.Event()

    def slow() -> str:
        entered.set()
        assert released.wait(WAIT_S)
        return "parent"

    thread = threading.Thread(target=cache.get, args=("why?", slow))
    thread.start()
    assert entered.wait(WAIT_S)
    assert in_a_child(lambda: cache.get("why?", lambda: "child")) == 0
    released.set()
    thread.join()
    assert cache.get("why?", lambda: "again") == "parent"
