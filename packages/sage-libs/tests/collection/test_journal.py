"""The journal of vectors: what a killed update had computed is found again, and nothing else."""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from sage.libs.collection import Collection, CollectionSink
from sage.libs.collection.journal import VectorJournal
from sage.libs.collection.testing import MODEL, put

DIM = 4


@contextlib.contextmanager
def journal(path: Path, model: str = "m") -> Iterator[VectorJournal]:
    with contextlib.closing(VectorJournal(path, model)) as opened:
        yield opened


def vectors(*numbers: float) -> np.ndarray:
    return np.array([[n] * DIM for n in numbers], dtype=np.float32)


def known(opened: VectorJournal, texts: Sequence[str]) -> list[float | None]:
    return [None if v is None else float(v[0]) for v in opened.recall(texts)]


def test_what_was_remembered_is_found_by_the_next_one(tmp_path: Path) -> None:
    """Several processes one after the other add to one journal; each finds all of it."""
    with journal(tmp_path / "j") as first:
        first.remember(["a", "水"], vectors(1, 2))
        assert known(first, ["水", "b"]) == [2, None]
    with journal(tmp_path / "j") as second:
        second.remember(["b", "\ud800"], vectors(3, 4))
    with journal(tmp_path / "j") as third:
        assert known(third, ["a", "水", "b", "\ud800", "c"]) == [1, 2, 3, 4, None]
        assert len(third) == 4


def test_vectors_of_another_model_are_not_found(tmp_path: Path) -> None:
    """A vector belongs to the text and to the model that read it."""
    with journal(tmp_path / "j") as one:
        one.remember(["a"], vectors(1))
    with journal(tmp_path / "j", "another") as other:
        assert known(other, ["a"]) == [None]


@pytest.mark.parametrize("cut", [1, 5, 20, 35, 36, 37, 60])
def test_a_torn_end_costs_only_itself(tmp_path: Path, cut: int) -> None:
    """Whatever was cut off at the end, the records before are read and later ones can be added."""
    path = tmp_path / "j"
    with journal(path) as killed:
        killed.remember(["a", "b", "c"], vectors(1, 2, 3))
    path.write_bytes(path.read_bytes()[:-cut])
    whole = 2 if cut <= 36 else 1
    with journal(path) as after:
        assert known(after, ["a", "b", "c"]) == [*[1, 2][:whole], *[None] * (3 - whole)]
        after.remember(["d"], vectors(4))
    with journal(path) as again:
        assert known(again, ["a", "d"]) == [1, 4]


@pytest.mark.parametrize(
    "damage", [b"", b"x", b"something else " * 20, b"SAGEvec1\xff\xff\xff\xff"]
)
def test_a_file_that_is_no_journal_is_replaced(tmp_path: Path, damage: bytes) -> None:
    """Nothing is read from it, and it is no error."""
    path = tmp_path / "j"
    path.write_bytes(damage)
    with journal(path) as opened:
        assert known(opened, ["a"]) == [None]
        opened.remember(["a"], vectors(1))
    with journal(path) as again:
        assert known(again, ["a"]) == [1]


def test_a_flipped_bit_is_not_read(tmp_path: Path) -> None:
    """A vector that is not what was written is none."""
    path = tmp_path / "j"
    with journal(path) as killed:
        killed.remember(["a", "b"], vectors(1, 2))
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    with journal(path) as after:
        assert known(after, ["a", "b"]) == [1, None]


def test_a_full_disk_is_given_its_room_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal that cannot be written goes away, and whoever uses it goes on."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        with journal(tmp_path / "j") as opened:
            opened.remember(["a", "b", "c"], vectors(1, 2, 3))
            opened.remember(["d"], vectors(4))
            assert known(opened, ["a", "d"]) == [None, None]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / "j").exists()
    assert len([r for r in caplog.records if "cannot remember" in r.message]) == 1


def test_an_update_forgets_when_it_commits(tmp_path: Path) -> None:
    """A killed update leaves its vectors to the next; one that commits leaves none."""
    with Collection.update("c", model=MODEL, store="numpy", home=tmp_path) as killed:
        killed.remember(["a"], vectors(1))
    with Collection.update("c", model=MODEL, store="numpy", home=tmp_path) as writer:
        assert writer.recall(["a", "b"])[1] is None
        assert writer.recall(["a"])[0] is not None
        put(writer, "a.md", "cat")
        writer.commit()
    assert not list((tmp_path / "collections" / "c").glob("EMBEDDED*"))


def test_the_collection_remembers_its_chunker(tmp_path: Path) -> None:
    """What a collection is cut with is agreed on once."""
    options = {"model": MODEL, "store": "numpy", "home": tmp_path}
    with Collection.update("c", chunker="fixed", chunk_tokens=50, **options) as writer:
        put(writer, "a.md", "cat")
        writer.commit()
    with Collection.update("c", home=tmp_path) as writer:
        assert (writer.chunker, writer.chunk_tokens) == ("fixed", 50)


def test_another_dimension_starts_anew(tmp_path: Path) -> None:
    """Rows of two lengths do not get into one file, where they would be read as each other."""
    with journal(tmp_path / "j") as killed:
        killed.remember(["a", "b"], vectors(1, 2))
    with journal(tmp_path / "j", "wider") as other:
        other.remember(["a", "b", "c"], np.array([[n] * 7 for n in (3, 4, 5)], dtype=np.float32))
        assert known(other, ["b", "c", "a"]) == [4, 5, 3]
    with journal(tmp_path / "j", "wider") as again:
        assert known(again, ["b", "c", "a"]) == [4, 5, 3]


def test_models_of_long_names_are_told_apart(tmp_path: Path) -> None:
    """The whole name counts, as that of a directory deep down."""
    folder = "/srv/" + "models/" * 20
    with journal(tmp_path / "j", folder + "one") as one:
        one.remember(["a"], vectors(1))
    with journal(tmp_path / "j", folder + "two") as other:
        assert known(other, ["a"]) == [None]


def test_who_has_no_lock_leaves_it_alone(tmp_path: Path) -> None:
    """A sink that opens looks at a collection while another update writes its journal."""
    with Collection.update("notes", model=MODEL, store="numpy", home=tmp_path) as writer:
        put(writer, "a.md", "alpha")
        writer.commit()
    (path,) = (meta.parents[1] for meta in tmp_path.rglob("meta.json"))
    with journal(path / "EMBEDDED", MODEL) as busy:
        busy.remember(["a"], vectors(1))
    torn = (path / "EMBEDDED").read_bytes() + b"half a rec"
    (path / "EMBEDDED").write_bytes(torn)
    CollectionSink("notes", model=MODEL, home=tmp_path).open(None)
    assert (path / "EMBEDDED").read_bytes() == torn
