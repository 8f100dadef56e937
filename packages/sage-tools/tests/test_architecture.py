"""The architecture check sees what it is there to see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sage.tools.architecture import PACKAGES_RULE, check_architecture
from sage.tools.main import app
from sage.tools.repository import Repository

LAYERS = "Lower layers never import higher ones"
KERNEL_AND_LIBS = "The kernel and the libs do not import each other"
MIDDLEWARE = "The middleware does not import the gateway, which may import it"
OUTERMOST = (
    "The cli reaches studio and tools only by entry point, and they do not import each other"
)
FASTAPI = "FastAPI stays in gateway and studio"
TYPER = "Typer stays in cli and tools"
RAY = "Ray stays in sage.kernel.runtime.ray, and in the benchmark as a peer to compare with"


def plant(repository: Repository, module: str, code: str) -> Path:
    """Add `code` at the end of `module`, which is made if it is not there."""
    name = ".".join(module.split(".")[:2])
    [portion] = [portion for portion in repository.portions if portion.name == name]
    path = portion.source.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n\n{code}\n")
    return path


def broken(repository: Repository) -> set[str]:
    """Return the sentences of the contracts that `repository` breaks."""
    report = check_architecture(repository)
    assert report.outcome.passed == all(report.contracts.values())
    return {sentence for sentence, kept in report.contracts.items() if not kept}


def test_a_copied_tree_as_it_stands_is_green(copied_tree: Repository) -> None:
    """The checkout keeps every contract, and every contract is reported."""
    report = check_architecture(copied_tree)
    assert report.outcome.passed, report.outcome.output
    sentences = {LAYERS, KERNEL_AND_LIBS, MIDDLEWARE, OUTERMOST, FASTAPI, TYPER, RAY, PACKAGES_RULE}
    assert sentences <= set(report.contracts)


@pytest.mark.parametrize(
    ("module", "code", "sentence"),
    [
        ("sage.common.planted", "import sage.kernel", LAYERS),
        ("sage.common", "from sage.platform import __doc__ as _planted", LAYERS),
        ("sage.platform.planted", "def f():\n    from sage import libs\n    return libs", LAYERS),
        (
            "sage.kernel.planted",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sage.middleware",
            LAYERS,
        ),
        ("sage.kernel", "def f():\n    import sage.libs", KERNEL_AND_LIBS),
        ("sage.middleware.planted", "import sage.gateway", MIDDLEWARE),
        ("sage.cli.planted", "def f():\n    import sage.tools.main", OUTERMOST),
        ("sage.kernel.planted", "def f():\n    import fastapi", FASTAPI),
        ("sage.libs", "from typer import Option as _planted", TYPER),
        ("sage.middleware.planted", "def f():\n    from ray.util import queue", RAY),
        ("sage.kernel.planted", "import ray", RAY),
    ],
    ids=lambda value: value if str(value).startswith("sage.") else "",
)
def test_a_planted_import_is_found(
    copied_tree: Repository, module: str, code: str, sentence: str
) -> None:
    """A forbidden import is red wherever it hides: in a function, an `__init__`, a type check."""
    plant(copied_tree, module, code)
    assert sentence in broken(copied_tree)


def test_what_is_excepted_is_green(copied_tree: Repository) -> None:
    """The gateway may use the middleware and FastAPI, the Ray runtime and the benchmark Ray."""
    plant(copied_tree, "sage.gateway.planted", "import fastapi\nimport sage.middleware")
    plant(copied_tree, "sage.kernel.runtime.ray.planted", "import ray")
    for package in ("sage.kernel.runtime.ray", "sage.kernel.runtime"):
        plant(copied_tree, f"{package}.__init__", "")
    plant(copied_tree, "sage.benchmark.planted", "import ray.data")
    assert broken(copied_tree) == set()


def test_a_namespace_that_is_a_package_is_found(copied_tree: Repository) -> None:
    """An `__init__` at the namespace's root, which would hide the other portions, is red."""
    (copied_tree.portions[0].source / "sage" / "__init__.py").touch()
    assert PACKAGES_RULE in broken(copied_tree)


def test_a_folder_without_init_is_found(copied_tree: Repository) -> None:
    """Modules in a folder that is no package are red, wherever the folder is."""
    folder = copied_tree.portions[0].directory / "planted"
    folder.mkdir()
    (folder / "module.py").touch()
    assert broken(copied_tree) == {PACKAGES_RULE}


def test_the_command_says_which_import_is_at_fault(copied_tree: Repository) -> None:
    """`sage-dev architecture` fails and names both ends of the import."""
    plant(copied_tree, "sage.common.planted", "import sage.kernel")
    result = CliRunner().invoke(app, ["architecture", "--root", str(copied_tree.root), "--json"])
    report = json.loads(result.output)
    assert result.exit_code == 1
    assert report["contracts"][LAYERS] is False
    assert "sage.common.planted -> sage.kernel" in report["output"]
