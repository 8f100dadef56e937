"""The checkout that ``sage-dev`` works on: its root and the packages in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sage.common.errors import SageError

__all__ = ["NotARepositoryError", "Portion", "Repository"]


class NotARepositoryError(SageError):
    """The directory is not inside a checkout of SAGE."""

    code = "not-a-repository"


@dataclass(frozen=True)
class Portion:
    """One distribution's part of the ``sage`` namespace.

    Args:
        name: The dotted name it imports as, such as ``sage.kernel``.
        source: The directory that goes on ``sys.path``, such as ``packages/sage-kernel/src``.
    """

    name: str
    source: Path

    @property
    def directory(self) -> Path:
        """The directory of the portion's own modules."""
        return self.source.joinpath(*self.name.split("."))


@dataclass(frozen=True)
class Repository:
    """A checkout of SAGE, or a copy of one."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Repository:
        """Return the checkout that holds `start` (default: the working directory).

        Raises:
            NotARepositoryError: if neither `start` nor a directory above it is a checkout.
        """
        here = (start or Path.cwd()).resolve()
        for directory in (here, *here.parents):
            if (directory / "packages" / "sage-common" / "pyproject.toml").is_file():
                return cls(directory)
        raise NotARepositoryError(
            f"no checkout of SAGE at {str(here)!r} or above it",
            hint="change into the checkout, or name it with --root",
            path=str(here),
        )

    @property
    def portions(self) -> list[Portion]:
        """Every portion of the namespace, by name; the metapackage has none."""
        sources = sorted((self.root / "packages").glob("sage-*/src"))
        return [Portion(f"sage.{path.parent.name.removeprefix('sage-')}", path) for path in sources]

    def environment(self) -> dict[str, str]:
        """Return the environment in which Python sees this checkout's sources before any other.

        It matters for a copied tree: the environment's own installation is of the original.
        """
        path = os.pathsep.join(str(portion.source) for portion in self.portions)
        return {**os.environ, "PYTHONPATH": path, "MYPYPATH": path}
