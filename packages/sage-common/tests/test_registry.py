"""The registry: components by name, imported when they are asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sage.common.errors import DuplicateNameError, MissingExtraError, UnknownNameError
from sage.common.registry import GROUPS, Registry, registry


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory on the search path with a distribution that registers stores."""
    info = tmp_path / "foreign-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[sage.vector_stores]\nneeds_more = foreign_of_the_test.needy:Store\n"
        "fine = foreign_of_the_test.fine:Store\n"
    )
    package = tmp_path / "foreign_of_the_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "needy.py").write_text("import a_package_that_nobody_has.part\n")
    (package / "fine.py").write_text('class Store:\n    """Keeps.\n\n    More."""\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    yield info
    for name in [name for name in sys.modules if name.startswith("foreign_of_the_test")]:
        del sys.modules[name]


def test_an_unknown_name_gets_a_suggestion() -> None:
    """A mistyped name says what is known."""
    own = Registry("operators")
    own.add("retriever_of_the_test", object())
    with pytest.raises(UnknownNameError, match="did you mean 'retriever_of_the_test'"):
        own.get("retriver_of_the_test")
    with pytest.raises(UnknownNameError, match="did you mean 'operators'"):
        registry("operator")
    assert "operators" in GROUPS


def test_a_name_is_given_once() -> None:
    """A second component under a taken name is refused; the same one again is none."""
    own, component = Registry("sinks"), object()
    own.add("sink_of_the_test", component)
    own.add("sink_of_the_test", component)
    with pytest.raises(DuplicateNameError, match="sink_of_the_test"):
        own.add("sink_of_the_test", object())


def test_entry_points_are_found_and_imported_late(installed: Path) -> None:
    """Installing a package is enough; looking at the names imports none of them."""
    stores = Registry("vector_stores")
    assert {"fine", "needs_more"} <= set(stores)
    assert not any(name.startswith("foreign_of_the_test") for name in sys.modules)
    assert stores.summary("fine") == "Keeps."


def test_a_component_whose_library_is_missing_says_what_to_install(installed: Path) -> None:
    """Nobody meets a bare ModuleNotFoundError."""
    with pytest.raises(MissingExtraError, match="a_package_that_nobody_has") as caught:
        Registry("vector_stores").get("needs_more")
    assert caught.value.hint == "pip install 'foreign'"


def test_two_packages_with_one_name_are_named_both(installed: Path) -> None:
    """A clash is an error that says who clashes, not a matter of installation order."""
    second = installed.parent / "other-1.0.dist-info"
    second.mkdir()
    (second / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (second / "entry_points.txt").write_text("[sage.vector_stores]\nfine = other_one:Store\n")
    with pytest.raises(DuplicateNameError, match="other_one:Store"):
        Registry("vector_stores").names()
