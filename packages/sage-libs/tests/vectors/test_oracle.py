"""Any sequence of calls leaves a store with the rows that a dict would have, and finds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from sage.libs.vectors import ChromaStore, FaissStore, NumpyStore, ShardedStore, VectorStore
from sage.libs.vectors.faiss_index import FaissIndex

DIM = 4
IDS = [f"id-{n}" for n in range(30)]
POOL = np.random.default_rng(3).normal(size=(64, DIM)).astype(np.float32)
POOL /= np.linalg.norm(POOL, axis=1, keepdims=True)

Row = tuple[int, dict[str, Any], str]


class SmallSteps(FaissIndex):
    """Changes its kind at a few rows already."""

    flat_below, ivf_below, tail_rows = 6, 14, 3


class SmallFaissStore(FaissStore):
    """A FAISS store that goes through all kinds of index in a test."""

    def _new_index(self) -> FaissIndex:
        return SmallSteps(self.dim)


ROWS = st.tuples(
    st.integers(0, len(POOL) - 1),
    st.fixed_dictionaries({}, optional={"n": st.integers(0, 3), "s": st.sampled_from("ab")}),
    st.sampled_from(["", "text", "☂"]),
)
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.dictionaries(st.sampled_from(IDS), ROWS, max_size=12)),
        st.tuples(st.just("delete"), st.lists(st.sampled_from(IDS), max_size=8)),
        st.tuples(st.sampled_from(["flush", "reopen", "search"]), st.none()),
    ),
    max_size=8,
)


def check(store: VectorStore, rows: dict[str, Row]) -> None:
    """Compare what a store finds with what is right by comparing all rows."""
    assert store.count() == len(rows)
    for top_k, where in ((3, None), (50, None), (50, {"n": {"$gte": 2}}), (2, {"s": {"$ne": "a"}})):
        kept = {
            name: row
            for name, row in rows.items()
            if where is None
            or ("n" in where and row[1].get("n", -1) >= 2)
            or ("s" in where and row[1].get("s") != "a")
        }
        (hits,) = store.search(POOL[0], top_k, where)
        scores = sorted((float(POOL[row[0]] @ POOL[0]) for row in kept.values()), reverse=True)
        assert [hit.score for hit in hits] == pytest.approx(scores[:top_k], abs=1e-5)
        assert len({hit.id for hit in hits}) == len(hits)
        for hit in hits:
            vector, metadata, text = kept[hit.id]
            assert hit.score == pytest.approx(float(POOL[vector] @ POOL[0]), abs=1e-5)
            assert (dict(hit.metadata), hit.text) == (metadata, text)


def run(opened: Callable[[], VectorStore], calls: list[tuple[str, Any]]) -> None:
    """Make the calls on a store and on a dict."""
    rows: dict[str, Row] = {}
    store = opened()
    for call, what in [*calls, ("search", None), ("reopen", None)]:
        if call == "upsert":
            given_rows = list(what.values())
            store.upsert(
                list(what),
                POOL[[vector for vector, _, _ in given_rows]],
                [metadata for _, metadata, _ in given_rows],
                [text for _, _, text in given_rows],
            )
            rows.update(what)
        elif call == "delete":
            store.delete(what)
            rows = {name: row for name, row in rows.items() if name not in what}
        elif call == "flush":
            store.flush()
        elif call == "reopen":
            store.close()
            store = opened()
            check(store, rows)
        else:
            check(store, rows)
    store.close()


@pytest.mark.parametrize("kind", [NumpyStore, FaissStore, SmallFaissStore, ShardedStore])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(calls=CALLS)
def test_a_store_is_a_dict_that_can_be_searched(
    tmp_path_factory: pytest.TempPathFactory, kind: Any, calls: list[tuple[str, Any]]
) -> None:
    """Upserts, deletes, saving and opening again, in any order, never lose or invent a row."""
    path = tmp_path_factory.mktemp("store")
    run(lambda: kind(dim=DIM, path=path), calls)


@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],  # each example opens databases: no shrinking
)
@example(calls=[("upsert", {IDS[0]: (0, {}, "")}), ("delete", [IDS[0], IDS[0]])])
@given(calls=CALLS)
def test_chroma_is_a_dict_that_can_be_searched(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[str, Any]]
) -> None:
    """The same of Chroma, a few times."""
    pytest.importorskip("chromadb")
    path: Path = tmp_path_factory.mktemp("chroma")
    run(lambda: ChromaStore(dim=DIM, path=path), calls)
