"""Every store of the package runs the conformance suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.libs.vectors import ChromaStore, FaissStore, NumpyStore, VectorStore
from sage.libs.vectors.testing import VectorStoreConformance


class TestNumpyStore(VectorStoreConformance):
    """The exact store."""

    def open(self, path: Path) -> VectorStore:
        return NumpyStore(dim=self.dim, path=path)


class TestFaissStore(VectorStoreConformance):
    """The store on FAISS, while it is small."""

    def open(self, path: Path) -> VectorStore:
        return FaissStore(dim=self.dim, path=path)


class TestChromaStore(VectorStoreConformance):
    """The store on Chroma."""

    def open(self, path: Path) -> VectorStore:
        pytest.importorskip("chromadb")
        return ChromaStore(dim=self.dim, path=path)
