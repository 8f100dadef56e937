"""The home directory, its disk, the collections in it, and the keys in the environment."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator

from sage.cli.health.finding import Finding, failed, fine, noted
from sage.common.paths import sage_home

__all__ = ["collections", "home", "keys"]

_ENOUGH_BYTES = 500 * 1024 * 1024

# Variable, what it is for, whether its value is no secret and may be shown.
_VARIABLES = (
    ("OPENAI_API_KEY", "the OpenAI-compatible generator", False),
    ("OPENAI_BASE_URL", "another endpoint than OpenAI's", True),
)


def home(directory: str | os.PathLike[str] | None = None) -> Iterator[Finding]:
    """Check that SAGE's data can be written, by writing, and that the disk has room."""
    path = sage_home(directory)
    origin = "--home" if directory else "$SAGE_HOME" if os.environ.get("SAGE_HOME") else "default"
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        yield failed(
            "home", f"{path} ({origin}): {reason}", "set SAGE_HOME to a directory of yours"
        )
        return
    free = shutil.disk_usage(existing).free
    detail = f"{path} ({origin}), {free / 1024**3:.1f} GiB free"
    if free < _ENOUGH_BYTES:
        yield noted("home", detail, "free some space before indexing")
    else:
        yield fine("home", detail)


def collections(directory: str | os.PathLike[str] | None = None) -> Iterator[Finding]:
    """Name the collections that can be asked."""
    from sage.libs.collection import Collection

    names = Collection.names(directory)
    if names:
        yield fine("collections", ", ".join(names))
    else:
        yield noted("collections", "none yet", "sage index DIR")


def keys() -> Iterator[Finding]:
    """Say which variables are set; the value of a secret is never shown."""
    for variable, purpose, is_public in _VARIABLES:
        value = os.environ.get(variable)
        if value:
            yield fine(variable, value if is_public else f"set, for {purpose}")
        elif is_public:
            yield fine(variable, f"not set; it would name {purpose}")
        else:
            yield noted(
                variable,
                f"not set; {purpose} needs it",
                f"export {variable}=..., or stay with --generator extractive",
            )
