"""Vectors for the rows of searching: made from a seed, in clusters of clusters, as texts have them.

A vector is one of 64 topics, plus one of 2,000 subjects in it, plus its own part; the ten nearest
of 100,000 have a cosine of about .7 with a query, as passages of a text have with a question.
Independent numbers would not do: in 384 dimensions all of them are equally far from each other.

What takes long to make (an index of 100,000 vectors) is kept in the cache directory for the next
row and the next run, under a name that says what it was made of.
"""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sage.benchmark.row import Sample
from sage.benchmark.statistics import percentile

__all__ = ["DIM", "TOP_K", "Prepared", "clustered", "latencies", "nearest", "prepared", "recall"]

DIM = 384
TOP_K = 10
QUERIES = 300
_TOPICS, _SUBJECTS = 64, 2_000
_VERSION = 2  # of what is kept

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def clustered(rows: int, seed: int) -> Floats:
    """Return unit vectors, float32 [rows, DIM]; equal seeds give equal vectors.

    Example:
        >>> clustered(3, 1).shape, float(clustered(3, 1)[0] @ clustered(3, 1)[0]).__round__(4)
        ((3, 384), 1.0)
    """
    fixed = np.random.default_rng(0)
    topics = fixed.normal(size=(_TOPICS, DIM))
    subjects = topics[fixed.integers(_TOPICS, size=_SUBJECTS)]
    subjects = (subjects + 0.8 * fixed.normal(size=subjects.shape)).astype(np.float32)
    rng = np.random.default_rng(seed)
    vectors = subjects[rng.integers(_SUBJECTS, size=rows)]
    vectors += 0.9 * rng.standard_normal(size=vectors.shape, dtype=np.float32)
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def nearest(vectors: Floats, queries: Floats, top_k: int = TOP_K) -> tuple[Floats, Ints]:
    """Return cosines and rows of the nearest vectors, by comparing all of them."""
    import faiss

    scores, rows = faiss.knn(queries, vectors, top_k, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, rows


def recall(found: Sequence[Sequence[int]], right: Ints) -> float:
    """Return the share of the right rows that were found."""
    shares = [len(set(f) & set(r)) / len(r) for f, r in zip(found, right.tolist(), strict=True)]
    return float(np.mean(shares))


def latencies(
    search: Callable[[Floats], Sequence[int]], queries: Floats
) -> tuple[Sample, list[Sequence[int]]]:
    """Ask one query after the other, on this thread; return times and what was found."""
    search(queries[0])
    times, found = [], []
    for query in queries:
        started = time.perf_counter()
        hits = search(query)
        times.append(time.perf_counter() - started)
        found.append(hits)
    sample = {
        "elapsed_s": sum(times),
        "p50_us": percentile(times, 0.5) * 1e6,
        "p99_us": percentile(times, 0.99) * 1e6,
        "qps": len(times) / sum(times),
    }
    return sample, found


def resident_mb() -> float:
    """Return how much memory this process holds now."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


class Prepared:
    """A FAISS store on disk, queries, and what is right for them.

    Attributes:
        path: The store's directory.
        queries: float32 [queries, DIM].
        right: int64 [queries, TOP_K], by comparing all.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "store"
        self.queries: Floats = np.load(folder / "queries.npy")
        self.right: Ints = np.load(folder / "right.npy")

    def vectors(self) -> Floats:
        """Return all vectors."""
        found: Floats = np.load(self.folder / "vectors.npy")
        return found

    def index(self) -> Any:
        """Return the store's own index, as FAISS reads it without us."""
        import faiss

        (path,) = self.path.glob("*.index.faiss")
        return faiss.read_index(str(path))


def prepared(rows: int) -> Prepared:
    """Return a store of so many rows, made now if it is not in the cache.

    Row n has the id ``str(n)`` and the metadata ``{"share": n % 1000, "doc": "doc-N"}``.
    """
    from sage.common.paths import cache_dir
    from sage.libs.vectors import FaissStore

    folder = Path(cache_dir()) / "benchmarks" / f"search-{rows}-v{_VERSION}"
    if not (folder / "right.npy").exists():
        shutil.rmtree(folder, ignore_errors=True)
        making = folder.with_name(f"{folder.name}.{os.getpid()}")
        making.mkdir(parents=True)
        vectors, queries = clustered(rows, 1), clustered(min(rows, QUERIES), 2)
        store = FaissStore(dim=DIM, path=making / "store")
        metadatas: list[dict[str, str | int]] = [
            {"share": n % 1000, "doc": f"doc-{n}"} for n in range(rows)
        ]
        store.upsert([str(n) for n in range(rows)], vectors, metadatas)
        store.close()
        np.save(making / "vectors.npy", vectors)
        np.save(making / "queries.npy", queries)
        np.save(making / "right.npy", nearest(vectors, queries)[1])
        making.rename(folder)
    return Prepared(folder)
