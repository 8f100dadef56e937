"""The distributions build, hold what they should, and work where nothing else of ours is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest

from sage.tools.repository import Repository

CORE = ["common", "platform", "kernel", "libs", "middleware"]
LIMIT_BYTES = 350_000_000
PIPELINE = """
import json, sys
import sage.common, sage.kernel, sage.libs, sage.middleware, sage.platform
from sage.kernel import LocalEnvironment

from sage.common.errors import MissingExtraError
from sage.libs.vectors import default_store_kind, open_store

def double(number):
    return number * 2

try:
    chroma = str(open_store("chroma", None, dim=2))
except MissingExtraError as error:
    chroma = str(error)

modules = [sage.common, sage.kernel, sage.libs, sage.middleware, sage.platform]
print(json.dumps({
    "result": LocalEnvironment().from_collection([1, 2, 3]).map(double).collect(),
    "default_store": default_store_kind(),
    "chroma": chroma,
    "files": [module.__file__ for module in modules],
}))
"""

pytestmark = pytest.mark.slow


def call(*command: str | Path, cwd: Path) -> str:
    """Run `command` without our sources on its path, and return what it printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MYPY"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def metadata(wheel: Path) -> Message:
    """Return the metadata that an installer reads from `wheel`."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return HeaderParser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def built(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist of each distribution, and the wheel built from that sdist."""
    target = tmp_path_factory.mktemp("dist")
    for package in sorted((repository.root / "packages").iterdir()):
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", target, package]
        call(*build, cwd=target)
    return target


@pytest.fixture(scope="module")
def wheelhouse(built: Path, repository: Repository) -> Path:
    """`built`, what `isage[core]` needs from others, and foreign distributions of our names."""
    constraints = repository.root / "constraints.txt"
    pip = [sys.executable, "-m", "pip", "download", "-q", "--only-binary", ":all:"]
    places = ["--find-links", built, "--dest", built, "-c", constraints]
    call(*pip, *places, "isage[core]==1!0.1.0", cwd=built)
    for name in ("isage", *(f"isage_{layer}" for layer in CORE)):
        foreign_wheel(built, name)
    return built


def foreign_wheel(directory: Path, name: str) -> None:
    """Write a wheel of another project's distribution: our name, a higher number, no epoch."""
    info = f"{name}-99.0.dist-info"
    with zipfile.ZipFile(directory / f"{name}-99.0-py3-none-any.whl", "w") as archive:
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_each_distribution_builds_to_wheel_and_sdist(built: Path, repository: Repository) -> None:
    """Twelve of each, named after their packages."""
    folders = [path.name for path in (repository.root / "packages").iterdir()]
    names = sorted("i" + name.replace("-", "_") for name in folders)
    assert sorted(path.name.split("-")[0] for path in built.glob("*.whl")) == names
    assert sorted(path.name.split("-")[0] for path in built.glob("*.tar.gz")) == names


def test_a_wheel_holds_its_portion_and_nothing_else(built: Path, repository: Repository) -> None:
    """Own modules, the marker for types, the licence; no root `__init__`, no test."""
    for portion in repository.portions:
        name = portion.name.removeprefix("sage.")
        [wheel] = built.glob(f"isage_{name}-1*.whl")
        files = zipfile.ZipFile(wheel).namelist()
        assert f"sage/{name}/py.typed" in files
        assert any(file.endswith("licenses/LICENSE") for file in files)
        assert all(file.startswith((f"sage/{name}/", "isage_")) for file in files)


def test_an_sdist_holds_the_tests(built: Path, repository: Repository) -> None:
    """Whoever gets the sources gets what checks them."""
    [sdist] = built.glob("isage_tools-1*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("tests/test_packaging.py") for name in archive.getnames())


def test_pins_between_ours_cannot_match_foreign_distributions(built: Path) -> None:
    """Each requirement on a distribution of ours asks for the epoch and for one minor release."""
    requirements = [
        requirement
        for wheel in built.glob("isage*-1*.whl")
        for requirement in metadata(wheel).get_all("Requires-Dist", [])
        if requirement.startswith("isage")
    ]
    assert len(requirements) > 40
    for requirement in requirements:
        bounds = requirement.partition(";")[0].strip()
        assert bounds.endswith("<1!0.2,>=1!0.1"), requirement


def test_core_works_from_local_files_in_an_empty_environment(
    wheelhouse: Path, tmp_path: Path
) -> None:
    """`isage[core]` installs without an index, is small enough, and runs a pipeline.

    Chroma is really missing there: it is not the default, and asking for it names the extra.
    """
    home = tmp_path / "empty"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index"]
    call(
        *pip, "--no-compile", "--find-links", wheelhouse, "isage[core]>=1!0.1,<1!0.2", cwd=tmp_path
    )

    said = json.loads(call(python, "-I", "-c", PIPELINE, cwd=tmp_path))
    assert said["result"] == [2, 4, 6]
    assert said["default_store"] == "faiss"
    assert "pip install 'isage-libs[chroma]'" in said["chroma"]
    assert all(Path(file).is_relative_to(home) for file in said["files"]), said["files"]
    size = sum(path.lstat().st_size for path in home.rglob("*") if path.is_file())
    assert size < LIMIT_BYTES, f"{size / 1e6:.0f} MB"
