"""The quality check is red where it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.tools.process import run
from sage.tools.quality import check_types, check_typing_tests
from sage.tools.repository import Repository


@pytest.fixture
def tiny(tmp_path: Path) -> Repository:
    """A checkout with one portion, whose types are wrong in one place."""
    portion = tmp_path / "packages" / "sage-tiny" / "src" / "sage" / "tiny"
    portion.mkdir(parents=True)
    (portion / "__init__.py").write_text("", encoding="utf-8")
    (portion / "size.py").write_text('def size() -> int:\n    return "2"\n', encoding="utf-8")
    return Repository(tmp_path)


def test_a_wrong_type_is_red_under_the_imported_name(tiny: Repository) -> None:
    """mypy reads the portion's sources and says where the fault is."""
    outcome = check_types(tiny)
    assert not outcome.passed
    assert "sage/tiny/size.py:2: error" in outcome.output


def test_a_typing_test_that_no_longer_holds_is_red(tiny: Repository) -> None:
    """What `tests/typing` asserts of a public type is checked."""
    folder = tiny.root / "packages" / "sage-tiny" / "tests" / "typing"
    folder.mkdir(parents=True)
    (folder / "sizes.py").write_text(
        "from typing import assert_type\nfrom sage.tiny.size import size\n"
        "assert_type(size(), str)\n",
        encoding="utf-8",
    )
    outcome = check_typing_tests(tiny)
    assert outcome is not None
    assert "sizes.py:3: error" in outcome.output


def test_without_typing_tests_nothing_is_claimed(tiny: Repository) -> None:
    """A check that had nothing to look at is not reported as passed."""
    assert check_typing_tests(tiny) is None


def test_an_outcome_has_what_the_program_said(tmp_path: Path) -> None:
    """Both streams are kept, and the exit code decides."""
    code = "import sys; print('out'); sys.exit('err')"
    outcome = run("sample", ["-c", code], cwd=tmp_path, environment={})
    assert not outcome.passed
    assert set(outcome.output.split()) == {"out", "err"}
