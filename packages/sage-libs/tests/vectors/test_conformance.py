"""Every store of the package runs the conformance suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.common.ids import content_id
from sage.libs.vectors import ChromaStore, FaissStore, NumpyStore, ShardedStore, VectorStore
from sage.libs.vectors.testing import VectorStoreConformance


class TestNumpyStore(VectorStoreConformance):
    """The exact store."""

    def open(self, path: Path) -> VectorStore:
        return NumpyStore(dim=self.dim, path=path)


class TestFaissStore(VectorStoreConformance):
    """The store on FAISS, while it is small."""

    def open(self, path: Path) -> VectorStore:
        return FaissStore(dim=self.dim, path=path)


class TestShardedStore(VectorStoreConformance):
    """Three FAISS stores as one."""

    def open(self, path: Path) -> VectorStore:
        return ShardedStore(dim=self.dim, path=path, shards=3)


class TestChromaStore(VectorStoreConformance):
    """The store on Chroma, embedded."""

    def open(self, path: Path) -> VectorStore:
        pytest.importorskip("chromadb")
        return ChromaStore(dim=self.dim, path=path)


class TestChromaServer(VectorStoreConformance):
    """The store on a real Chroma server, where a collection stands for a directory."""

    @pytest.fixture(autouse=True)
    def _server(self, chroma_server: int) -> None:
        self.port = chroma_server

    def open(self, path: Path) -> VectorStore:
        name = content_id(str(path))
        return ChromaStore(dim=self.dim, host="127.0.0.1", port=self.port, collection=name)
