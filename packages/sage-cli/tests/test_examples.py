"""The examples that the README names run as they are told to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture
def example(tmp_path):
    """Run an example in a process of its own, in a directory of its own, without keys."""
    left_out = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(EXAMPLES / name), *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**kept, "SAGE_HOME": str(tmp_path / "home"), "COLUMNS": "100"},
            timeout=300,
        )

    return run


def test_hello_world_works_at_once(example):
    """Ten lines, no set-up."""
    done = example("tutorials/hello_world.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Hello, The World!\nHello, A Stream!\n"


def test_the_quickstart_without_a_key_says_which_and_how_to_go_on(example):
    """The pipeline of the README fails before it does anything, in words."""
    done = example("rag/quickstart.py")
    assert done.returncode != 0
    assert "OPENAI_API_KEY" in done.stderr
    assert "--offline" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_demo_answers_every_question_with_citations(example):
    """Each question of the file gets an answer with a place, then comes the plan."""
    done = example("rag/demo.py")
    assert done.returncode == 0, done.stderr
    questions = (EXAMPLES / "rag" / "questions.txt").read_text(encoding="utf-8").splitlines()
    for question in filter(None, questions):
        _, _, after = done.stdout.partition(f"\n{question}")
        answer = after.partition("total ")[0]
        assert "[1]" in answer or ".md:" in answer, question
        assert "retrieve" in answer, question
    assert "questions → not blank → retrieve → prompt → answer → show" in done.stdout
    assert example("rag/demo.py").stdout.count("unchanged") == 1
