"""Conformance suite: what every vector store must do, as tests that any store can run.

In a test module of the store::

    class TestMyStore(VectorStoreConformance):
        def open(self, path):
            return MyStore(dim=self.dim, path=path)

Needs pytest. The vectors are small and the expected answers are computed in numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage.common.errors import ConfigError, DataError, StorageError
from sage.libs.vectors.store import VectorStore

__all__ = ["FILTERS", "METADATAS", "VectorStoreConformance"]

METADATAS: list[dict[str, Any]] = [
    {"doc": "a", "page": 1, "draft": True},
    {"doc": "a", "page": 2, "draft": False},
    {"doc": "b", "page": 3, "weight": 0.5},
    {"doc": "c", "page": 1, "weight": 2.0},
    {"other": "x"},
]

# Each filter with the rows of METADATAS that it matches.
FILTERS: list[tuple[dict[str, Any], set[int]]] = [
    ({"doc": "a"}, {0, 1}),
    ({"doc": {"$eq": "b"}}, {2}),
    ({"doc": {"$ne": "a"}}, {2, 3, 4}),
    ({"page": {"$gt": 1}}, {1, 2}),
    ({"page": {"$gte": 1, "$lt": 3}}, {0, 1, 3}),
    ({"page": {"$lte": 1}}, {0, 3}),
    ({"page": 1.0}, {0, 3}),
    ({"weight": {"$gte": 0.5}}, {2, 3}),
    ({"weight": 2}, {3}),
    ({"doc": {"$in": ["a", "c", "nowhere"]}}, {0, 1, 3}),
    ({"doc": {"$nin": ["a", "c"]}}, {2, 4}),
    ({"page": {"$in": [1, 3.0, "x"]}}, {0, 2, 3}),
    ({"page": {"$nin": [1, 3.0, "x"]}}, {1, 4}),
    ({"draft": True}, {0}),
    ({"draft": 1}, set()),
    ({"page": True}, set()),
    ({"doc": "a", "page": 2}, {1}),
    ({"$or": [{"doc": "b"}, {"page": 2}]}, {1, 2}),
    ({"$and": [{"doc": "a"}, {"$or": [{"page": 1}, {"page": 3}]}]}, {0}),
    ({"$and": [{"doc": "a"}]}, {0, 1}),
    ({"nowhere": 1}, set()),
    ({}, {0, 1, 2, 3, 4}),
]

BAD_FILTERS: list[tuple[dict[str, Any], str]] = [
    ({"page": {"$gtt": 1}}, r"unknown operator '\$gtt'; did you mean '\$gt'"),
    ({"$nor": [{"page": 1}]}, r"unknown operator '\$nor'"),
    ({"page": {"$gt": "1"}}, "compares numbers"),
    ({"page": {"$in": []}}, "not empty"),
    ({"page": None}, "got NoneType"),
    ({"$or": []}, "list of filters"),
    ({"page": {}}, "empty mapping"),
]


class VectorStoreConformance:
    """Subclass it as ``Test...`` and say in ``open`` how to open the store at a path."""

    dim = 8

    def open(self, path: Path) -> VectorStore:
        """Open the store at ``path`` with dimension ``self.dim``."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        """Give an empty store, closed at the end."""
        store = self.open(tmp_path / "store")
        yield store
        store.close()

    def vectors(self, rows: int, seed: int = 0) -> Any:
        """Return random vectors, of lengths that differ."""
        return np.random.default_rng(seed).normal(size=(rows, self.dim)).astype(np.float32)

    def test_is_a_vector_store(self, store: VectorStore) -> None:
        """It has the methods of the protocol."""
        assert isinstance(store, VectorStore)

    def test_empty(self, store: VectorStore) -> None:
        """An empty store finds nothing, once for each query, and takes out what is not there."""
        assert store.count() == 0
        assert store.search(self.vectors(2), top_k=3) == [[], []]
        store.delete(["nobody"])
        store.upsert([], np.empty((0, self.dim)))
        assert store.count() == 0

    def test_finds_the_nearest(self, store: VectorStore) -> None:
        """Order and scores are those of the cosine, best first."""
        rows, queries = self.vectors(50), self.vectors(4, seed=1)
        store.upsert([f"r{n}" for n in range(50)], rows)
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        cosine = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ unit.T
        for hits, scores in zip(store.search(queries, top_k=5), cosine, strict=True):
            best = np.argsort(-scores)[:5]
            assert [hit.id for hit in hits] == [f"r{n}" for n in best]
            np.testing.assert_allclose([hit.score for hit in hits], scores[best], atol=1e-5)

    def test_one_query_and_more_than_there_is(self, store: VectorStore) -> None:
        """A single vector is one query; asking for more than there is gives all."""
        store.upsert(["a", "b"], self.vectors(2))
        (hits,) = store.search(self.vectors(1)[0], top_k=10)
        assert {hit.id for hit in hits} == {"a", "b"}

    def test_gives_back_metadata_and_text(self, store: VectorStore) -> None:
        """Metadata keep their types, text its characters; both may be left out."""
        metadata: dict[str, Any] = {"t": "ü", "n": 3, "x": 0.25, "b": True}
        rows = self.vectors(2)
        store.upsert(["a"], rows[:1], [metadata], ["two\nlines ☂"])
        store.upsert(["b"], rows[1:])
        (hit,) = store.search(rows[0], top_k=1)[0]
        assert (hit.id, dict(hit.metadata), hit.text) == ("a", metadata, "two\nlines ☂")
        assert type(hit.metadata["n"]) is int
        assert hit.metadata["b"] is True
        (hit,) = store.search(rows[1], top_k=1)[0]
        assert (dict(hit.metadata), hit.text) == ({}, "")

    def test_upsert_replaces_whole_rows(self, store: VectorStore) -> None:
        """Vector, metadata and text of before are gone, and the row is there once."""
        rows = self.vectors(2)
        store.upsert(["a"], rows[:1], [{"old": 1, "both": 1}], ["old"])
        store.upsert(["a"], rows[1:], [{"both": 2}], ["new"])
        assert store.count() == 1
        (hit,) = store.search(rows[1], top_k=5)[0]
        assert hit.score > 0.9999
        assert (dict(hit.metadata), hit.text) == ({"both": 2}, "new")

    def test_delete(self, store: VectorStore) -> None:
        """A deleted row is not counted or found any more; its id can be used again."""
        rows = self.vectors(3)
        store.upsert(["a", "b", "c"], rows)
        store.delete(["b", "nobody"])
        assert store.count() == 2
        assert {h.id for h in store.search(rows[1], top_k=3)[0]} == {"a", "c"}
        store.upsert(["b"], rows[1:2])
        assert store.search(rows[1], top_k=1)[0][0].id == "b"

    @pytest.mark.parametrize(("where", "expected"), FILTERS)
    def test_filter(self, store: VectorStore, where: Mapping[str, Any], expected: set[int]) -> None:
        """Each filter of the language leaves exactly the rows it matches."""
        store.upsert([str(n) for n in range(len(METADATAS))], self.vectors(5), METADATAS)
        (hits,) = store.search(self.vectors(1, seed=1), top_k=5, where=where)
        assert {int(hit.id) for hit in hits} == expected

    def test_filter_is_applied_before_counting(self, store: VectorStore) -> None:
        """``top_k`` rows come back under a filter that matches few and far ones."""
        rows = self.vectors(200)
        rare = [{"rare": n % 20 == 0} for n in range(200)]
        store.upsert([str(n) for n in range(200)], rows, rare)
        (hits,) = store.search(rows[1], top_k=10, where={"rare": True})
        assert sorted(int(hit.id) for hit in hits) == list(range(0, 200, 20))

    @pytest.mark.parametrize(("where", "message"), BAD_FILTERS)
    def test_bad_filter(self, store: VectorStore, where: Mapping[str, Any], message: str) -> None:
        """A filter that is not of the language is refused by what is wrong with it."""
        store.upsert(["a"], self.vectors(1), [{"page": 1}])
        with pytest.raises(ConfigError, match=message):
            store.search(self.vectors(1), top_k=1, where=where)

    def test_refuses_what_does_not_fit(self, store: VectorStore) -> None:
        """Wrong dimension, counts, ids, metadata and numbers are errors that change nothing."""
        good = self.vectors(2)
        with pytest.raises(DataError, match=f"dimension {self.dim}"):
            store.upsert(["a"], np.ones((1, self.dim + 1)))
        with pytest.raises(DataError, match="3 ids and 2 vectors"):
            store.upsert(["a", "b", "c"], good)
        with pytest.raises(DataError, match="'a' is given twice"):
            store.upsert(["a", "a"], good)
        with pytest.raises(DataError, match="got list"):
            store.upsert(["a"], good[:1], [{"tags": ["x"]}])  # type: ignore[dict-item]
        with pytest.raises(DataError, match="2 ids and 1 texts"):
            store.upsert(["a", "b"], good, texts=["one"])
        with pytest.raises(DataError, match="zero or not finite"):
            store.upsert(["a"], np.zeros((1, self.dim)))
        with pytest.raises(DataError, match="zero or not finite"):
            store.upsert(["a"], np.full((1, self.dim), np.nan))
        assert store.count() == 0
        with pytest.raises(DataError, match=f"dimension {self.dim}"):
            store.search(np.ones(self.dim + 1), top_k=1)
        with pytest.raises(ConfigError, match="at least 1"):
            store.search(good, top_k=0)

    def test_survives_closing(self, tmp_path: Path) -> None:
        """What was in it at closing is in it when it is opened again, and closing twice is fine."""
        rows = self.vectors(20)
        store = self.open(tmp_path / "store")
        store.upsert([str(n) for n in range(20)], rows, [{"n": n} for n in range(20)], ["t"] * 20)
        store.delete(["3"])
        store.close()
        again = self.open(tmp_path / "store")
        assert again.count() == 19
        (hit,) = again.search(rows[7], top_k=1)[0]
        assert (hit.id, dict(hit.metadata), hit.text) == ("7", {"n": 7}, "t")
        again.upsert(["20"], self.vectors(1, seed=2))
        again.delete(["7"])
        again.close()
        again.close()
        last = self.open(tmp_path / "store")
        assert last.count() == 19
        assert last.search(rows[7], top_k=1, where={"n": 7}) == [[]]
        last.close()

    def test_survives_without_closing(self, tmp_path: Path) -> None:
        """What was flushed is there for the next one, although the first was never closed."""
        rows = self.vectors(3)
        killed = self.open(tmp_path / "store")
        for n in range(2):
            killed.upsert([str(n)], rows[n : n + 1])
            killed.flush()
        killed.flush()
        again = self.open(tmp_path / "store")
        assert again.count() == 2
        assert again.search(rows[1], top_k=1)[0][0].id == "1"
        again.close()
        killed.close()

    def test_refuses_another_dimension(self, tmp_path: Path) -> None:
        """A store made for one dimension is not opened for another."""
        store = self.open(tmp_path / "store")
        store.upsert(["a"], self.vectors(1))
        store.close()
        self.dim += 1
        with pytest.raises(StorageError, match=str(self.dim)):
            self.open(tmp_path / "store")
