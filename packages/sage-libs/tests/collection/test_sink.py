"""The sink of embedded chunks: each record once, whoever else writes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import ConfigError, DataError, StorageError
from sage.common.records import EmbeddedChunk
from sage.libs.collection import Collection, CollectionSink
from sage.libs.collection.testing import MODEL, ask
from sage.libs.embedding import load_embedder


def embedded(text: str, model: str = MODEL, **fields: Any) -> EmbeddedChunk:
    """Return a chunk with the vector of its text."""
    (vector,) = load_embedder(model).embed([text])
    return EmbeddedChunk(text, vector=vector, model=model, **fields)


def sink(home: Path, **options: Any) -> CollectionSink:
    """Return a sink as in a job that does not use Chroma."""
    return CollectionSink("notes", store="numpy", home=home, **options)


def written(home: Path, *records: Any) -> None:
    """Write records by a sink of their own."""
    one = sink(home)
    for record in records:
        one.write(record)
    one.close()


def test_what_is_written_again_is_there_once(tmp_path: Path) -> None:
    """A re-run adds nothing, a changed chunk replaces the old one, its neighbours stay."""
    first = embedded("Water boils.", chunk_id="w#0", doc_id="w", source="w.md")
    second = embedded("Ice melts.", chunk_id="w#1", doc_id="w", source="w.md")
    written(tmp_path, first, second, first)
    written(tmp_path, second)
    changed = embedded("Steam rises.", chunk_id="w#1", doc_id="w", source="w.md")
    written(tmp_path, changed)
    with Collection.open("notes", tmp_path) as notes:
        assert (notes.stats().documents, notes.stats().chunks) == (1, 2)
        assert sorted(ask(notes, "steam rises")) == ["w#0", "w#1"]
        assert [p.text for p in notes.lexical("steam ice", 5)] == ["Steam rises."]
        assert [p.place for p in notes.lexical("steam", 5, {"doc_id": "w"})] == ["w.md"]


def test_nothing_answers_before_the_flush_and_everything_after_it(tmp_path: Path) -> None:
    """A sink that waits for records does not keep anybody from updating the collection."""
    waiting = sink(tmp_path)
    waiting.write(embedded("Water boils."))
    assert Collection.names(tmp_path) == []
    written(tmp_path, embedded("Iron rusts."))
    waiting.flush()
    with Collection.open("notes", tmp_path) as notes:
        assert notes.stats().chunks == 2


def test_subtasks_write_one_after_the_other(tmp_path: Path) -> None:
    """Several that flush at the same time all get their chunks in."""
    sinks = [sink(tmp_path) for _ in range(4)]
    for number, one in enumerate(sinks):
        one.write(embedded(f"text {number}"))
    threads = [threading.Thread(target=one.flush) for one in sinks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Collection.open("notes", tmp_path) as notes:
        assert notes.stats().chunks == 4


def test_who_does_not_let_go_of_the_collection_is_named(tmp_path: Path) -> None:
    """The wait for another update ends; the chunks are kept for the next flush."""
    impatient = sink(tmp_path, lock_timeout_s=0.0)
    impatient.write(embedded("Water boils."))
    with (
        Collection.update("notes", model=MODEL, store="numpy", home=tmp_path),
        pytest.raises(StorageError, match="is being updated by process"),
    ):
        impatient.flush()
    impatient.flush()
    assert Collection.names(tmp_path) == ["notes"]


def test_mappings_and_many_chunks_are_taken(tmp_path: Path) -> None:
    """Rows of other tools are chunks too, and more than one batch of them gets in."""
    one = sink(tmp_path, model=MODEL)
    embedder = load_embedder(MODEL)
    for number in range(1200):
        text = f"entry {number}"
        row = {"id": f"r{number}", "text": text, "vector": embedder.embed([text])[0], "page": 1}
        one.write(row)
    one.close()
    with Collection.open("notes", tmp_path) as notes:
        assert notes.stats().chunks == 1200
        (found,) = notes.lexical("entry 1199", 1, {"page": 1})
        assert (found.passage_id, found.text) == ("r1199", "entry 1199")


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ("text", "put EmbeddingOperator before it"),
        ({"text": "a"}, "with 'text' and 'vector'"),
        ({"text": 1, "vector": [1.0]}, "expected text"),
        ({"text": "a", "vector": [1.0]}, "which model"),
        ({"text": "a", "vector": [0.0, 0.0], "model": MODEL}, "zero"),
        ({"text": "a", "vector": "abc", "model": MODEL}, "no numbers"),
        ({"text": "a", "vector": [1.0], "model": MODEL, "metadata": {"a": object()}}, "store"),
        ({"text": "a", "vector": [1.0], "model": MODEL, "metadata": None}, "expected a mapping"),
        ({"text": "a", "vector": [1.0], "model": MODEL, "start": "x"}, "cannot store"),
        ({"text": "a", "vector": [1.0], "model": MODEL, "share": float("nan")}, "finite"),
        ({"text": "a", "vector": [1.0], "model": MODEL, "size": 1 << 63}, "64 bits"),
    ],
)
def test_what_is_no_embedded_chunk_is_refused(tmp_path: Path, record: Any, told: str) -> None:
    """Each mistake is told with what to do."""
    with pytest.raises(DataError, match=told):
        sink(tmp_path).write(record)


def test_another_model_store_or_dimension_is_refused_before_it_is_too_late(tmp_path: Path) -> None:
    """Vectors that cannot be compared do not get into one collection."""
    written(tmp_path, embedded("Water boils."))
    with pytest.raises(ConfigError, match="was made with 'mock:32'"):
        sink(tmp_path).write(embedded("Iron rusts.", "mock:16"))
    with pytest.raises(DataError, match="32 dimensions, got one of 2"):
        sink(tmp_path).write({"text": "a", "vector": [1.0, 0.0], "model": MODEL})
    with pytest.raises(ConfigError, match="has a 'numpy' store"):
        CollectionSink("notes", store="faiss", home=tmp_path).open(None)
    mixed = sink(tmp_path)
    mixed.write(embedded("Iron rusts."))
    with pytest.raises(DataError, match="vectors of two models"):
        mixed.write(embedded("Iron rusts.", "mock:16"))
    mixed.close()


def test_ids_may_be_numbers(tmp_path: Path) -> None:
    """Rows of a database have such; they are the ids as text."""
    one = sink(tmp_path, model=MODEL)
    (vector,) = load_embedder(MODEL).embed(["iron"])
    one.write({"id": 7, "doc_id": 3, "text": "iron", "vector": vector})
    one.close()
    with Collection.open("notes", tmp_path) as notes:
        (found,) = notes.lexical("iron", 1)
    assert (found.passage_id, found.doc_id) == ("7", "3")
