"""What has to be indexed: by content, within one directory."""

from __future__ import annotations

import os

import pytest

from sage.common.errors import DataError
from sage.common.records import Document
from sage.libs.documents import LoadFailure
from sage.middleware.indexing import find_changes


@pytest.fixture
def docs(tmp_path):
    """A directory with two documents."""
    root = tmp_path / "docs"
    (root / "deep").mkdir(parents=True)
    (root / "a.md").write_text("alpha", encoding="utf-8")
    (root / "deep" / "b.txt").write_text("beta", encoding="utf-8")
    return root


def known_of(changes):
    return {file.source: file.fingerprint for file in changes.files}


def test_everything_is_new_at_first(docs):
    """A collection that knows nothing gets every file, with its size."""
    changes = find_changes(docs, {})
    assert [(f.source, f.size_bytes, f.known) for f in changes.files] == [
        (str(docs / "a.md"), 5, False),
        (str(docs / "deep" / "b.txt"), 4, False),
    ]
    assert changes.total_bytes == 9


def test_touching_a_file_changes_nothing(docs):
    """Only content counts, not the date."""
    known = known_of(find_changes(docs, {}))
    (docs / "a.md").touch()
    changes = find_changes(docs, known)
    assert (changes.files, changes.removed, changes.unchanged) == ((), (), 2)


def test_changed_and_removed_files_are_found(docs):
    """Another content is a change; a file that is gone leaves."""
    known = known_of(find_changes(docs, {}))
    (docs / "a.md").write_text("gamma", encoding="utf-8")
    (docs / "deep" / "b.txt").unlink()
    changes = find_changes(docs, known)
    assert [(f.source, f.known) for f in changes.files] == [(str(docs / "a.md"), True)]
    assert changes.removed == (str(docs / "deep" / "b.txt"),)


def test_documents_of_other_directories_are_left_alone(docs):
    """A run answers for its own directory; a name that only begins alike is another one."""
    known = {str(docs) + "-archive/old.md": "1", "/elsewhere/c.md": "2"}
    assert find_changes(docs, known).removed == ()


def test_a_missing_directory_is_named(tmp_path):
    """The path that was given is in the message."""
    with pytest.raises(DataError, match="nope"):
        find_changes(tmp_path / "nope", {})


def test_a_name_that_is_no_text_is_told_in_letters(docs):
    """A file name that is not UTF-8 fails that file alone, and what is told can be printed."""
    try:
        with open(os.fsencode(docs) + b"/\xff.md", "wb") as file:
            file.write(b"# Bell\n")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    changes = find_changes(docs, {})
    (failed,) = changes.failed
    assert failed.source.endswith("/\\xff.md")
    assert failed.source.encode("utf-8")
    assert "UTF-8" in failed.reason
    assert len(changes.files) == len(find_changes(docs, {}, patterns=["*"]).files) >= 2


def test_several_roots_are_one_run(docs, tmp_path):
    """Directories, files and what is in two of them: each document once, each root answered for."""
    note = tmp_path / "note.txt"
    note.write_text("note", encoding="utf-8")
    gone = {str(docs / "gone.md"): "1", str(tmp_path / "other.md"): "2"}
    changes = find_changes([docs, note, docs / "deep", docs], gone)
    assert [file.source for file in changes.files] == [
        str(docs / "a.md"),
        str(docs / "deep" / "b.txt"),
        str(note),
    ]
    assert changes.removed == (str(docs / "gone.md"),)
    assert changes.roots == (str(docs), str(note), str(docs / "deep"))
    with pytest.raises(DataError, match="nothing to index"):
        find_changes([], {})


def test_another_way_to_cut_changes_every_document(docs):
    """A document that was cut in another way is not as the run would leave it."""
    known = known_of(find_changes(docs, {}))
    assert len(find_changes(docs, known, recipe="fixed:100").files) == 2
    recut = known_of(find_changes(docs, known, recipe="fixed:100"))
    assert find_changes(docs, recut, recipe="fixed:100").files == ()


def test_a_url_is_compared_by_what_it_holds():
    """It is fetched to see whether it changed, and what was fetched is what will be indexed."""
    url, text = "https://example.org/a", "one"
    fetched = []

    def fetch(source):
        fetched.append(source)
        if not text:
            return LoadFailure(source, f"{source!r} is gone", "look elsewhere")
        return Document(text, source=source)

    changes = find_changes(url, {}, fetch=fetch)
    assert [(f.source, f.document.text) for f in changes.files] == [(url, "one")]
    known = known_of(changes)
    assert find_changes(url, known, fetch=fetch).unchanged == 1
    text = "two"
    assert [f.known for f in find_changes(url, known, fetch=fetch).files] == [True]
    text = ""
    failing = find_changes(url, known, fetch=fetch)
    assert [(f.reason, f.kept) for f in failing.failed] == [
        (f"{url!r} is gone (look elsewhere)", True)
    ]
    assert failing.removed == ()
    assert fetched == [url] * 4


def test_a_url_does_not_answer_for_those_below_it():
    """Only directories take documents out that are gone from them."""
    url, below = "https://example.org/a", "https://example.org/a/b"
    known = {url: "old", below: "old"}
    changes = find_changes(url, known, fetch=lambda source: Document("text", source=source))
    assert changes.removed == ()
