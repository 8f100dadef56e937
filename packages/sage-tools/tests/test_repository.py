"""Finding the checkout and what is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.tools.repository import NotARepositoryError, Repository


def test_the_checkout_is_found_from_below(repository: Repository) -> None:
    """Any directory inside the checkout leads to its root."""
    assert Repository.find(Path(__file__).parent).root == repository.root


def test_outside_a_checkout_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    """A directory that is no checkout is refused by name, with a hint."""
    with pytest.raises(NotARepositoryError, match="--root") as caught:
        Repository.find(tmp_path)
    assert caught.value.fields["path"] == str(tmp_path)


def test_the_eleven_portions_are_known(repository: Repository) -> None:
    """Every distribution with code is a portion, and the metapackage is none."""
    names = "apps benchmark cli common gateway kernel libs middleware platform studio tools"
    assert [portion.name for portion in repository.portions] == [
        f"sage.{name}" for name in names.split()
    ]


def test_a_copied_tree_comes_before_what_is_installed(copied_tree: Repository) -> None:
    """The environment of a checkout has its own sources first, and no others of ours."""
    path = copied_tree.environment()["PYTHONPATH"]
    assert path.startswith(str(copied_tree.root))
    assert path == copied_tree.environment()["MYPYPATH"]
