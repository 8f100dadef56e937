"""The pool of loaders: what it gives, and what a bad document can do to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.common.errors import DataError
from sage.common.records import Document
from sage.libs.documents import load_document
from sage.libs.documents.loader_pool import LoadFailure, load_documents


def test_documents_come_in_the_order_of_their_paths_as_load_document_gives_them(
    tmp_path: Path,
) -> None:
    """Two processes give what one call after the other gives, failures in their places."""
    paths = []
    for number in range(30):
        path = tmp_path / f"{number}.md"
        path.write_text(f"# Title {number}\n\n" + "Water boils.\n" * (number % 7 * 100))
        paths.append(path)
    paths[7].unlink()
    loaded = list(load_documents(paths, workers=2, root=tmp_path))
    missing = loaded.pop(7)
    assert isinstance(missing, LoadFailure)
    assert missing.source == str(paths.pop(7))
    assert "no such file" in missing.message
    assert loaded == [load_document(path, root=tmp_path) for path in paths]
    assert all(isinstance(document, Document) for document in loaded)


def test_one_path_is_no_list_of_paths() -> None:
    """A path is not taken apart into its letters."""
    with pytest.raises(DataError, match=r"expected a list of paths, got one: 'a\.md'"):
        list(load_documents("a.md", workers=1))
