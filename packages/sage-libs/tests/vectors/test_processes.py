"""Two real processes on one store: the second writer is refused by name, and nothing is damaged."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sage.common.errors import StorageError
from sage.libs.vectors import ChromaStore, VectorStore, open_store

KINDS = ["numpy", "faiss", "sharded", "chroma"]

# Opens a store, does what each line of its input says, and answers each with a line.
OTHER = """
import sys
from pathlib import Path
import numpy as np
from sage.common.errors import StorageError
from sage.libs.vectors import open_store
kind, path = sys.argv[1:]
store = open_store(kind, Path(path), dim=4)
print("open", flush=True)
for line in sys.stdin:
    what, name = line.split()
    try:
        if what == "put":
            store.upsert([name], np.eye(1, 4))
            store.flush()
        print(store.close() if what == "close" else store.count(), flush=True)
    except StorageError as error:
        print(error.message, flush=True)
"""


class Other:
    """A process that has the store open."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def answer(self, line: str = "") -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if line:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@contextlib.contextmanager
def other_process(kind: str, path: Path) -> Iterator[Other]:
    """Start a process that opens the store, and wait until it has."""
    command = [sys.executable, "-c", OTHER, kind, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        other = Other(process)
        assert other.answer() == "open"
        yield other
        process.kill()


def put(store: VectorStore, name: str) -> None:
    """Put a row in and save it."""
    store.upsert([name], np.eye(1, 4))
    store.flush()


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_writer_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    """While a process writes, another one cannot; after it was killed, it can, and all is there."""
    with other_process(kind, tmp_path) as other:
        assert other.answer("put theirs") == "1"
        with pytest.raises(StorageError, match=f"in use by process {other.pid}") as caught:
            put(open_store(kind, tmp_path, dim=4), "ours")
        assert caught.value.fields["pid"] == other.pid
        assert other.answer("put more") == "2"
    store = open_store(kind, tmp_path, dim=4)
    put(store, "ours")
    (hits,) = store.search(np.eye(1, 4), 5)
    assert {hit.id for hit in hits} == {"theirs", "more", "ours"}
    store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_readers_share_a_store(tmp_path: Path, kind: str) -> None:
    """Processes that only read open one store together."""
    store = open_store(kind, tmp_path, dim=4)
    put(store, "a")
    store.close()
    with other_process(kind, tmp_path) as other:
        assert open_store(kind, tmp_path, dim=4).count() == 1
        assert other.answer("count it") == "1"


@pytest.mark.parametrize("kind", ["numpy", "faiss", "sharded"])
def test_a_change_meanwhile_is_not_overwritten(tmp_path: Path, kind: str) -> None:
    """Who opened a store before somebody else changed it cannot save over that change."""
    store = open_store(kind, tmp_path, dim=4)
    with other_process(kind, tmp_path) as other:
        assert other.answer("put theirs") == "1"
        assert other.answer("close it") == "None"
        with pytest.raises(StorageError, match="was changed by somebody else since"):
            put(store, "theirs")
    assert open_store(kind, tmp_path, dim=4).count() >= 1


def test_chroma_readers_keep_a_writer_out(tmp_path: Path) -> None:
    """A process that reads a Chroma database keeps others from writing it, and is named."""
    store = ChromaStore(dim=4, path=tmp_path)
    with (
        other_process("chroma", tmp_path) as other,
        pytest.raises(StorageError, match=f"in use by process {other.pid}"),
    ):
        put(store, "ours")
    put(store, "ours")
    assert store.count() == 1
    store.close()


@pytest.mark.parametrize("kind", ["numpy", "faiss"])
def test_two_writers_in_one_process(tmp_path: Path, kind: str) -> None:
    """A second store of the same process is refused too, until the first lets go."""
    first, second = (open_store(kind, tmp_path, dim=4) for _ in range(2))
    put(first, "a")
    with pytest.raises(StorageError, match="in use by this process"):
        put(second, "b")
    first.close()
    with pytest.raises(StorageError, match="was changed by somebody else"):
        put(second, "b")
    third = open_store(kind, tmp_path, dim=4)
    put(third, "b")
    assert third.count() == 2
    third.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_does_not_write_its_parents_store(tmp_path: Path) -> None:
    """A forked child has the parent's rows in memory, but cannot save over them."""
    script = """
import os, sys
import numpy as np
from sage.libs.vectors import NumpyStore
store = NumpyStore(dim=4, path=sys.argv[1])
store.upsert(["a"], np.eye(1, 4))
if os.fork() == 0:
    try:
        store.upsert(["child"], np.eye(1, 4))
    except Exception as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
store.close()
print(os.getpid(), flush=True)
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    *said, pid = run.stdout.split("\n")[:-1]
    assert f"in use by process {pid}" in said[0]
    assert open_store("numpy", tmp_path, dim=4).count() == 1


def test_a_server_that_is_not_there(chroma_server: int) -> None:
    """A Chroma server that does not answer is an error that says how to start one."""
    with pytest.raises(StorageError, match=r"cannot open .*:1'(.|\n)*chroma run"):
        ChromaStore(dim=4, host="127.0.0.1", port=1)
    store = ChromaStore(dim=4, host="127.0.0.1", port=chroma_server, collection="both")
    put(store, "a")
    again = ChromaStore(dim=4, host="127.0.0.1", port=chroma_server, collection="both")
    put(again, "b")  # a server takes several writers
    assert store.count() == 2
