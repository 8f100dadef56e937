"""The pipeline of the README's first page: questions in, answers with citations out.

    export OPENAI_API_KEY=...
    python examples/rag/quickstart.py

    python examples/rag/quickstart.py --offline    # quotes the documents; needs no key

It answers the questions of ``questions.txt`` from the collection ``default``, and makes that of
this project's documentation if there is none yet. Data is kept under ``$SAGE_HOME``, by default
in ``.sage`` of this repository.
"""

import os
import sys
from pathlib import Path

from sage.common.errors import SageError
from sage.kernel.api.local_environment import LocalEnvironment
from sage.libs.io.sink import TerminalSink
from sage.libs.io.source import FileSource
from sage.middleware.operators.rag import (
    DenseRetriever,
    ExtractiveGenerator,
    OpenAIGenerator,
    QAPromptor,
)

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


def index_documentation() -> None:
    """Make the collection ``default`` of this documentation, unless there is one."""
    from sage.libs.collection import Collection
    from sage.middleware.indexing import build_index

    if "default" not in Collection.names():
        print(f"indexing the documentation into {os.environ['SAGE_HOME']} ...", file=sys.stderr)
        os.chdir(REPOSITORY)
        build_index(".", patterns=("README.md", "docs-public/**/*.md", "packages/*/README.md"))
        os.chdir(HERE)


def with_openai() -> LocalEnvironment:
    """Return the pipeline that asks an OpenAI-compatible endpoint."""
    # Create execution environment
    env = LocalEnvironment("rag_pipeline")

    # Build declarative pipeline
    (
        env.from_source(FileSource, {"file_path": "questions.txt"})
        .map(DenseRetriever, {"model": "sentence-transformers/all-MiniLM-L6-v2"})
        .map(QAPromptor, {"template": "Answer based on context: {context}\nQ: {query}\nA:"})
        .map(OpenAIGenerator, {"model": "gpt-3.5-turbo"})
        .sink(TerminalSink)
    )
    return env


def offline() -> LocalEnvironment:
    """Return the same pipeline with the generator that quotes."""
    env = LocalEnvironment("rag_pipeline")
    (
        env.from_source(FileSource, {"file_path": "questions.txt"})
        .map(DenseRetriever, {"model": "sentence-transformers/all-MiniLM-L6-v2"})
        .map(QAPromptor, {"template": "Answer based on context: {context}\nQ: {query}\nA:"})
        .map(ExtractiveGenerator)
        .sink(TerminalSink)
    )
    return env


def main() -> None:
    """Build the pipeline, make sure that there is something to ask, run it."""
    os.environ.setdefault("SAGE_HOME", str(REPOSITORY / ".sage"))
    os.chdir(HERE)
    env = offline() if "--offline" in sys.argv[1:] else with_openai()
    index_documentation()

    # Execute pipeline
    env.submit()


if __name__ == "__main__":
    try:
        main()
    except SageError as error:
        sys.exit(f"{error}\n  offline: python examples/rag/quickstart.py --offline")
