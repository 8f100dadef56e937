"""Who takes part, what was published, and what must be reached.

Nothing was tuned on a test collection's own questions: each system has the defaults of its class,
and where one of them was chosen by measuring, the page of results says on which collection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from sage.common.records import Retrieved
from sage.libs.evaluation import (
    average_precision,
    ndcg_at_k,
    recall_at_k,
    reciprocal_rank,
)
from sage.middleware.operators.rag import BM25Retriever, DenseRetriever, HybridRetriever

__all__ = ["FIGURES", "GOALS", "PUBLISHED", "SYSTEMS", "Figure", "Goal", "Retriever", "System"]

DEPTH: Final = 100


class Retriever(Protocol):
    """What is measured: a retriever of `sage.middleware`."""

    def map(self, record: str) -> Retrieved: ...
    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class System:
    """A way to retrieve.

    Attributes:
        name: As it is shown.
        make: Called with the collection's name and home.
        depth: How many passages it returns.
        note: What a reader should know about it.
        over: The system that its gain is measured over, or None.
    """

    name: str
    make: Callable[[str, Path], Retriever]
    depth: int = DEPTH
    note: str = ""
    over: str | None = None


@dataclass(frozen=True)
class Figure:
    """A measure of a ranking; ``depth`` is how long the ranking must be."""

    key: str
    label: str
    depth: int
    of: Callable[[list[str], dict[str, float]], float]


FIGURES: Final = (
    Figure("ndcg_10", "nDCG@10", 10, lambda ranked, grades: ndcg_at_k(ranked, grades, 10)),
    Figure("recall_1", "recall@1", 1, lambda ranked, grades: recall_at_k(ranked, grades, 1)),
    Figure("recall_5", "recall@5", 5, lambda ranked, grades: recall_at_k(ranked, grades, 5)),
    Figure("recall_100", "recall@100", 100, lambda r, grades: recall_at_k(r, grades, 100)),
    Figure("mrr", "MRR", 10, lambda ranked, grades: reciprocal_rank(ranked, grades)),
    Figure("map", "MAP", 10, lambda ranked, grades: average_precision(ranked, grades)),
)

SYSTEMS: Final = (
    System(
        name="BM25",
        make=lambda name, home: BM25Retriever(collection=name, home=home, top_k=DEPTH),
        note="k1 0.9, b 0.4, Snowball stems; pairs of characters for Chinese",
    ),
    System(
        name="dense",
        make=lambda name, home: DenseRetriever(collection=name, home=home, top_k=DEPTH),
        note="cosine of all-MiniLM-L6-v2, which does not read Chinese",
        over="BM25",
    ),
    System(
        name="hybrid, RRF",
        make=lambda name, home: HybridRetriever(
            collection=name, home=home, top_k=DEPTH, fusion="rrf"
        ),
        note="reciprocal ranks of the 100 best of both, k = 60",
        over="BM25",
    ),
    System(
        name="hybrid",
        make=lambda name, home: HybridRetriever(collection=name, home=home, top_k=DEPTH),
        note="the default: mean of the min-max scaled scores of the 100 best of both",
        over="BM25",
    ),
    System(
        name="hybrid + rerank",
        make=lambda name, home: HybridRetriever(collection=name, home=home, top_k=50, rerank=True),
        depth=50,
        note="the 50 best read once more by late interaction over the same embedder",
        over="hybrid",
    ),
)

PUBLISHED: Final = {
    "scifact": {
        "BM25 (Anserini)": 0.679,
        "all-MiniLM-L6-v2 (BEIR)": 0.645,
        "bge-base-en-v1.5 (MTEB)": 0.741,
    },
}
"""nDCG@10 that others report, by test collection."""


@dataclass(frozen=True)
class Goal:
    """What a system must reach on a test collection.

    Attributes:
        system: Its name.
        figure: Key of a figure.
        must: What is required; a name stands for what that system reaches in the same run.
        aim: What is wanted beyond that.
    """

    system: str
    figure: str
    must: float | str
    aim: float | None = None


GOALS: Final = {
    "scifact": (
        Goal("BM25", "ndcg_10", 0.665),
        Goal("dense", "ndcg_10", 0.635),
        Goal("hybrid", "ndcg_10", 0.715),
        Goal("hybrid + rerank", "ndcg_10", 0.73, 0.745),
    ),
    "xquad-en": (
        Goal("hybrid", "recall_1", 0.945),
        Goal("hybrid", "recall_5", 0.99),
        Goal("hybrid + rerank", "recall_1", 0.945, 0.965),
        Goal("hybrid + rerank", "recall_5", 0.99, 0.997),
    ),
    "xquad-zh": (
        Goal("hybrid", "recall_1", "BM25"),
        Goal("hybrid", "recall_5", "BM25"),
        Goal("hybrid + rerank", "recall_1", "BM25"),
    ),
}
