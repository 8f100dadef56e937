"""S5: a search under a filter, by how many rows the filter leaves.

The limit is what one writes by hand: a bitmap of the rows that match, made beforehand, given to the
graph's search. It does not pay for evaluating the filter, and its recall is what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample
from sage.benchmark.workloads.search_data import (
    DIM,
    TOP_K,
    Floats,
    Prepared,
    latencies,
    nearest,
    prepared,
    recall,
)

__all__ = ["ROW", "Filtered", "measure"]


@dataclass(frozen=True)
class Filtered:
    """How many of a thousand rows match, and whether the filter is made by hand."""

    per_mille: int
    by_hand: bool = False


def measure(contestant: Filtered, request: Request) -> Sample:
    """Ask 300 queries under ``{"share": {"$lt": per_mille}}``.

    Args:
        contestant: Which share, and how.
        request: The size is the number of rows.
    """
    data = prepared(request["size"])
    vectors = data.vectors()
    kept = np.flatnonzero(np.arange(len(vectors)) % 1000 < contestant.per_mille)
    top_k = min(TOP_K, len(kept))
    right = kept[nearest(vectors[kept], data.queries, top_k)[1]]
    del vectors
    search = (_by_hand if contestant.by_hand else _sage)(data, contestant.per_mille, top_k)
    sample, found = latencies(search, data.queries)
    return {**sample, "recall": recall(found, right)}


def _sage(data: Prepared, per_mille: int, top_k: int) -> Callable[[Floats], Sequence[int]]:
    from sage.libs.vectors import FaissStore

    store = FaissStore(dim=DIM, path=data.path)
    where = {"share": {"$lt": per_mille}}
    return lambda query: [int(hit.id) for hit in store.search(query, top_k, where)[0]]


def _by_hand(data: Prepared, per_mille: int, top_k: int) -> Callable[[Floats], Sequence[int]]:
    import faiss

    index: Any = data.index()
    bits = np.packbits(np.arange(index.ntotal) % 1000 < per_mille, bitorder="little")
    library: Any = faiss
    selector = library.IDSelectorBitmap(bits)
    if hasattr(index, "hnsw"):
        params = library.SearchParametersHNSW(sel=selector, efSearch=128)
    else:
        params = library.SearchParameters(sel=selector)

    def search(query: Floats) -> Sequence[int]:
        _, rows = index.search(query[None], top_k, params=params)
        return [row for row in rows[0].tolist() if row >= 0]

    return search


HALF, HALF_BY_HAND = Filtered(500), Filtered(500, by_hand=True)
TENTH, TENTH_BY_HAND = Filtered(100), Filtered(100, by_hand=True)
HUNDREDTH, HUNDREDTH_BY_HAND = Filtered(10), Filtered(10, by_hand=True)
THOUSANDTH, THOUSANDTH_BY_HAND = Filtered(1), Filtered(1, by_hand=True)

_HERE = "sage.benchmark.workloads.search_filters"
_SHARES = (("50 %", "HALF"), ("10 %", "TENTH"), ("1 %", "HUNDREDTH"), ("0.1 %", "THOUSANDTH"))

ROW = Row(
    key="S5",
    title="a search in 100 k x 384 under a filter, by the share of rows that match",
    limit="nothing: these are the costs",
    measure=f"{_HERE}:measure",
    size=100_000,
    quick_size=900,
    contestants=tuple(
        Contestant(name=f"{who}, {share}", target=f"{_HERE}:{name}{suffix}", role=role)
        for share, name in _SHARES
        for who, suffix, role in (
            ("FAISS", "_BY_HAND", Role.SAGE),
            ("SAGE", "", Role.SAGE),
        )
    ),
    figures=(
        Figure(key="p50_us", label="p50 us", digits=0),
        Figure(key="p99_us", label="p99 us", digits=0),
        Figure(key="recall", label="recall@10", digits=4),
    ),
    charted="p50_us",
    compares_output=False,
    most_rounds=2,
)
