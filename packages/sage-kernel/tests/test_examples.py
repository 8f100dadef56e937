"""The examples of the verbs run, and print what their first lines promise."""

from __future__ import annotations

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[3] / "examples" / "kernel").glob("*.py"))
ON_RAY = [path for path in EXAMPLES if "RemoteEnvironment" in path.read_text(encoding="utf-8")]
HERE = [path for path in EXAMPLES if path not in ON_RAY]
LONGEST = 40


def promised(example: Path) -> list[str]:
    """Return the lines below ``It prints:`` in an example's docstring."""
    docstring = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
    _, marker, shown = docstring.partition("It prints:\n\n")
    assert marker, f"{example.name} does not say what it prints"
    return [line.removeprefix("    ") for line in shown.splitlines()]


@pytest.mark.parametrize("example", HERE, ids=lambda path: path.stem)
def test_an_example_prints_what_it_says(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What its docstring says that it prints is what it prints, to the letter."""
    expected = promised(example)
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out.splitlines() == expected


@pytest.mark.slow
@pytest.mark.parametrize("example", ON_RAY, ids=lambda path: path.stem)
def test_an_example_on_ray_prints_what_it_says(example: Path, tmp_path: Path) -> None:
    """The same, in a process of its own, which starts Ray and ends it."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'isage-kernel[ray]'")
    done = subprocess.run(
        [sys.executable, str(example)], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == promised(example)


def test_examples_are_short() -> None:
    """An example fits on a screen; there is one for each group of verbs."""
    assert len(EXAMPLES) >= 10
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES}
    assert {name: count for name, count in lines.items() if count >= LONGEST} == {}
