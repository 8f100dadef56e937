"""Finding the checkout and what is in it."""

from __future__ import annotations

import re
import tomllib
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


def test_the_top_level_holds_what_a_visitor_looks_for(repository: Repository) -> None:
    """Files and folders that the documentation sends people to."""
    wanted = (
        *["packages", "tools", "examples", "docs-public", "quickstart.sh", "Makefile"],
        *["pyproject.toml", ".env.template", "CONTRIBUTING.md", "README.md", "LICENSE"],
        *["CHANGELOG.md", ".ci/run"],
    )
    assert [name for name in wanted if not (repository.root / name).exists()] == []


def test_the_first_screen_says_what_sage_is_and_how_to_begin(repository: Repository) -> None:
    """What it is, the two commands and the pipeline come before one has to scroll."""
    screen = (repository.root / "README.md").read_text(encoding="utf-8").splitlines()[:40]
    text = "\n".join(screen)
    assert "Streaming-Augmented Generative Execution" in text
    for part in ("./quickstart.sh demo", "./quickstart.sh test", "env.execute()"):
        assert part in text


def test_constraints_are_versions_and_name_no_index(repository: Repository) -> None:
    """Every line pins one name, so that the packages come from whatever index is configured."""
    lines = (repository.root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.!+-]+(?: *;.*)?", pin)] == []
    assert not any("://" in line for line in lines)


def test_torch_comes_only_when_it_is_asked_for(repository: Repository) -> None:
    """No distribution requires PyTorch, or what would bring it, but under the extra of its name."""
    heavy = re.compile(r"(torch|sentence[-_]transformers|transformers|gt[-_]all)\b")
    for path in sorted((repository.root / "packages").glob("*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        groups = {"": project.get("dependencies", []), **project.get("optional-dependencies", {})}
        named = [r for extra, group in groups.items() if extra != "torch" for r in group]
        assert [requirement for requirement in named if heavy.match(requirement)] == [], path
