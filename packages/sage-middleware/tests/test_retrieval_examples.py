"""The examples of retrieval run, offline, and print what their first lines promise."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / "examples" / "retrieval").glob("*.py"))
PAGE = ROOT / "docs-public" / "how-to" / "retrieval-recipes.md"
NEEDS_CHROMA = {"distributed_index", "hierarchical", "multi_source", "reranking"}


def promised(example: Path) -> list[str]:
    """Return the lines below ``It prints:`` in an example's docstring."""
    docstring = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
    _, marker, shown = docstring.partition("It prints:\n\n")
    assert marker, f"{example.name} does not say what it prints"
    return [line.removeprefix("    ") for line in shown.splitlines()]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_it_says(
    example: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What its docstring says that it prints is what it prints, without a key or a server."""
    if example.stem in NEEDS_CHROMA:
        pytest.importorskip("chromadb", reason="isage-libs[chroma] is not installed")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "VLLM_API_KEY", "VLLM_BASE_URL"):
        monkeypatch.setenv(name, "")  # put back, whatever the example sets
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    expected = promised(example)
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out.splitlines() == expected


def test_the_page_of_recipes_lists_every_example() -> None:
    """Each example has its row on the page, and each row an example that is there."""
    listed = re.findall(r"`examples/retrieval/(\w+)\.py`", PAGE.read_text(encoding="utf-8"))
    assert set(listed) == {path.stem for path in EXAMPLES}
