"""Watching directories: what happens to a file happens to the index."""

from __future__ import annotations

import queue
import threading

import pytest

from sage.common.errors import ConfigError, DataError
from sage.libs.collection import Collection
from sage.middleware.indexing import IndexReport, watch_index

PATIENCE_S = 60


@pytest.fixture
def docs(tmp_path):
    """A directory with one document."""
    root = tmp_path / "docs"
    root.mkdir()
    (root / "water.md").write_text("Water boils.\n", encoding="utf-8")
    return root


@pytest.fixture
def watching(docs, tmp_path):
    """Watch the directory; give the queue of what is told."""
    told: queue.Queue = queue.Queue()
    stop = threading.Event()
    options = {"model": "mock:32", "store": "numpy", "home": tmp_path / "home", "debounce_ms": 50}
    thread = threading.Thread(
        target=watch_index, args=(docs, "c"), kwargs={"tell": told.put, "stop": stop, **options}
    )
    thread.start()
    yield told
    stop.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def names(sources):
    return [source.rpartition("/")[2] for source in sources]


def until(told, did):
    """Return what was told once a report says that this was done; changes may come in parts."""
    while True:
        report = told.get(timeout=PATIENCE_S)
        assert isinstance(report, IndexReport), report
        if did(report):
            return report


def test_new_changed_and_removed_files_update_the_index(watching, docs, tmp_path):
    """Each run does what changed and no more, and what concerns no document makes no run."""
    assert names(until(watching, lambda r: r.added).added) == ["water.md"]
    (docs / ".hidden.md").write_text("No.\n", encoding="utf-8")
    (docs / "picture.png").write_bytes(b"no text")
    (docs / "deep").mkdir()
    (docs / "deep" / "iron.txt").write_text("Iron rusts.\n", encoding="utf-8")
    assert names(until(watching, lambda r: r.added).added) == ["iron.txt"]
    (docs / "water.md").write_text("Water freezes.\n", encoding="utf-8")
    assert names(until(watching, lambda r: r.changed).changed) == ["water.md"]
    (docs / "deep" / "iron.txt").unlink()
    assert names(until(watching, lambda r: r.removed).removed) == ["iron.txt"]
    with Collection.open("c", home=tmp_path / "home") as collection:
        assert names(collection.sources()) == ["water.md"]
        assert [p.text for p in collection.lexical("freezes", 5)] == ["Water freezes."]


def test_an_error_is_told_and_the_watching_goes_on(watching, docs):
    """A directory that was emptied by mistake is no end."""
    until(watching, lambda r: r.added)
    (docs / "water.md").unlink()
    error = watching.get(timeout=PATIENCE_S)
    assert isinstance(error, DataError)
    assert "keeps the 1" in error.message
    (docs / "iron.txt").write_text("Iron rusts.\n", encoding="utf-8")
    report = until(watching, lambda r: r.added)
    assert (names(report.added), names(report.removed)) == (["iron.txt"], ["water.md"])


def test_what_cannot_be_watched_is_refused(tmp_path):
    """Of a URL nobody tells when it changes, and what is not there cannot change."""
    with pytest.raises(ConfigError, match="got 'https://a"):
        watch_index("https://a.b/", tell=print)
    with pytest.raises(DataError, match="no such directory or file"):
        watch_index(tmp_path / "gone", tell=print)
