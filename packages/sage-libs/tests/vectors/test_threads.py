"""Threads that search one store while another one writes it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sage.libs.vectors import FaissStore, NumpyStore, VectorStore
from sage.libs.vectors.faiss_index import FaissIndex
from sage.libs.vectors.shared_lock import SharedLock


class SmallSteps(FaissIndex):
    """Changes its kind at a few rows already."""

    flat_below, ivf_below, tail_rows = 50, 150, 16


class SmallFaissStore(FaissStore):
    """A FAISS store that goes through all kinds of index in a test."""

    def _new_index(self) -> FaissIndex:
        return SmallSteps(self.dim)


@pytest.mark.parametrize("kind", [SmallFaissStore, NumpyStore])
def test_searching_while_writing(kind: type) -> None:
    """A row that is in is found in every search, by any thread, while rows come, change and go."""
    store: VectorStore = kind(dim=8)
    rng = np.random.default_rng(0)
    steady, moving = rng.normal(size=(20, 8)), rng.normal(size=(600, 8))
    names = [f"steady-{n}" for n in range(20)]
    store.upsert(names, steady, [{"n": n} for n in range(20)])
    written = threading.Event()

    def search(seed: int) -> int:
        rounds = 0
        while not written.is_set() or rounds < 20:
            n = (seed + rounds) % 20
            for where in (None, {"n": n}):
                (hits,) = store.search(steady[n], 3, where)
                assert hits[0].id == names[n]
                assert hits[0].metadata == {"n": n}
            rounds += 1
        return rounds

    def write() -> None:
        for start in range(0, 600, 10):
            store.upsert([f"m{n}" for n in range(start, start + 10)], moving[start : start + 10])
            store.upsert(names, steady * 2 if start % 20 else steady, [{"n": n} for n in range(20)])
            store.upsert(["restless"], moving[start : start + 1])
            store.delete([f"m{n}" for n in range(start - 20, start - 15)])

    with ThreadPoolExecutor(4) as threads:
        searches = [threads.submit(search, seed) for seed in range(1, 4)]
        try:
            write()
        finally:
            written.set()
        assert all(s.result() >= 20 for s in searches)


def test_a_writer_is_alone_and_is_let_in() -> None:
    """Readers share the lock; a writer gets in although readers keep coming, and gets in alone."""
    lock = SharedLock()
    inside: set[str] = set()
    seen: list[set[str]] = []
    stop = threading.Event()
    both = threading.Barrier(2)

    def read(name: str) -> None:
        with lock.shared():
            both.wait()  # both are inside at once
        while not stop.is_set():
            with lock.shared():
                inside.add(name)
                assert "writer" not in inside
                inside.discard(name)

    readers = [threading.Thread(target=read, args=(name,)) for name in ("a", "b")]
    for reader in readers:
        reader.start()
    for _ in range(50):
        with lock.alone():
            seen.append(set(inside))
            inside.add("writer")
            inside.discard("writer")
    stop.set()
    for reader in readers:
        reader.join()
    assert seen == [set()] * 50


@pytest.mark.parametrize("kind", [SmallFaissStore, NumpyStore])
def test_threads_that_save_at_once_leave_a_whole_store(kind: type, tmp_path: Path) -> None:
    """Each saves what is there; none removes the files of another."""
    store: VectorStore = kind(dim=8, path=tmp_path / "s")
    vectors = np.random.default_rng(0).normal(size=(4, 40, 8))
    together = threading.Barrier(4)

    def put(thread: int) -> None:
        for n in range(0, 40, 4):
            ids = [f"{thread}-{n + part}" for part in range(4)]
            together.wait(30)
            store.upsert(ids, vectors[thread, n : n + 4])
            store.flush()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(put, range(4)))
    store.close()
    again: VectorStore = kind(dim=8, path=tmp_path / "s")
    assert again.count() == 160
    found = [hits[0].id for hits in again.search(vectors[2], top_k=1)]
    assert found == [f"2-{n}" for n in range(40)]
