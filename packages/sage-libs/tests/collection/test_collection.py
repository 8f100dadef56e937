"""What a collection promises to those who fill and those who ask it."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from sage.common.errors import ConfigError, DataError, StorageError
from sage.common.records import Chunk, Document
from sage.libs.collection import Collection
from sage.libs.collection.testing import MODEL, ask, chunked, put
from sage.libs.embedding import load_embedder

KINDS = ["numpy", "faiss", "chroma"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of store in turn."""
    if request.param == "chroma":
        pytest.importorskip("chromadb")
    return str(request.param)


def test_finds_what_was_put_in(home: Path, kind: str) -> None:
    """Passages come back with text, place, metadata and score, by meaning and by words."""
    with Collection.update("c", model=MODEL, store=kind, home=home) as writer:
        put(writer, "a.md", "red cat", "blue dog")
        put(writer, "b.md", "green bird")
        assert writer.known() == {"a.md": "1", "b.md": "1"}
        assert writer.commit()
    with Collection.open("c", home) as collection:
        (vector,) = load_embedder(MODEL).embed(["blue dog"])
        best = collection.dense(vector, 3)[0]
        assert (best.passage_id, best.text, best.source) == ("a.md#2", "blue dog", "a.md")
        assert (best.doc_id, best.start, best.end, best.place) == ("id-a.md", 8, 16, "a.md:2")
        assert dict(best.metadata) == {"title": "T", "line": 2, "heading": ["A", "B"]}
        assert best.score == pytest.approx(1, abs=1e-4)
        (found,) = collection.lexical("birds", 3)
        assert (found.passage_id, found.score > 0) == ("b.md#1", True)
        assert [p.passage_id for p in collection.passages(["b.md#1", "none", "a.md#1"])] == [
            "b.md#1",
            "a.md#1",
        ]
        assert collection.sources() == ["a.md", "b.md"]
        stats = collection.stats()
        assert (stats.documents, stats.chunks, stats.model, stats.dim) == (2, 3, MODEL, 32)
        assert (stats.store, stats.generation) == (kind, "gen-0001")
        assert stats.size_bytes > 0
        assert stats.to_dict()["name"] == "c"


def test_filters_hold_for_both_legs(home: Path, kind: str) -> None:
    """A filter on place or metadata means the same by meaning and by words."""
    with Collection.update("c", model=MODEL, store=kind, home=home) as writer:
        put(writer, "a.md", "cat one", "cat two")
        put(writer, "b.md", "cat three")
        writer.commit()
    with Collection.open("c", home) as collection:
        for where, expected in (
            ({"doc_id": {"$in": ["id-b.md"]}}, {"b.md#1"}),
            ({"source": "a.md", "line": {"$gt": 1}}, {"a.md#2"}),
            ({"title": {"$ne": "T"}}, set()),
            ({"start": 0}, {"a.md#1", "b.md#1"}),
        ):
            assert set(ask(collection, "cat", **where)) == expected
            found = collection.lexical("cat", 5, where)
            assert {p.passage_id for p in found} == expected
        for leg in (lambda w: ask(collection, "cat", **w), lambda w: collection.lexical("x", 1, w)):
            with pytest.raises(ConfigError, match="unknown operator"):
                leg({"line": {"$like": 1}})


def test_updates_touch_what_changed(home: Path, kind: str) -> None:
    """A changed document replaces its old chunks, a removed one is gone, others stay."""
    with Collection.update("c", model=MODEL, store=kind, home=home) as writer:
        put(writer, "a.md", "old cat", "old dog", "old cow")
        put(writer, "b.md", "a bird")
        put(writer, "c.md", "a fish")
        writer.commit()
    with Collection.update("c", home=home) as writer:
        assert (writer.model, writer.store) == (MODEL, kind)
        put(writer, "a.md", "new cat", version="2")
        assert writer.remove("c.md")
        assert not writer.remove("c.md")
        assert writer.known() == {"a.md": "2", "b.md": "1"}
        writer.commit()
    with Collection.open("c", home) as collection:
        assert set(ask(collection, "cat")) == {"a.md#1", "b.md#1"}
        assert [p.text for p in collection.lexical("cat dog cow fish", 5)] == ["new cat"]
        assert (collection.stats().documents, collection.stats().chunks) == (2, 2)
        assert collection.stats().generation == "gen-0002"


def test_many_changes_in_one_update(home: Path, kind: str) -> None:
    """Adding, replacing and removing one document within an update leaves the last word."""
    with Collection.update("c", model=MODEL, store=kind, home=home) as writer:
        for number in range(600):
            put(writer, f"{number}.md", f"text number{number}", f"more text{number}")
        put(writer, "5.md", "changed", version="2")
        writer.remove("7.md")
        put(writer, "7.md", "back again")
        writer.remove("9.md")
        writer.commit()
    with Collection.open("c", home) as collection:
        assert collection.stats().chunks == 600 * 2 - 2 - 2
        assert ask(collection, "changed", 1) == ["5.md#1"]
        assert ask(collection, "back again", 1) == ["7.md#1"]
        assert ask(collection, "x", 5, source="9.md") == []
        assert ask(collection, "text number123", 1) == ["123.md#1"]


def test_removing_many_documents_reads_each_but_once(home: Path) -> None:
    """Taking a document out does not read the list of all the others."""
    with Collection.update("c", model=MODEL, store="numpy", home=home) as writer:
        for number in range(50):
            put(writer, f"{number}.md", f"text number{number}")
        writer.commit()
    statements: list[str] = []
    with Collection.update("c", home=home) as writer:
        assert not writer.remove("none.md")
        assert writer.remove("0.md")
        assert writer._catalogue is not None
        writer._catalogue._db.set_trace_callback(statements.append)
        assert all(writer.remove(f"{number}.md") for number in range(1, 49))
        writer._catalogue._db.set_trace_callback(None)
        assert list(writer.known()) == ["49.md"]
        writer.commit()
    assert statements
    assert all("source = " in s for s in statements if s.startswith(("SELECT", "DELETE")))
    with Collection.open("c", home) as collection:
        assert collection.sources() == ["49.md"]


def test_nothing_changed_makes_no_generation(home: Path) -> None:
    """An update without changes commits nothing and leaves the files alone."""
    with Collection.update("c", model=MODEL, store="numpy", home=home) as writer:
        put(writer, "a.md", "cat")
        writer.commit()
    before = sorted((home / "collections" / "c").rglob("*"))
    with Collection.update("c", home=home) as writer:
        assert writer.known() == {"a.md": "1"}
        assert not writer.commit()
    assert sorted((home / "collections" / "c").rglob("*")) == before


def test_without_commit_nothing_happens(home: Path, kind: str) -> None:
    """Leaving the block by an error, or without commit, changes nothing and leaves nothing."""
    with Collection.update("c", model=MODEL, store=kind, home=home) as writer:
        put(writer, "a.md", "cat")
        writer.commit()
    with pytest.raises(RuntimeError), Collection.update("c", home=home) as writer:  # noqa: PT012
        put(writer, "b.md", "dog")
        raise RuntimeError
    with Collection.update("c", home=home) as writer:
        writer.remove("a.md")
    with Collection.open("c", home) as collection:
        assert ask(collection, "cat") == ["a.md#1"]
    names = {path.name for path in (home / "collections" / "c").iterdir()}
    assert names == {"CURRENT", "LOCK", "gen-0001"}
    with pytest.raises(StorageError, match="has ended"):
        writer.add(*_nothing())


def _nothing() -> tuple[Document, str, list[Chunk], np.ndarray]:
    return Document("", source="x"), "1", [], np.empty((0, 32))


def test_readers_keep_their_generation(home: Path, kind: str) -> None:
    """A reader answers as before while later generations come, even when its own is old."""
    with Collection.update("c", model=MODEL, store=kind, home=home) as writer:
        put(writer, "0.md", "cat")
        writer.commit()
    reader, idle = Collection.open("c", home), Collection.open("c", home)
    assert ask(reader, "cat") == ["0.md#1"]
    for number in range(1, 5):
        with Collection.update("c", home=home) as writer:
            put(writer, f"{number}.md", "cat")
            writer.commit()
    # `idle` touches its store for the first time only now.
    assert ask(idle, "cat") == ask(reader, "cat") == ["0.md#1"]
    assert [p.source for p in reader.lexical("cat", 9)] == ["0.md"]
    with Collection.open("c", home) as now:
        assert len(ask(now, "cat")) == 5
    names = {p.name for p in (home / "collections" / "c").glob("gen-*")}
    assert names == {"gen-0001", "gen-0004", "gen-0005"}
    reader.close()
    idle.close()
    with Collection.update("c", home=home) as writer:
        put(writer, "9.md", "cat")
        writer.commit()
    names = {p.name for p in (home / "collections" / "c").glob("gen-*")}
    assert names == {"gen-0005", "gen-0006"}


def test_missing_collection_lists_the_known(home: Path) -> None:
    """A collection that does not exist is named, with those there are and how to make it."""
    with pytest.raises(DataError, match="no collection 'manuals'; none is known") as caught:
        Collection.open("manuals", home)
    assert caught.value.hint == "sage index DIR --collection manuals"
    with Collection.update("manual", model=MODEL, store="numpy", home=home) as writer:
        put(writer, "a.md", "cat")
        writer.commit()
    assert Collection.names(home) == ["manual"]
    with pytest.raises(DataError, match="did you mean 'manual'"):
        Collection.open("manuals", home)


def test_another_model_is_refused(home: Path) -> None:
    """Neither reading nor writing mixes the vectors of two models or the kinds of two stores."""
    with Collection.update("c", model=MODEL, store="numpy", home=home) as writer:
        put(writer, "a.md", "cat")
        writer.commit()
    with pytest.raises(ConfigError, match=r"made with 'mock:32', asked with 'mock:8'"):
        Collection.open("c", home, model="mock:8")
    with (
        pytest.raises(ConfigError, match=r"made with 'mock:32', not with 'mock:8'"),
        Collection.update("c", model="mock:8", home=home),
    ):
        pass
    with (
        pytest.raises(ConfigError, match=r"has a 'numpy' store, not a 'faiss'"),
        Collection.update("c", store="faiss", home=home),
    ):
        pass
    with (
        pytest.raises(ConfigError, match=r"did you mean 'numpy'"),
        Collection.update("d", store="nunpy", home=home),
    ):
        pass
    Collection.open("c", home, model=MODEL).close()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 101])
def test_bad_names_are_refused(home: Path, name: str) -> None:
    """A name that could leave the directory is refused before anything is touched."""
    with pytest.raises(ConfigError, match="expected letters"):
        Collection.open(name, home)
    with pytest.raises(ConfigError), Collection.update(name, home=home):
        pass
    assert not home.exists()


def test_documents_that_do_not_fit_change_nothing(home: Path) -> None:
    """A document with wrong vectors, ids or metadata is refused, and the update goes on."""
    with Collection.update("c", model=MODEL, store="numpy", home=home) as writer:
        put(writer, "a.md", "cat")
        document, chunks = chunked("b.md", ["dog"])
        for vectors in (np.ones((1, 31)), np.ones((2, 32)), np.zeros((1, 32))):
            with pytest.raises(DataError):
                writer.add(document, "1", chunks, vectors)
        stolen = [Chunk("dog", "a.md#1", source="b.md")]
        with pytest.raises(DataError, match=r"'a.md#1' of 'b.md' is taken by 'a.md'"):
            writer.add(document, "1", stolen, np.ones((1, 32)))
        with pytest.raises(DataError, match="same id"):
            writer.add(document, "1", chunks * 2, np.ones((2, 32)))
        odd = [Chunk("dog", "b#1", source="b.md", metadata={"x": object()})]
        with pytest.raises(DataError, match=r"metadata of 'b\.md'"):
            writer.add(document, "1", odd, np.ones((1, 32)))
        with pytest.raises(DataError, match="source or a doc_id"):
            writer.add(Document("x"), "1", [], np.empty((0, 32)))
        with pytest.raises(DataError, match="not valid UTF-8"):
            writer.add(Document("x", source="\udcff.md"), "1", [], np.empty((0, 32)))
        assert writer.known() == {"a.md": "1"}
        writer.commit()
    with Collection.open("c", home) as collection:
        assert ask(collection, "dog") == ["a.md#1"]


def test_an_empty_collection_answers(home: Path, kind: str) -> None:
    """A collection without chunks, new or emptied, finds nothing and can be filled again."""
    with Collection.update("c", model=MODEL, store=kind, home=home) as writer:
        writer.commit()
    with Collection.open("c", home) as collection:
        assert ask(collection, "cat") == []
        assert collection.lexical("cat", 1) == []
    for text in ("cat", "dog"):
        with Collection.update("c", home=home) as writer:
            put(writer, "a.md", text)
            writer.add(Document("", source="empty.md"), "1", [], np.empty((0, 32)))
            writer.commit()
        with Collection.open("c", home) as collection:
            assert collection.lexical(text, 1)[0].text == text
            assert collection.stats().documents == 2
        with Collection.update("c", home=home) as writer:
            assert writer.remove("a.md")
            writer.commit()
        with Collection.open("c", home) as collection:
            assert ask(collection, text) == []


def test_chunk_ids_are_made_where_missing(home: Path) -> None:
    """Chunks without ids get stable ones from their place; broken characters are survived."""
    chunks = [Chunk("one \ud800", start=0, end=5), Chunk("two", start=6, end=9)]
    ids = []
    for name in ("c", "d"):
        with Collection.update(name, model=MODEL, store="numpy", home=home) as writer:
            writer.add(Document("", source="a"), "1", chunks, np.eye(2, 32))
            writer.commit()
        with Collection.open(name, home) as collection:
            ids.append([p.passage_id for p in collection.dense(np.eye(1, 32)[0], 2)])
            assert collection.passages(ids[-1])[0].text == "one ?"
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_copies_open_it_again(home: Path) -> None:
    """Deep copies and pickles, as subtasks get them, answer too."""
    with Collection.update("c", model=MODEL, store="numpy", home=home) as writer:
        put(writer, "a.md", "cat")
        writer.commit()
    with Collection.open("c", home) as collection:
        for other in (copy.deepcopy(collection), pickle.loads(pickle.dumps(collection))):
            assert ask(other, "cat") == ["a.md#1"]
            other.close()
            other.close()


def test_unchanged_files_are_linked(home: Path) -> None:
    """What an update does not change takes no room a second time."""
    with Collection.update("c", model=MODEL, store="numpy", home=home) as writer:
        put(writer, "a.md", "cat")
        writer.commit()
    with Collection.update("c", home=home) as writer:
        writer.add(Document("", source="empty.md"), "1", [], np.empty((0, 32)))
        writer.commit()
    vectors = list((home / "collections" / "c").glob("gen-*/vectors/*.f32"))
    assert len(vectors) == 2
    assert os.path.samefile(*vectors)
