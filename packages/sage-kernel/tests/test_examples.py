"""The examples of the verbs run, and print what their first lines promise."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[3] / "examples" / "kernel").glob("*.py"))
LONGEST = 40


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_it_says(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is below ``It prints:`` in its docstring is what it prints, to the letter."""
    docstring = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
    _, marker, promised = docstring.partition("It prints:\n\n")
    assert marker, f"{example.name} does not say what it prints"
    runpy.run_path(str(example), run_name="__main__")
    shown = [line.removeprefix("    ") for line in promised.splitlines()]
    assert capsys.readouterr().out.splitlines() == shown


def test_examples_are_short() -> None:
    """An example fits on a screen; there is one for each group of verbs."""
    assert len(EXAMPLES) >= 10
    too_long = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES}
    assert {name: lines for name, lines in too_long.items() if lines >= LONGEST} == {}
