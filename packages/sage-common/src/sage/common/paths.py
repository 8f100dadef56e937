"""Where SAGE keeps its data: one home directory, moved by ``SAGE_HOME``."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_dir", "collections_dir", "sage_home"]


def sage_home(home: str | os.PathLike[str] | None = None) -> Path:
    """Return the directory that holds SAGE's data; it need not exist yet.

    Args:
        home: A directory that overrides the environment, such as the value of ``--home``.

    Returns:
        ``home`` if given, else ``$SAGE_HOME`` if set, else ``~/.sage``.
    """
    chosen = home or os.environ.get("SAGE_HOME") or "~/.sage"
    return Path(chosen).expanduser()


def collections_dir(home: str | os.PathLike[str] | None = None) -> Path:
    """Return the directory with one sub-directory for each document collection."""
    return sage_home(home) / "collections"


def cache_dir(home: str | os.PathLike[str] | None = None) -> Path:
    """Return the directory of what can be made again: converted weights, compiled chains."""
    return sage_home(home) / "cache"
