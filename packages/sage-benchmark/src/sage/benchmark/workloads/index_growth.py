"""I2: indexing as a collection grows: from nothing, with nothing changed, and with one change.

The embedder is the mock, so that what is measured is everything around it.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample
from sage.benchmark.workloads.index_documents import TEXTS, documents, peak_mb

__all__ = ["ROW", "Growth", "measure"]


class Growth(NamedTuple):
    """A contestant: a collection of so many documents of one chunk."""

    documents: int


def measure(contestant: Growth, request: Request) -> Sample:
    """Index documents, index them again, and once more after one has changed.

    Args:
        contestant: How many documents.
        request: The size is a share of them, in percent.
    """
    from sage.middleware.indexing import build_index

    count = contestant.documents * request["size"] // 100
    docs = documents(request["scratch"], count, words=100)
    sample: Sample = {}
    changed = docs / "000007.txt"
    before = changed.read_bytes()
    with tempfile.TemporaryDirectory(dir=request["scratch"]) as home:
        for step in ("first", "again", "change"):
            if step == "change":
                changed.write_text("What stood here has changed.\n", encoding="utf-8")
            started = time.perf_counter()
            report = build_index(docs, home=home, model="mock:384", store="chroma")
            sample[f"{step}_s"] = time.perf_counter() - started
            sample[f"{step}_documents"] = report.indexed
        stored = sum(file.stat().st_size for file in Path(home).rglob("*") if file.is_file())
    changed.write_bytes(before)
    if [sample.pop(f"{s}_documents") for s in ("first", "again", "change")] != [count, 0, 1]:
        raise ValueError("another number of documents was indexed than had changed")
    sample["ms_per_document"] = sample["first_s"] / count * 1e3
    return {**sample, "peak_mb": peak_mb(), "disk_mb": stored / 1e6}


DOCUMENTS_1K = Growth(1_000)
DOCUMENTS_5K = Growth(5_000)
DOCUMENTS_10K = Growth(10_000)

_HERE = "sage.benchmark.workloads.index_growth"


def _contestant(name: str, target: str) -> Contestant:
    return Contestant(
        name=name, target=f"{_HERE}:{target}", role=Role.SAGE, note=f"{TEXTS}; Chroma"
    )


ROW = Row(
    key="I2",
    title="indexing as a collection grows, without the time of a model",
    limit="nothing: these are the costs",
    measure=f"{_HERE}:measure",
    size=100,
    quick_size=2,
    contestants=(
        _contestant("1 k documents", "DOCUMENTS_1K"),
        _contestant("5 k documents", "DOCUMENTS_5K"),
        _contestant("10 k documents", "DOCUMENTS_10K"),
    ),
    figures=(
        Figure(key="first_s", label="all new, s"),
        Figure(key="ms_per_document", label="ms/document"),
        Figure(key="again_s", label="nothing changed, s"),
        Figure(key="change_s", label="one changed, s"),
        Figure(key="peak_mb", label="peak MB", digits=0),
        Figure(key="disk_mb", label="MB on disk, two generations", digits=0),
    ),
    charted="first_s",
    compares_output=False,
    most_rounds=1,
)
