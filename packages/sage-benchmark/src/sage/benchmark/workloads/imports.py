"""The import row: what ``import sage.kernel`` costs a fresh interpreter, and what is on disk."""

from __future__ import annotations

import importlib.util
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target

__all__ = ["ROW", "bare", "installed_bytes", "measure", "sage"]


def bare() -> tuple[str, str | None]:
    """An interpreter that imports nothing."""
    return "pass", None


def sage() -> tuple[str, str | None]:
    """SAGE's engine."""
    return "import sage.kernel", "isage-kernel"


def bytewax() -> tuple[str, str | None]:
    """What a bytewax script imports."""
    code = "import bytewax.dataflow, bytewax.operators, bytewax.testing"
    return code, "bytewax"


def streamz() -> tuple[str, str | None]:
    """What a streamz script imports."""
    return "import streamz", "streamz"


def pathway() -> tuple[str, str | None]:
    """What a pathway script imports."""
    return "import pathway", "pathway"


def ray_data() -> tuple[str, str | None]:
    """What a Ray Data script imports."""
    return "import ray.data", "ray"


def measure(contestant: Callable[[], tuple[str, str | None]], request: Request) -> Sample:
    """Time ``size`` fresh interpreters from start to end, after one that fills the file cache."""
    code, name = contestant()
    walls = []
    for _ in range(request["size"] + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        walls.append(time.perf_counter() - started)
    sample: Sample = {"wall_ms": statistics.median(walls[1:]) * 1000}
    if name is not None:
        sample["size_mb"] = sum(installed_bytes(n) for n in _with_requirements(name)) / 1e6
    return sample


def _with_requirements(name: str) -> set[str]:
    """Return a distribution and all that it requires, as far as it is installed; no extras."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found.add(name)
        wanted = (r for r in requirements if "extra ==" not in r)
        waiting += [match[0] for r in wanted if (match := re.match(r"[A-Za-z0-9._-]+", r))]
    return found


def installed_bytes(name: str) -> int:
    """Return how much a distribution takes on disk, compiled files left out."""
    dist = distribution(name)
    if name.startswith("isage-"):  # editable in a checkout: its files are elsewhere
        return _tree_bytes(f"sage.{name.removeprefix('isage-')}")
    files = dist.files or []
    paths = [str(dist.locate_file(file)) for file in files if file.suffix != ".pyc"]
    return sum(os.path.getsize(path) for path in paths if os.path.isfile(path))


def _tree_bytes(package: str) -> int:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return 0
    return sum(
        os.path.getsize(os.path.join(directory, file))
        for directory, _, files in os.walk(os.path.dirname(spec.origin))
        for file in files
        if not file.endswith(".pyc")
    )


_HERE = "sage.benchmark.workloads.imports"

ROW = Row(
    key="import",
    title="start-up: a fresh interpreter that only imports, and the size on disk",
    limit="an interpreter that imports nothing",
    measure=f"{_HERE}:measure",
    size=4,
    quick_size=1,
    contestants=(
        Contestant(name="bare Python", target=f"{_HERE}:bare", role=Role.LIMIT),
        Contestant(name="SAGE", target=f"{_HERE}:sage", role=Role.SAGE, judged=True),
        Contestant(name="bytewax", target=f"{_HERE}:bytewax", role=Role.PEER, needs="bytewax"),
        Contestant(name="streamz", target=f"{_HERE}:streamz", role=Role.PEER, needs="streamz"),
        Contestant(name="pathway", target=f"{_HERE}:pathway", role=Role.PEER, needs="pathway"),
        Contestant(name="Ray Data", target=f"{_HERE}:ray_data", role=Role.PEER, needs="ray"),
    ),
    figures=(
        Figure(key="wall_ms", label="ms", digits=0),
        Figure(key="size_mb", label="MB with requirements", digits=1),
    ),
    targets=(Target(figure="wall_ms", must=120, aim=80, at_most=True),),
    compares_output=False,
    charted="wall_ms",
)
