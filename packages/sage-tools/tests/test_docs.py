"""The documentation's build is strict."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sage.tools.docs import build_docs
from sage.tools.repository import Repository


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Repository:
    """A checkout whose documentation is one page that links to another."""
    settings = (repository.root / "mkdocs.yml").read_text(encoding="utf-8")
    # The navigation names the real pages, which are not here.
    without_navigation = re.sub(r"^nav:\n(?:[ -].*\n|\n)*", "", settings, flags=re.MULTILINE)
    (tmp_path / "mkdocs.yml").write_text(without_navigation, encoding="utf-8")
    pages = tmp_path / "docs-public"
    pages.mkdir()
    (pages / "index.md").write_text("# First\n\n[second](second.md)\n", encoding="utf-8")
    (pages / "second.md").write_text("# Second\n", encoding="utf-8")
    return Repository(tmp_path)


def test_whole_documentation_is_built(site: Repository) -> None:
    """Every page becomes a page of the site."""
    assert build_docs(site).passed
    assert (site.root / "site" / "second" / "index.html").is_file()


@pytest.mark.parametrize("target", ["missing.md", "second.md#missing"])
def test_a_dead_link_is_red(site: Repository, target: str) -> None:
    """A link to a page or a heading that is not there fails the build and is named."""
    page = site.root / "docs-public" / "index.md"
    page.write_text(f"# First\n\n[there]({target})\n", encoding="utf-8")
    outcome = build_docs(site)
    assert not outcome.passed
    assert target in outcome.output
