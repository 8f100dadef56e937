"""Full disks, killed writers, second writers, damage: the old generation answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sage.common.errors import SageError, StorageError
from sage.libs.collection import Collection
from sage.libs.collection.layout import Layout
from sage.libs.collection.testing import MODEL, ask, put

KINDS = ["numpy", "faiss", "chroma"]

WRITER = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from sage.common.errors import StorageError
from sage.common.records import Chunk, Document
from sage.libs.collection import Collection

what, home = sys.argv[1:]
with Collection.update("c", home=home) as writer:
    if what == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    rng = np.random.default_rng(0)
    try:
        writer.remove("a.md")
        for number in range(40):
            words = [f"word{n}" for n in rng.integers(10_000, size=5_000)]
            chunks = [
                Chunk(" ".join(words[n : n + 100]), f"{number}#{n}", start=n)
                for n in range(0, 5_000, 100)
            ]
            writer.add(
                Document("", source=f"{number}.md"), "1", chunks, rng.normal(size=(50, 32))
            )
        if what == "kill":
            print("in the middle", flush=True)
            sys.stdin.read()
        writer.commit()
    except StorageError as error:
        print(error.code, error)
        sys.exit(3)
"""


@pytest.fixture(params=KINDS)
def filled(request: pytest.FixtureRequest, home: Path) -> Path:
    """A home with a collection of one document, for each kind of store."""
    if request.param == "chroma":
        pytest.importorskip("chromadb")
    with Collection.update("c", model=MODEL, store=request.param, home=home) as writer:
        put(writer, "a.md", "cat")
        writer.commit()
    return home


def answers_as_before(home: Path) -> None:
    """Assert that the first generation answers."""
    with Collection.open("c", home) as collection:
        assert ask(collection, "cat") == ["a.md#1"]
        assert [p.source for p in collection.lexical("cat", 3)] == ["a.md"]


def updates_again(home: Path) -> None:
    """Assert that the next update works and leaves nothing of the failed one."""
    with Collection.update("c", home=home) as writer:
        put(writer, "b.md", "dog")
        writer.commit()
    with Collection.open("c", home) as collection:
        assert set(ask(collection, "dog")) == {"a.md#1", "b.md#1"}
    names = {p.name for p in (home / "collections" / "c").iterdir()}
    assert names == {"CURRENT", "LOCK", "gen-0001", "gen-0002"}


def test_full_disk(filled: Path) -> None:
    """A disk that fills up during an update is one clear error, and nothing is lost."""
    run = subprocess.run(
        [sys.executable, "-c", WRITER, "full", str(filled)], capture_output=True, text=True
    )
    assert run.returncode == 3, run.stderr
    assert "storage-error cannot update the collection 'c'" in run.stdout
    assert "answers as it did before" in run.stdout
    assert not list((filled / "collections" / "c").glob(".staging-*"))
    answers_as_before(filled)
    updates_again(filled)


def test_killed_writer(filled: Path) -> None:
    """A writer killed with changes half written leaves no lock; the next one cleans up."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, "kill", str(filled)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    with child, child.stdout, child.stdin:
        assert child.stdout.readline() == "in the middle\n"
        answers_as_before(filled)
        with (
            pytest.raises(StorageError, match=f"being updated by process {child.pid}"),
            Collection.update("c", home=filled),
        ):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert list((filled / "collections" / "c").glob(".staging-*"))
    answers_as_before(filled)
    updates_again(filled)


def test_two_writers_in_one_process(home: Path) -> None:
    """A second update of a collection is refused by the pid of the first, another one is not."""
    with Collection.update("c", model=MODEL, store="numpy", home=home):
        with (
            pytest.raises(StorageError, match=f"updated by process {os.getpid()}") as caught,
            Collection.update("c", home=home),
        ):
            pass
        assert caught.value.fields["pid"] == str(os.getpid())
        with Collection.update("other", model=MODEL, store="numpy", home=home):
            pass
    with Collection.update("c", home=home):
        pass


def test_killed_between_rename_and_switch(filled: Path) -> None:
    """A complete generation that CURRENT does not name yet does not count, and is cleaned up."""
    root = filled / "collections" / "c"
    (root / "gen-0002").mkdir()
    (root / "gen-0002" / "meta.json").write_text("{}")
    (root / ".CURRENT-abc").write_text("gen-0002\n")
    answers_as_before(filled)
    updates_again(filled)


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("CURRENT", b"../../etc"),
        ("CURRENT", b"gen-0009"),
        ("gen-0001/meta.json", b"{"),
        ("gen-0001/meta.json", b'{"format": 99}'),
        ("gen-0001/meta.json", b'{"format": 1}'),
        ("gen-0001/catalogue.sqlite", b"not a database at all"),
        ("gen-0001/vectors/store.json", b"{"),
        ("gen-0001/words/ids.msgpack", b"\xc1"),
    ],
)
def test_damage_is_named(home: Path, part: str, content: bytes) -> None:
    """Damaged files are an error that names the collection or the file, never a wrong answer."""
    with Collection.update("c", model=MODEL, store="numpy", home=home) as writer:
        put(writer, "a.md", "cat")
        writer.commit()
    (home / "collections" / "c" / part).write_bytes(content)
    with pytest.raises(SageError, match=r"'c'|/c/"):  # noqa: PT012, SIM117
        with Collection.open("c", home) as collection:
            ask(collection, "cat")
            collection.lexical("cat", 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(home: Path) -> None:
    """A home that cannot be written is an error with its path."""
    home.mkdir()
    home.chmod(0o500)
    with pytest.raises(StorageError, match="collections/c"), Collection.update("c", home=home):
        pass


def test_the_newest_number_wins_over_leftovers(home: Path) -> None:
    """Generations are numbered on, whatever directories are there."""
    with Collection.update("c", model=MODEL, store="numpy", home=home) as writer:
        put(writer, "a.md", "cat")
        writer.commit()
    for number in range(2, 4):
        with Collection.update("c", home=home) as writer:
            put(writer, f"{number}.md", "cat")
            writer.commit()
    current = Layout("c", home).current()
    assert current is not None
    assert current.name == "gen-0003"
