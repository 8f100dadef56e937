"""I1: ten thousand chunks from files to an index, against the sum of the parts by hand.

By hand: a loop over the same libraries, one part after the other (load, cut, embed, write, words),
without anything that makes an index safe: nothing is compared with an earlier run, written to the
disk for the case of a kill, or switched to in one step.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sage.benchmark.measuring import digest
from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target
from sage.benchmark.workloads.index_documents import TEXTS, documents, peak_mb

__all__ = ["ROW", "by_hand", "in_sage", "measure"]

PARTS = ("load", "cut", "embed", "write", "words")


def measure(contestant: Callable[[Path, Path], Sample], request: Request) -> Sample:
    """Index ``size`` documents into an empty directory."""
    from sage.libs.embedding import load_embedder

    docs = documents(request["scratch"], request["size"])
    load_embedder().embed(["warm up"])
    with tempfile.TemporaryDirectory(dir=request["scratch"]) as home:
        started = time.perf_counter()
        sample = contestant(docs, Path(home))
        elapsed = time.perf_counter() - started
        if request["verify"]:
            sample["digest"] = digest(sample["texts"]())
    del sample["texts"]
    return {
        **sample,
        "elapsed_s": elapsed,
        "docs_per_min": request["size"] / elapsed * 60,
        "chunks_per_s": sample["chunks"] / elapsed,
        "peak_mb": peak_mb(),
    }


def in_sage(docs: Path, home: Path) -> Sample:
    """`build_index`, as `sage index` calls it."""
    from sage.libs.collection import Collection
    from sage.middleware.indexing import build_index

    report = build_index(docs, home=home, store="chroma")
    if report.failed:
        raise ValueError(report.failed[0].reason)

    def texts() -> list[str]:
        with Collection.open("default", home) as collection:
            return collection._catalogue.texts()[1]

    stages = {f"{stage}_s": seconds for stage, seconds in report.stages_s.items()}
    return {**stages, "words_s": stages.pop("commit_s"), "chunks": report.chunks, "texts": texts}


def by_hand(docs: Path, home: Path) -> Sample:
    """The parts, one after the other."""
    from sage.libs.documents import find_documents, load_document, open_chunker
    from sage.libs.embedding import load_embedder
    from sage.libs.lexical.bm25 import Bm25Index
    from sage.libs.vectors.store import open_store

    timed = _Parts()
    with timed("load"):
        loaded = [load_document(path) for path in find_documents(docs)]
    with timed("cut"):
        chunker = open_chunker()
        chunks = [chunk for document in loaded for chunk in chunker.chunk(document)]
    texts, ids = [chunk.text for chunk in chunks], [chunk.chunk_id for chunk in chunks]
    with timed("embed"):
        vectors = load_embedder().embed(texts)
    with timed("write"):
        store = open_store("chroma", home / "vectors", dim=vectors.shape[1])
        for first in range(0, len(ids), 1000):
            part = slice(first, first + 1000)
            facts: list[Any] = [{**c.metadata, "doc_id": c.doc_id} for c in chunks[part]]
            store.upsert(ids[part], vectors[part], facts, texts[part])
        store.close()
    with timed("words"):
        Bm25Index(ids, texts).save(home / "words")
    return {**timed.seconds, "chunks": len(chunks), "texts": lambda: texts}


class _Parts:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[f"{part}_s"] = time.perf_counter() - started


_HERE = "sage.benchmark.workloads.index_end_to_end"

ROW = Row(
    key="I1",
    title="10 k chunks from files to an index: load, cut, embed, write, words",
    limit="the parts by hand, one after the other, over the same libraries",
    measure=f"{_HERE}:measure",
    size=5_150,
    quick_size=12,
    timeout_s=900,
    contestants=(
        Contestant(
            name="parts by hand",
            target=f"{_HERE}:by_hand",
            role=Role.LIMIT,
            note=f"{TEXTS}, of two chunks each; MiniLM, Chroma",
        ),
        Contestant(
            name="sage index",
            target=f"{_HERE}:in_sage",
            role=Role.SAGE,
            judged=True,
            note="its parts work at the same time, so that they add up to more than the whole; "
            "words: the whole commit",
        ),
    ),
    figures=(
        Figure(key="elapsed_s", label="s", digits=1),
        *(Figure(key=f"{part}_s", label=f"{part} s", digits=1) for part in PARTS),
        Figure(key="chunks", label="chunks", digits=0),
        Figure(key="chunks_per_s", label="chunks/s", digits=0),
        Figure(key="docs_per_min", label="docs/min", digits=0),
        Figure(key="peak_mb", label="peak MB", digits=0),
    ),
    targets=(
        # At most 1.15 times the parts; the documents and the memory are those of the seeds' table.
        Target(figure="ratio", must=1 / 1.15, aim=1.0),
        Target(figure="docs_per_min", must=30, aim=50),
        Target(figure="peak_mb", must=4_000, aim=2_500, at_most=True),
    ),
    most_rounds=1,
)
