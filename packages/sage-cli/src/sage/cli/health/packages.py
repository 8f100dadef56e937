"""Python, SAGE's own packages, and the optional ones."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from sage.cli.health.finding import Finding, failed, fine, noted

__all__ = ["installed_packages", "optional", "own", "python"]

_OWN = (
    "isage-common",
    "isage-platform",
    "isage-kernel",
    "isage-libs",
    "isage-middleware",
    "isage-gateway",
    "isage-apps",
    "isage-benchmark",
    "isage-studio",
    "isage-cli",
    "isage-tools",
)
_NEEDED = _OWN[:5]

_OPTIONAL = (
    ("chromadb", "the default vector store", "isage-libs[chroma]"),
    ("faiss-cpu", "the FAISS vector store", "isage-libs"),
    ("openvino", "embedding in bfloat16 on CPUs that have it", "isage-libs[openvino]"),
    ("ray", "pipelines on a cluster", "isage-kernel[ray]"),
)


def installed_packages() -> dict[str, str]:
    """Return the version of each of SAGE's packages that is installed, lowest layer first."""
    found = {name: _version(name) for name in _OWN}
    return {name: version for name, version in found.items() if version is not None}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def python() -> Iterator[Finding]:
    """Name the interpreter; an older one than 3.11 could not have read this file."""
    yield fine("python", f"{platform.python_version()} ({sys.executable})")


def own() -> Iterator[Finding]:
    """Check that the core packages are there and that their versions fit together."""
    versions = installed_packages()
    missing = [name for name in _NEEDED if name not in versions]
    if missing:
        yield failed(
            "packages", f"not installed: {', '.join(missing)}", "pip install 'isage[core]'"
        )
    strangers = [f"{n} {v}" for n, v in versions.items() if not v.startswith("1!")]
    if strangers:
        yield failed(
            "packages",
            f"not ours, but of the same name: {', '.join(strangers)}",
            "uninstall them and set SAGE up again with ./quickstart.sh",
        )
    numbers = sorted(set(versions.values()))
    yield fine("packages", f"{len(versions)} of {len(_OWN)} installed, {', '.join(numbers)}")


def optional() -> Iterator[Finding]:
    """Look for the packages that some features need."""
    for name, purpose, extra in _OPTIONAL:
        version = _version(name)
        if version is not None:
            yield fine(name, f"{version}, {purpose}")
        else:
            yield noted(name, f"not installed; it gives {purpose}", f"pip install '{extra}'")
