"""`build_index` from files to a collection that answers."""

from __future__ import annotations

import signal

import pytest

from sage.common.errors import ConfigError, DataError, SageError, UnknownNameError
from sage.libs.collection import Collection
from sage.libs.generation.testing import FakeOpenAIServer
from sage.middleware.indexing import IndexingStopped, IndexProgress, build_index


@pytest.fixture
def docs(tmp_path):
    """Three small documents."""
    root = tmp_path / "docs"
    root.mkdir()
    for name, text in {
        "water.md": "# Water\n\nWater boils at one hundred degrees.\n",
        "iron.txt": "Iron melts at 1538 degrees. It rusts in wet air.\n",
        "moss.txt": "Moss grows on the shady side of a stone.\n",
    }.items():
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def index(docs, tmp_path):
    """Index the documents with the hashing embedder and the plain store."""

    def run(path=docs, **options):
        settings = {"model": "mock:32", "store": "numpy", "home": tmp_path / "home", **options}
        return build_index(path, "c", **settings)

    return run


def names(sources):
    return sorted(source.rpartition("/")[2] for source in sources)


def stored(home):
    with Collection.update("c", model="mock:32", store="numpy", home=home) as writer:
        return names(writer.known())


def test_every_document_is_found_in_the_collection(index, tmp_path):
    """What was indexed can be looked up, with its place."""
    report = index()
    assert names(report.added) == ["iron.txt", "moss.txt", "water.md"]
    assert report.failed == ()
    assert report.chunks >= 3
    assert stored(tmp_path / "home") == ["iron.txt", "moss.txt", "water.md"]


def test_the_report_names_stages_and_plan(index):
    """The run says what it did and where its time went."""
    report = index()
    assert list(report.stages_s) == ["load", "cut", "embed", "write", "commit"]
    assert all(stage in report.plan for stage in ("load", "cut", "embed", "write"))
    assert report.to_dict()["documents_per_s"] > 0


def test_indexing_again_touches_only_what_changed(index, docs):
    """A second run adds, changes and removes exactly what differs."""
    index()
    (docs / "water.md").write_text("# Water\n\nWater freezes at zero.\n", encoding="utf-8")
    (docs / "moss.txt").unlink()
    (docs / "gold.txt").write_text("Gold does not rust.\n", encoding="utf-8")
    report = index()
    assert names(report.added) == ["gold.txt"]
    assert names(report.changed) == ["water.md"]
    assert names(report.removed) == ["moss.txt"]
    assert report.unchanged == 1


def test_nothing_changed_means_nothing_runs(index):
    """A run without changes builds no embeddings and writes nothing."""
    index()
    report = index()
    assert (report.indexed, report.removed, report.unchanged, report.chunks) == (0, (), 3, 0)
    assert report.plan == ""


def test_a_document_that_fails_does_not_stop_the_others(index, docs, tmp_path):
    """The failure is named with its reason, the rest is indexed."""
    (docs / "broken.pdf").write_bytes(b"\x00\x01garbage" * 50)
    (docs / "blank.txt").write_text("  \n", encoding="utf-8")
    report = index()
    assert names(failure.source for failure in report.failed) == ["blank.txt", "broken.pdf"]
    assert all(failure.reason for failure in report.failed)
    assert len(report.added) == 3
    assert "broken.pdf" not in stored(tmp_path / "home")


def test_a_changed_document_that_fails_keeps_its_old_version(index, docs, tmp_path):
    """Damage to a file does not take what was known of it out of the index."""
    index()
    (docs / "water.md").write_bytes(b"\xff\x00\xfe" * 100)
    report = index()
    assert [failure.kept for failure in report.failed] == [True]
    assert "water.md" in stored(tmp_path / "home")


def test_several_directories_share_a_collection(index, docs, tmp_path):
    """Indexing one directory leaves the documents of another alone."""
    index()
    other = tmp_path / "other"
    other.mkdir()
    (other / "salt.txt").write_text("Salt dissolves in water.\n", encoding="utf-8")
    report = index(other)
    assert report.removed == ()
    assert len(stored(tmp_path / "home")) == 4


def test_an_empty_directory_is_refused_and_makes_no_collection(index, tmp_path):
    """Nothing to index is a mistake worth telling."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no documents found"):
        index(tmp_path / "empty")
    with pytest.raises(SageError):
        Collection.open("c", home=tmp_path / "home")


def test_a_directory_that_was_emptied_keeps_its_index(index, docs, tmp_path):
    """An unmounted disk does not wipe the index; doing it on purpose needs a word."""
    index()
    for path in docs.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="keeps the 3"):
        index()
    assert len(stored(tmp_path / "home")) == 3
    assert len(index(allow_empty=True).removed) == 3
    assert stored(tmp_path / "home") == []


def test_a_collection_that_was_emptied_takes_another_model(index, docs):
    """What is not there any more does not say how long the vectors of a new model are."""
    index()
    for path in docs.iterdir():
        path.unlink()
    index(allow_empty=True)
    (docs / "new.txt").write_text("Gold shines.", encoding="utf-8")
    report = index(model="mock:64")
    assert (names(report.added), report.failed) == (["new.txt"], ())


def test_progress_ends_at_the_whole(index, docs):
    """The last event of a run says that everything is done."""
    events: list[IndexProgress] = []
    index(progress=events.append)
    assert (events[0].documents, events[0].total_documents) == (0, 3)
    last = events[-1]
    assert (last.documents, last.total_documents) == (3, 3)
    assert last.size_bytes == pytest.approx(last.total_bytes)


def test_an_error_of_the_run_leaves_the_old_index(index, docs, tmp_path):
    """What interrupts a run half-way leaves the collection as it was."""
    index()
    (docs / "gold.txt").write_text("Gold does not rust.\n", encoding="utf-8")

    def explode(event: IndexProgress) -> None:
        raise OSError(28, "No space left on device", "/somewhere")

    with pytest.raises(OSError, match="No space left"):
        index(progress=explode)
    assert stored(tmp_path / "home") == ["iron.txt", "moss.txt", "water.md"]


def test_ctrl_c_keeps_what_is_done_and_the_next_run_goes_on(index, docs, tmp_path):
    """A run that is stopped commits whole documents; nothing is lost and nothing is half."""
    for number in range(997):
        (docs / f"n{number}.txt").write_text(f"Number {number}.\n", encoding="utf-8")
    pressed = []

    def press_once(event: IndexProgress) -> None:
        if event.chunks and not pressed:
            pressed.append(event)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(IndexingStopped) as stopped:
        index(progress=press_once)
    done = len(stored(tmp_path / "home"))
    assert stopped.value.indexed == done > 0
    assert stopped.value.pending == 1000 - done > 0
    report = index()
    assert len(report.added) == 1000 - done
    assert len(stored(tmp_path / "home")) == 1000


def test_what_a_failed_run_embedded_is_not_embedded_again(index, docs):
    """A run that ends in an error leaves its vectors to the next one."""

    def explode(event: IndexProgress) -> None:
        if event.chunks:
            raise OSError(28, "No space left on device", "/somewhere")

    with pytest.raises(OSError, match="No space left"):
        index(progress=explode)
    report = index()
    assert (report.chunks, report.recalled) == (3, 3)
    (docs / "gold.txt").write_text("Gold does not rust.\n", encoding="utf-8")
    assert index().recalled == 0


def test_another_chunker_cuts_every_document_again(index, docs, tmp_path):
    """The collection remembers how it is cut; who asks for another way gets all of it anew."""
    (docs / "water.md").write_text("Water boils. " * 20, encoding="utf-8")
    assert index(chunk_tokens=8, chunker="sentence").chunks > 5
    assert index().unchanged == 3
    report = index(chunker="fixed", chunk_tokens=100)
    assert (len(report.changed), report.chunks) == (3, 3)
    with pytest.raises(UnknownNameError, match="did you mean 'fixed'"):
        index(chunker="fixt")


def test_a_private_address_is_a_failure_of_that_source(index, docs):
    """A URL that must not be fetched is named; what else was asked for is indexed."""
    report = index([docs, "http://127.0.0.1/secrets"])
    assert len(report.added) == 3
    assert [failure.source for failure in report.failed] == ["http://127.0.0.1/secrets"]
    assert "loopback" in report.failed[0].reason
    assert report.roots == (str(docs), "http://127.0.0.1/secrets")


def test_a_server_embeds_what_is_indexed(index, monkeypatch):
    """A collection may be made by a model that a server runs; its documents are cut here."""
    with FakeOpenAIServer() as server:
        monkeypatch.setenv("VLLM_BASE_URL", server.base_url)
        report = index(model="vllm:served-and-not-here")
    assert (len(report.added), report.failed) == (3, ())


def test_one_pattern_chooses_the_files(index):
    """A pattern that stands alone is one pattern."""
    assert names(index(patterns="*.md").added) == ["water.md"]


def test_chunks_of_no_tokens_are_refused(index):
    """A size that is none is an error, and not the default."""
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        index(chunk_tokens=0)
