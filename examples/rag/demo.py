"""Indexes this project's own documentation and answers questions about it.

    ./quickstart.sh demo

Two streaming pipelines: one turns the documents into a collection (what changed since the last
run, that is), one takes the questions of ``questions.txt`` through retrieval, prompt and answer.
Everything stays in ``.sage`` of this repository; no server, key or download is needed.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from sage.cli.answers import print_answer
from sage.cli.failure import Presentation
from sage.cli.progress import indexing_progress
from sage.cli.reports import print_report
from sage.cli.screen import results
from sage.common.records import Answer
from sage.kernel.api.local_environment import LocalEnvironment
from sage.libs.io.source import FileSource
from sage.middleware.indexing import build_index
from sage.middleware.operators.rag import ExtractiveGenerator, HybridRetriever, QAPromptor

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = os.environ.get("SAGE_HOME") or str(REPOSITORY / ".sage")
QUESTIONS = Path(__file__).with_name("questions.txt")
DOCUMENTS = ("README.md", "docs-public/**/*.md", "packages/*/README.md")
COLLECTION = "sage-docs"


def show(answer: Answer) -> None:
    """Print one answer as soon as the stream brings it."""
    results().rule(answer.query.text, align="left", style="bold")
    print_answer(answer)


def main() -> None:
    """Index, answer, and say how long it took."""
    sage = os.path.relpath(Path(sys.executable).with_name("sage"))
    home = os.path.relpath(HOME)
    os.chdir(REPOSITORY)
    started = time.perf_counter()
    with indexing_progress() as progress:
        report = build_index(
            REPOSITORY, COLLECTION, home=HOME, patterns=DOCUMENTS, progress=progress
        )
    print_report(report)

    env = LocalEnvironment("answer_questions")
    (
        env.from_source(FileSource, {"file_path": str(QUESTIONS)}, name="questions")
        .filter(str.strip, name="not blank")
        .map(HybridRetriever, {"collection": COLLECTION, "home": HOME}, name="retrieve")
        .map(QAPromptor, name="prompt")
        .map(ExtractiveGenerator, name="answer")
        .for_each(show, name="show")
    )
    env.execute()

    results().rule("the plan of this pipeline", align="left", style="bold")
    print(env.explain())
    print(f"\n{time.perf_counter() - started:.1f} s in all. Ask more:")
    print(f"  {sage} ask 'your question' --collection {COLLECTION} --home {home}")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(Presentation.of(sys.argv).show(error))
