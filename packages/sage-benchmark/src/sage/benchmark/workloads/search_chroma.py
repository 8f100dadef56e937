"""S3: embedded Chroma through a `ChromaStore`, against the same Chroma called directly."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sage.benchmark.row import Contestant, Figure, Request, Role, Row, Sample
from sage.benchmark.workloads.search_data import (
    DIM,
    TOP_K,
    Floats,
    clustered,
    latencies,
    nearest,
    recall,
)

__all__ = ["ROW", "Raw", "Sage", "measure"]


class _Store(Protocol):
    def add(self, ids: list[str], vectors: Floats, metadatas: list[dict[str, Any]]) -> None: ...

    def search(self, query: Floats) -> Sequence[int]: ...

    def close(self) -> None: ...


class Raw:
    """chromadb by hand, with the graph's parameters that ChromaStore gives."""

    def __init__(self, path: str) -> None:
        import chromadb
        from chromadb.config import Settings

        settings = Settings(anonymized_telemetry=False)
        self._client: Any = chromadb.PersistentClient(path, settings=settings)
        graph = {"space": "cosine", "max_neighbors": 32, "ef_construction": 200, "ef_search": 200}
        hnsw: Any = {"hnsw": graph}
        self._rows: Any = self._client.create_collection(
            "vectors", configuration=hnsw, embedding_function=None
        )
        self._batch = self._client.get_max_batch_size()

    def add(self, ids: list[str], vectors: Floats, metadatas: list[dict[str, Any]]) -> None:
        """Put all in, in the batches that Chroma takes."""
        for start in range(0, len(ids), self._batch):
            part = slice(start, start + self._batch)
            self._rows.add(ids=ids[part], embeddings=vectors[part], metadatas=metadatas[part])

    def search(self, query: Floats) -> Sequence[int]:
        """Ask for the nearest."""
        found = self._rows.query(
            query_embeddings=query[None], n_results=TOP_K, include=["distances", "metadatas"]
        )
        return [int(row) for row in found["ids"][0]]

    def close(self) -> None:
        """Close the client."""
        self._client.close()


class Sage:
    """A ChromaStore."""

    def __init__(self, path: str) -> None:
        from sage.libs.vectors import ChromaStore

        self._store = ChromaStore(dim=DIM, path=path)

    def add(self, ids: list[str], vectors: Floats, metadatas: list[dict[str, Any]]) -> None:
        """Put all in."""
        self._store.upsert(ids, vectors, metadatas)

    def search(self, query: Floats) -> Sequence[int]:
        """Ask for the nearest."""
        return [int(hit.id) for hit in self._store.search(query, TOP_K)[0]]

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def measure(contestant: Callable[[str], _Store], request: Request) -> Sample:
    """Put rows in, then ask.

    Args:
        contestant: Opens the store in a directory.
        request: The size is the number of rows.
    """
    rows = request["size"]
    vectors, queries = clustered(rows, 1), clustered(200, 2)
    with tempfile.TemporaryDirectory() as path:
        store = contestant(path)
        metadatas = [{"n": n} for n in range(rows)]
        started = time.perf_counter()
        store.add([str(n) for n in range(rows)], vectors, metadatas)
        add_s = time.perf_counter() - started
        sample, found = latencies(store.search, queries)
        store.close()
    right = nearest(vectors, queries)[1]
    return {**sample, "us_per_row": add_s / rows * 1e6, "recall": recall(found, right)}


_HERE = "sage.benchmark.workloads.search_chroma"

ROW = Row(
    key="S3",
    title="Chroma, embedded: 10 k x 384 put in, then one search after the other",
    limit="chromadb called directly",
    measure=f"{_HERE}:measure",
    size=10_000,
    quick_size=200,
    contestants=(
        Contestant(name="chromadb", target=f"{_HERE}:Raw", role=Role.LIMIT, needs="chromadb"),
        Contestant(name="SAGE", target=f"{_HERE}:Sage", role=Role.SAGE, needs="chromadb"),
    ),
    figures=(
        Figure(key="us_per_row", label="us/row put in", digits=0),
        Figure(key="p50_us", label="p50 us", digits=0),
        Figure(key="p99_us", label="p99 us", digits=0),
        Figure(key="recall", label="recall@10", digits=4),
    ),
    compares_output=False,  # Chroma builds its graph on several threads: no two are the same
    most_rounds=2,
)
