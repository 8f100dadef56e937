"""The pipeline of the first page, run as users run it: unchanged, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sage.common.records import Chunk, Document
from sage.libs.collection import Collection
from sage.libs.embedding import load_embedder
from sage.libs.generation.testing import FakeOpenAIServer, Reply

# As it has stood on the project's first page from the beginning.
SEED = """
from sage.kernel.api.local_environment import LocalEnvironment
from sage.libs.io.source import FileSource
from sage.middleware.operators.rag import DenseRetriever, QAPromptor, OpenAIGenerator
from sage.libs.io.sink import TerminalSink

# Create execution environment
env = LocalEnvironment("rag_pipeline")

# Build declarative pipeline
(
    env.from_source(FileSource, {"file_path": "questions.txt"})
    .map(DenseRetriever, {"model": "sentence-transformers/all-MiniLM-L6-v2"})
    .map(QAPromptor, {"template": "Answer based on context: {context}\\nQ: {query}\\nA:"})
    .map(OpenAIGenerator, {"model": "gpt-3.5-turbo"})
    .sink(TerminalSink)
)

# Execute pipeline
env.submit()
"""

REPOSITORY = next(
    (p for p in Path(__file__).resolve().parents if (p / "examples/rag/quickstart.py").exists()),
    None,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the collection ``default``: one document in two pieces."""
    path = tmp_path_factory.mktemp("home")
    texts = ["Water boils at 100 degrees.", "Iron rusts in wet air."]
    chunks = [Chunk(t, t, "a", n, n + 1, "a.md", {"line": n + 1}) for n, t in enumerate(texts)]
    with Collection.update("default", store="numpy", home=path) as writer:
        writer.add(Document("x", "a", "a.md"), "1", chunks, load_embedder().embed(texts))
        writer.commit()
    return path


def run(
    script: str | Path, where: Path, home: Path, *arguments: str, **variables: str
) -> tuple[int, str, str]:
    """Run a script in ``where`` and return its exit code and what it printed."""
    given = [str(script)] if isinstance(script, Path) else ["-c", script]
    keep = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
    done = subprocess.run(
        [sys.executable, *given, *arguments],
        cwd=where,
        env={**keep, "SAGE_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A working directory with two questions."""
    (tmp_path / "questions.txt").write_text("When does water boil?\nWhat does iron do?\n")
    return tmp_path


def test_the_first_page_runs_unchanged(desk: Path, home: Path) -> None:
    """Questions of a file are answered by an endpoint from the collection, with citations."""
    with FakeOpenAIServer(["At 100 degrees [1].", "It rusts [1][9]."]) as server:
        code, printed, said = run(SEED, desk, home, OPENAI_BASE_URL=server.base_url)
        sent = [request.body for request in server.requests]
    assert (code, said) == (0, "")
    assert "At 100 degrees [1]." in printed
    assert "[1] a.md:1" in printed
    assert "It rusts [1]." in printed
    assert [body["model"] for body in sent] == ["gpt-3.5-turbo"] * 2
    question = sent[0]["messages"][-1]["content"]
    assert question.startswith("Answer based on context: [1] (a.md:1) Water boils at 100 degrees.")
    assert question.endswith("Q: When does water boil?\nA:")


def test_an_endpoint_that_fails_makes_the_script_fail(desk: Path, home: Path) -> None:
    """The job's error is printed, and the exit code says so."""
    with FakeOpenAIServer([Reply(["no such model"], status=404)]) as server:
        code, printed, said = run(SEED, desk, home, OPENAI_BASE_URL=server.base_url)
    assert code != 0
    assert "no such model" in said
    assert "degrees" not in printed


def test_a_missing_collection_is_told_with_the_command_that_makes_it(
    desk: Path, tmp_path: Path
) -> None:
    """Without an index the script fails and names ``sage index``."""
    with FakeOpenAIServer() as server:
        code, _, said = run(SEED, desk, tmp_path / "empty", OPENAI_BASE_URL=server.base_url)
        assert server.requests == []
    assert code != 0
    assert "sage index" in said


@pytest.mark.skipif(REPOSITORY is None, reason="the examples are not part of the distribution")
class TestExample:
    """``examples/rag/quickstart.py``."""

    def test_its_pipeline_is_the_seeds(self) -> None:
        """The example holds the pipeline to the letter."""
        assert REPOSITORY is not None
        lines = (REPOSITORY / "examples/rag/quickstart.py").read_text().splitlines()
        held = {line.strip() for line in lines}
        pipeline = SEED[SEED.index("# Create") :]
        assert [line for line in pipeline.splitlines() if line.strip() not in held] == []

    def test_without_a_key_it_says_what_is_missing_and_how_to_go_on(self, home: Path) -> None:
        """One screen: the variable, the offline way; no traceback, and a failing exit code."""
        assert REPOSITORY is not None
        example = REPOSITORY / "examples/rag/quickstart.py"
        code, printed, said = run(example, REPOSITORY, home)
        assert code != 0
        assert "OPENAI_API_KEY" in said
        assert "--offline" in said
        assert "Traceback" not in said
        assert len((printed + said).splitlines()) < 10

    def test_offline_it_quotes(self, home: Path) -> None:
        """With --offline it answers without key or network."""
        assert REPOSITORY is not None
        example = REPOSITORY / "examples/rag/quickstart.py"
        code, printed, said = run(example, REPOSITORY, home, "--offline")
        assert (code, said) == (0, "")
        questions = (REPOSITORY / "examples/rag/questions.txt").read_text().splitlines()
        assert [q for q in questions if q not in printed] == []
