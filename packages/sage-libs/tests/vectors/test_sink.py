"""Vectors of a stream: the same store however often records come and the process is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ConfigError, DataError
from sage.kernel import LocalEnvironment
from sage.kernel.errors import JobFailedError
from sage.libs.vectors import VectorSink, open_store

DIM = 8
ROWS = 250
KINDS = ["chroma", "faiss"]
# Every id comes several times, each time with another vector, text and metadata.
HEAD = """
import os, signal, sys
import numpy as np

def row(n):
    vector = np.random.default_rng(n).normal(size=8)
    return {"id": str(n * 7 % 50), "vector": vector, "text": f"t{n}", "metadata": {"n": n}}
"""
namespace: dict[str, Any] = {}
exec(HEAD, namespace)
row = namespace["row"]

SUFFIX = (
    HEAD
    + """
from sage.libs.vectors import VectorSink
path, store, start, end = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
sink = VectorSink(path, dim=8, store=store, batch_rows=40)
for n in range(start, end):
    sink.write(row(n))
    if n % 50 == 49:
        sink.flush()
        print(n + 1, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
)
JOB = (
    HEAD
    + """
from sage.kernel import LocalEnvironment
from sage.kernel.checkpoint import steps
from sage.libs.vectors import VectorSink
path, store, top, left = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])

def reached(step):
    global left
    if step == "manifest.after":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

steps.watch(reached)
tolerance = {"checkpoint_dir": top, "checkpoint_interval": 0.01, "lease_s": 1}
env = LocalEnvironment("vectors", config={"fault_tolerance": tolerance, "batch_size": 10})
rows = env.from_collection(list(range(250))).rebalance().map(row)
rows.sink(VectorSink, path, dim=8, store=store, batch_rows=40)
env.execute()
"""
)


def run(script: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended


def contents(kind: str, path: Path) -> dict[str, tuple[str, Any, float]]:
    """Return all rows by id: text, metadata, and the cosine with one vector."""
    store = open_store(kind, path, dim=DIM)
    (hits,) = store.search(np.ones(DIM), top_k=max(1, store.count()))
    assert len(hits) == store.count()
    store.close()
    return {hit.id: (hit.text, dict(hit.metadata), round(hit.score, 4)) for hit in hits}


def expected(rows: int) -> dict[str, tuple[str, Any, float]]:
    store = open_store("numpy", None, dim=DIM)
    for n in range(rows):
        one = row(n)
        store.upsert([one["id"]], [one["vector"]], [one["metadata"]], [one["text"]])
    (hits,) = store.search(np.ones(DIM), top_k=max(1, store.count()))
    return {hit.id: (hit.text, dict(hit.metadata), round(hit.score, 4)) for hit in hits}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_any_suffix_can_be_written_again(tmp_path: Path, kind: str) -> None:
    """Killed anywhere and gone on from any flush before, the store is as if nobody had killed."""
    killed = run(SUFFIX, tmp_path / "s", kind, 0, 130)
    flushed = [int(n) for n in killed.stdout.split()]
    assert flushed == [50, 100]
    run(SUFFIX, tmp_path / "s", kind, 100, 180)
    for start in (150, 0):
        run(SUFFIX, tmp_path / "s", kind, start, ROWS)
        assert contents(kind, tmp_path / "s") == expected(ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_is_killed_again_and_again_fills_the_same_store(
    tmp_path: Path, kind: str
) -> None:
    """With checkpoints the store ends as that of a job that nobody killed."""
    kills = [run(JOB, tmp_path / "s", kind, tmp_path / "c", left) for left in (2, 1, 9999)]
    assert [ended.returncode for ended in kills] == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert contents(kind, tmp_path / "s") == expected(ROWS)


@given(
    st.lists(st.integers(0, 9), max_size=30),
    st.lists(st.integers(0, 30), max_size=4),
    st.integers(1, 5),
)
def test_flushed_rows_outlive_their_sink(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int], cuts: list[int], batch: int
) -> None:
    """Lost behind any flush and replayed from there, the last row of each id is there."""
    path = tmp_path_factory.mktemp("store")
    records = [{"id": str(i), "vector": [1, n + 1], "text": str(n)} for n, i in enumerate(ids)]
    begin = 0
    for cut in sorted(cuts):
        sink = VectorSink(path, dim=2, store="numpy", batch_rows=batch)
        for record in records[begin:cut]:
            sink.write(record)
        sink.flush()
        begin = max(begin, min(cut, len(records)))
        for record in records[begin : begin + 5]:  # never flushed, and lost
            sink.write(record)
    sink = VectorSink(path, dim=2, store="numpy", batch_rows=batch)
    for record in records[begin:]:
        sink.write(record)
    sink.close()
    texts = {i: text for i, (text, _, _) in contents_of(path).items()}
    assert texts == {record["id"]: record["text"] for record in records}


def contents_of(path: Path) -> dict[str, tuple[str, Any, float]]:
    store = open_store("numpy", path, dim=2)
    (hits,) = store.search([1, 1], top_k=99)
    return {hit.id: (str(hit.text), dict(hit.metadata), hit.score) for hit in hits}


def test_a_pipeline_fills_a_store(tmp_path: Path) -> None:
    """Without checkpoints too, everything is in the store at the end."""
    env = LocalEnvironment()
    env.from_collection(range(50)).map(row).sink(VectorSink, tmp_path, dim=DIM, store="faiss")
    env.execute()
    assert contents("faiss", tmp_path) == expected(50)
    assert VectorSink.idempotent is True


def test_a_store_has_one_writer(tmp_path: Path) -> None:
    """Several subtasks are refused, with what to do."""
    env = LocalEnvironment()
    rows = env.from_collection(range(5)).map(row)
    rows.sink(VectorSink, tmp_path, dim=DIM, store="numpy", parallelism=2)
    with pytest.raises(
        JobFailedError, match=r"one store cannot be written by 2 subtasks"
    ) as caught:
        env.execute()
    assert isinstance(caught.value.__cause__, ConfigError)


@pytest.mark.parametrize(
    ("record", "match"),
    [
        (3, "got int: 3"),
        ({"id": "a"}, "a mapping with 'id' and 'vector'"),
        ({"id": "a", "vector": [1, 2], "page": 3}, "may have 'metadata' and 'text'"),
        ({"id": 1, "vector": [1, 2]}, "the id of a row is text, got 1"),
        ({"id": "a", "vector": [1, 2, 3]}, "dimension 2"),
    ],
)
def test_what_is_no_row_is_refused(tmp_path: Path, record: Any, match: str) -> None:
    """The error says what a row is, and shows what came."""
    sink = VectorSink(tmp_path, dim=2, store="numpy", batch_rows=1)
    with pytest.raises(DataError, match=match):
        sink.write(record)
    sink.close()
