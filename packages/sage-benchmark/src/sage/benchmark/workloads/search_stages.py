"""S6: what each stage of a query costs: embed, dense, lexical, fuse, rerank.

On real passages and questions (SciFact) where they lie beside the checkout, else on made-up ones;
their vectors are the default model's, so that this row also has the recall of the index on real
vectors. Each stage is timed by itself on one thread; together they are a query of a hybrid
retriever that reranks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample, Target
from sage.benchmark.statistics import percentile
from sage.benchmark.workloads.search_data import TOP_K, nearest, recall

__all__ = ["ROW", "measure", "stages"]

_QUESTIONS = 10
_CANDIDATES = 100
_RERANKED = 50
_BESIDE = Path("../shared/data/scifact")
_T = TypeVar("_T")


def texts(passages: int) -> tuple[list[str], list[str]]:
    """Return passages and questions."""
    if _BESIDE.is_dir():
        from sage.benchmark.retrieval.judged import read_beir

        judged = read_beir(_BESIDE)
        return list(judged.passages.values())[:passages], [q.text for q in judged.queries]
    rng = np.random.default_rng(0)
    words = np.asarray([f"{a}{b}" for a in ("kin", "mar", "tol", "ves") for b in range(500)])
    made = [" ".join(rng.choice(words, size=120)) for _ in range(passages)]
    return made, [" ".join(rng.choice(words, size=12)) for _ in range(_QUESTIONS)]


def stages(passages: int) -> Sample:
    """Build both indexes, then time each stage of some questions."""
    from sage.libs.embedding import load_embedder
    from sage.libs.embedding.embedder import DEFAULT_MODEL
    from sage.libs.fusion import reciprocal_rank
    from sage.libs.lexical.bm25 import Bm25Index
    from sage.libs.rerank import LateInteractionReranker
    from sage.libs.vectors import FaissStore

    documents, questions = texts(passages)
    ids = [str(n) for n in range(len(documents))]
    embedder = load_embedder(DEFAULT_MODEL)
    vectors = np.concatenate(
        [embedder.embed(documents[n : n + 256]) for n in range(0, len(documents), 256)]
    )
    store = FaissStore(dim=embedder.dim)
    store.upsert(ids, vectors)
    words = Bm25Index(ids, documents)
    reranker: Any = LateInteractionReranker(embedder=embedder)
    timed = _Timed()
    asked = questions[1 : _QUESTIONS + 1]
    embedder.embed(questions[:1])
    for question in asked:
        (vector,) = timed("embed", partial(embedder.embed, [question]))
        (hits,) = timed("dense", partial(store.search, vector, _CANDIDATES))
        scored = timed("lexical", partial(words.search, question, _CANDIDATES))
        legs = [[hit.id for hit in hits], [row for row, _ in scored]]
        fused = timed("fuse", partial(reciprocal_rank, legs))
        candidates = [documents[int(row)] for row, _ in fused[:_RERANKED]]
        for stage in ("rerank_cold", "rerank"):  # the second time their tokens are remembered
            timed(stage, partial(reranker.scores, question, candidates))
    queries = embedder.embed(asked)
    found = [[int(hit.id) for hit in hits] for hits in store.search(queries, TOP_K)]
    return {
        **timed.medians(),
        "query_ms": sum(v for k, v in timed.medians().items() if k != "rerank_ms"),
        "recall": recall(found, nearest(vectors, queries)[1]),
    }


class _Timed:
    """Times of the stages."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}

    def __call__(self, stage: str, work: Callable[[], _T]) -> _T:
        started = time.perf_counter()
        result = work()
        self._times.setdefault(stage, []).append(time.perf_counter() - started)
        return result

    def medians(self) -> Sample:
        return {f"{k}_ms": percentile(times, 0.5) * 1e3 for k, times in self._times.items()}


def measure(contestant: Callable[[int], Sample], request: Request) -> Sample:
    """Time the stages.

    Args:
        contestant: `stages`.
        request: The size is the number of passages.
    """
    return contestant(request["size"])


_HERE = "sage.benchmark.workloads.search_stages"

ROW = Row(
    key="S6",
    title="the stages of a query over 2,000 passages: 100 candidates a leg, 50 reranked",
    limit="nothing: these are the costs",
    measure=f"{_HERE}:measure",
    size=2_000,
    quick_size=60,
    contestants=(
        Contestant(
            name="SAGE",
            target=f"{_HERE}:stages",
            role=Role.SAGE,
            judged=True,
            note="MiniLM on ONNX, FAISS (IVF), BM25, reciprocal rank, MaxSim; "
            "cold: the passages' tokens are embedded at the query",
        ),
    ),
    figures=(
        Figure(key="embed_ms", label="embed ms"),
        Figure(key="dense_ms", label="dense ms"),
        Figure(key="lexical_ms", label="lexical ms"),
        Figure(key="fuse_ms", label="fuse ms"),
        Figure(key="rerank_cold_ms", label="rerank ms, cold", digits=0),
        Figure(key="rerank_ms", label="warm", digits=1),
        Figure(key="query_ms", label="all, cold", digits=0),
        Figure(key="recall", label="recall@10", digits=4),
    ),
    # The seed's row: a query answered in less than 2 s; here without the generator.
    targets=(Target(figure="query_ms", must=2_000, aim=500, at_most=True),),
    charted="query_ms",
    compares_output=False,
    most_rounds=1,
)
