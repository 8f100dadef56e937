"""Discovery: which files count as documents, in which order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sage.common.errors import DataError
from sage.libs.documents.discovery import find_documents, fingerprint


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "docs"
    for name in (
        *["b.md", "a.txt", "A.PDF", "picture.png", ".hidden.md", ".git/c.md"],
        *["sub/d.html", "sub/deep/e.docx", "z.md"],
    ):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return top


def found(top: Path, patterns: list[str] | None = None) -> list[str]:
    return [path.relative_to(top).as_posix() for path in find_documents(top, patterns)]


def test_supported_files_are_found_in_order(tree: Path) -> None:
    """Hidden files and other kinds are left out; suffixes may be upper-case."""
    assert found(tree) == ["A.PDF", "a.txt", "b.md", "sub/d.html", "sub/deep/e.docx", "z.md"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["*.md"], ["b.md", "z.md"]),
        (["sub/*"], ["sub/d.html"]),
        (["sub/**"], ["sub/d.html", "sub/deep/e.docx"]),
        (["**/*.docx", "*.png"], ["picture.png", "sub/deep/e.docx"]),
        (["./[ab].*/", "./[ab].*"], ["a.txt", "b.md"]),
        ([], []),
    ],
)
def test_patterns_choose_in_place_of_the_kinds(
    tree: Path, patterns: list[str], expected: list[str]
) -> None:
    """A glob without a slash is matched with names, one with a slash with paths."""
    assert found(tree, patterns) == expected


def test_links_do_not_lead_out_of_the_directory(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A link to a file elsewhere is left out with a warning; linked directories are not entered."""
    (tmp_path / "secret.md").write_text("x")
    (tree / "out.md").symlink_to(tmp_path / "secret.md")
    (tree / "in.md").symlink_to(tree / "b.md")
    (tree / "loop").symlink_to(tree)
    assert found(tree, ["*.md"]) == ["b.md", "in.md", "z.md"]
    assert "out.md" in caplog.text


def test_what_only_looks_like_a_document_is_not_passed_over(tree: Path) -> None:
    """Links to nothing or themselves and pipes are yielded; reading them says what they are."""
    (tree / "dangling.md").symlink_to(tree / "nowhere.md")
    (tree / "loop.md").symlink_to(tree / "loop.md")
    os.mkfifo(tree / "pipe.md")
    assert found(tree, ["*.md"]) == ["b.md", "dangling.md", "loop.md", "pipe.md", "z.md"]
    with pytest.raises(DataError, match="no such file"):
        fingerprint(tree / "dangling.md")
    with pytest.raises(DataError, match="not a regular file"):
        fingerprint(tree / "pipe.md")
    with pytest.raises(DataError, match=r"loop\.md"):
        fingerprint(tree / "loop.md")


def test_a_single_file_is_its_own_directory(tree: Path) -> None:
    """Indexing one file works, and one of another kind is left to the loader to refuse."""
    assert list(find_documents(tree / "b.md")) == [tree / "b.md"]
    assert list(find_documents(tree / "picture.png")) == [tree / "picture.png"]


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    """It is not an empty one."""
    with pytest.raises(DataError, match="no such directory"):
        list(find_documents(tmp_path / "nowhere"))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_directory_that_may_not_be_read_is_an_error(tree: Path) -> None:
    """Passing over it would make its documents look deleted."""
    (tree / "sub").chmod(0)
    try:
        with pytest.raises(DataError, match="no permission"):
            found(tree)
    finally:
        (tree / "sub").chmod(0o755)


def test_fingerprints_go_by_content(tree: Path) -> None:
    """Copies have one fingerprint; touching a file changes nothing."""
    before = fingerprint(tree / "b.md")
    os.utime(tree / "b.md", (1, 1))
    (tree / "copy.md").write_text("b.md")
    assert before == fingerprint(tree / "b.md") == fingerprint(tree / "copy.md")
    assert before != fingerprint(tree / "z.md")


def test_one_pattern_may_stand_alone(tmp_path: Path) -> None:
    """A text is one pattern, and not one for each of its characters, of which ``*`` is all."""
    for name in ("a.md", "b.txt"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in find_documents(tmp_path, "*.md")] == ["a.md"]
