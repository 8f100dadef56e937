"""Indexes a test collection and asks each system every question.

The index is a collection like any other, kept under SAGE's home (``cache/benchmarks``): a run that
is stopped goes on from what was embedded, and the next run embeds nothing.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sage.benchmark.retrieval.judged import JudgedCollection, JudgedQuery
from sage.benchmark.retrieval.systems import FIGURES, Retriever, System
from sage.common.errors import SageError
from sage.common.ids import content_id
from sage.common.records import Chunk, Document
from sage.libs.collection import Collection
from sage.libs.embedding import load_embedder

__all__ = ["PASSAGES_AT_ONCE", "SystemResult", "ask_all", "index"]

PASSAGES_AT_ONCE: Final = 256
_REPEATED: Final = 30


@dataclass
class SystemResult:
    """What a system found.

    Attributes:
        system: Who.
        measured: Each figure by key, one value for each question.
        ms: Milliseconds for each question, the first time.
        ms_again: The same for the first questions, asked again: caches are warm.
        failed: Why it stopped, or None.
    """

    system: System
    measured: dict[str, list[float]] = field(default_factory=dict)
    ms: list[float] = field(default_factory=list)
    ms_again: list[float] = field(default_factory=list)
    failed: str | None = None


def index(
    judged: JudgedCollection,
    name: str,
    home: Path,
    *,
    model: str | None,
    progress: Callable[[str], None],
) -> None:
    """Bring the collection up to date with the passages, each as one chunk.

    Args:
        judged: What to index.
        name: The collection's name.
        home: SAGE's home directory for it.
        model: The embedder's; None for the default.
        progress: Called before each batch of passages, with what is done.
    """
    with Collection.update(name, model=model, home=home) as writer:
        known = writer.known()
        for source in known.keys() - judged.passages.keys():
            writer.remove(source)
        new = {i: text for i, text in judged.passages.items() if known.get(i) != content_id(text)}
        embedder = load_embedder(writer.model)
        for number, batch in enumerate(_batches(new, PASSAGES_AT_ONCE)):
            progress(f"{number * PASSAGES_AT_ONCE} of {len(new)} new passages")
            texts = list(batch.values())
            remembered = writer.recall(texts)
            missing = [text for text, old in zip(texts, remembered, strict=True) if old is None]
            made = embedder.embed(missing)
            writer.remember(missing, made)
            fresh = iter(made)
            vectors = [next(fresh) if vector is None else vector for vector in remembered]
            for (doc_id, text), vector in zip(batch.items(), vectors, strict=True):
                chunk = Chunk(text, doc_id=doc_id, end=len(text), source=doc_id)
                writer.add(Document(text, doc_id, doc_id), content_id(text), [chunk], [vector])
        writer.commit()


def ask_all(
    system: System,
    judged: JudgedCollection,
    name: str,
    home: Path,
    *,
    progress: Callable[[str], None],
) -> SystemResult:
    """Ask a system every question of a test collection, one after the other.

    Args:
        system: Whom.
        judged: The questions.
        name: The collection that `index` made.
        home: SAGE's home directory for it.
        progress: Called before each question, with what is done.
    """
    result = SystemResult(system)
    figures = [figure for figure in FIGURES if figure.depth <= system.depth]
    result.measured = {figure.key: [] for figure in figures}
    try:
        retriever = system.make(name, home)
        try:
            retriever.map("warm up")  # opens files and loads models
            gc.collect()
            for number, query in enumerate(judged.queries, start=1):
                progress(f"question {number} of {len(judged.queries)}")
                ranked, elapsed_ms = _asked(retriever, query)
                result.ms.append(elapsed_ms)
                for figure in figures:
                    result.measured[figure.key].append(figure.of(ranked, dict(query.grades)))
            result.ms_again = [_asked(retriever, q)[1] for q in judged.queries[:_REPEATED]]
        finally:
            retriever.close()
    except SageError as error:
        result.failed = str(error)
    return result


def _asked(retriever: Retriever, query: JudgedQuery) -> tuple[list[str], float]:
    started = time.perf_counter()
    found = retriever.map(query.text)
    elapsed_ms = (time.perf_counter() - started) * 1e3
    # Some test collections take their questions from the passages; BEIR leaves those out, too.
    ranked = dict.fromkeys(p.doc_id for p in found.passages if p.doc_id != query.query_id)
    return list(ranked), elapsed_ms


def _batches(texts: Mapping[str, str], size: int) -> Iterator[dict[str, str]]:
    ids = list(texts)
    for at in range(0, len(ids), size):
        yield {i: texts[i] for i in ids[at : at + size]}
