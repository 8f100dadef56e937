"""Documents are loaded ahead, in order, and stop when they are told to."""

from __future__ import annotations

import threading

import pytest

from sage.common.records import Document
from sage.libs.documents import LoadFailure, load_documents
from sage.middleware.indexing.changes import FoundFile
from sage.middleware.indexing.loading import Loaded, LoadedDocuments
from sage.middleware.indexing.report import FailedDocument


def files(*sources: str, **options) -> list[FoundFile]:
    return [FoundFile(source, "hash", 1, **options) for source in sources]


def everything(source: LoadedDocuments) -> list[Loaded | FailedDocument]:
    read = []
    while (records := source.read(100)) is not None:
        read += records
    source.close()
    return read


def test_documents_come_in_the_order_of_the_files(tmp_path):
    """Whatever each takes to load; what cannot be loaded is a failure in its place."""
    (tmp_path / "a.txt").write_text("alpha\n", encoding="utf-8")
    (tmp_path / "bad.pdf").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "c.txt").write_text("gamma\n", encoding="utf-8")
    sources = [str(tmp_path / name) for name in ("a.txt", "bad.pdf", "gone.txt", "c.txt")]
    read = everything(LoadedDocuments(files(*sources, known=True), load_documents))
    assert [getattr(record, "source", None) or record.file.source for record in read] == sources
    first, bad, gone, last = read
    assert (first.document.text, first.document.source) == ("alpha\n", sources[0])
    assert (last.document.text, last.document.source) == ("gamma\n", sources[3])
    assert (bad.code, bad.kept) == ("data-error", True)
    assert "no such file" in gone.reason


def test_what_was_fetched_is_not_loaded_again():
    """A document that came with its file is given as it is, between those that are loaded."""
    fetched = FoundFile("https://example.org", "hash", 1, document=Document("text"))
    asked = []

    def load_all(sources):
        for source in sources:
            asked.append(source)
            yield LoadFailure(source, "no")

    read = everything(LoadedDocuments([*files("a"), fetched, *files("b")], load_all))
    assert [type(record) for record in read] == [FailedDocument, Loaded, FailedDocument]
    assert asked == ["a", "b"]


def test_only_a_few_are_loaded_ahead():
    """A run that is stopped has a few documents to finish, not all that it was given."""
    loaded = threading.Semaphore(0)
    count = 0

    def load_all(sources):
        nonlocal count
        for source in sources:
            count += 1
            loaded.release()
            yield LoadFailure(source, "no")

    source = LoadedDocuments(files(*map(str, range(100))), load_all)
    assert len(source.read(100)) <= 1
    loaded.acquire(timeout=10)
    source.close()
    assert count < 10


def test_an_error_of_the_pool_is_raised_where_it_is_read():
    """It fails the run instead of ending it early."""

    def load_all(sources):
        raise RuntimeError("the pool is closed")
        yield

    with pytest.raises(RuntimeError, match="the pool is closed"):
        everything(LoadedDocuments(files("a"), load_all))
