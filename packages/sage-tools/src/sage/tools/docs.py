"""The documentation as a site, built so that a dead link or a missing page is an error."""

from __future__ import annotations

from sage.tools.process import Outcome, run
from sage.tools.repository import Repository

__all__ = ["build_docs"]


def build_docs(repository: Repository) -> Outcome:
    """Build ``docs-public`` into ``site/``."""
    return run(
        "documentation",
        # Not --quiet: it silences the warnings before --strict can count them.
        ["-m", "mkdocs", "build", "--strict"],
        cwd=repository.root,
        # mkdocs-material announces its successor on every build; the version is pinned.
        environment={**repository.environment(), "NO_MKDOCS_2_WARNING": "1"},
    )
