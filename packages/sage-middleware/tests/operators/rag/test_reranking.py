"""Reranking: the best in front, with the scores of both stages, and clear errors without torch."""

from __future__ import annotations

import copy
import importlib.util
import pickle
from collections.abc import Sequence

import numpy as np
import pytest

from sage.common.errors import ConfigError, DataError, MissingExtraError
from sage.common.records import Passage, Query, Retrieved
from sage.kernel import LocalEnvironment
from sage.middleware.operators.rag import HybridRetriever, RerankOperator

TEXTS = ["Gold shines.", "Iron ore is heavy.", "Does iron rust in water?", "Chess is a game."]
FOUND = Retrieved(
    Query("does iron rust"),
    tuple(Passage(text, text, 1 - n / 10) for n, text in enumerate(TEXTS)),
)
MODEL = "late-interaction:mock:256"


class Lengths:
    """A reranker that prefers long texts."""

    model = "lengths"

    def scores(self, query: str, texts: Sequence[str]) -> np.ndarray:
        return np.array([len(text) for text in texts], dtype=np.float32)


def test_the_passage_that_answers_comes_first_with_both_scores() -> None:
    """What the first stage ranked third is first, and nobody forgets what it said."""
    found = RerankOperator(model=MODEL, top_k=2).map(FOUND)
    assert len(found) == 2
    best = found[0]
    assert best.text == TEXTS[2]
    assert best.metadata["scores"]["retrieve"] == pytest.approx(0.8)
    assert best.metadata["scores"]["rerank"] == pytest.approx(1.0, abs=0.5)
    assert found.steps[-1].name == "rerank"
    assert found.steps[-1].detail["model"] == MODEL
    assert "candidates" not in found.steps[-1].detail


def test_an_explained_query_tells_what_moved_where() -> None:
    """The step has each candidate's old place, both scores and the new rank."""
    query = Query.of({**FOUND.query, "explain": True})
    found = RerankOperator(model=MODEL, top_k=1).map(Retrieved(query, FOUND.passages))
    lines = found.steps[-1].detail["candidates"]
    assert [line["rank"] for line in lines] == [1, 2, 3, 4]
    assert (lines[0]["was"], lines[0]["doc_id"]) == (3, TEXTS[2])
    assert lines[0]["scores"].keys() == {"retrieve", "rerank"}


def test_a_reranker_of_the_users_alone_decides_but_for_its_weight() -> None:
    """``weight`` says how much the first stage still counts."""
    order = [p.text for p in RerankOperator(reranker=Lengths(), top_k=4).map(FOUND)]
    assert order == sorted(TEXTS, key=len, reverse=True)
    kept = RerankOperator(reranker=Lengths(), top_k=4, weight=0.0).map(FOUND)
    assert [p.text for p in kept] == TEXTS


def test_nothing_found_stays_nothing() -> None:
    """No passages are no error."""
    assert list(RerankOperator(model=MODEL).map(Retrieved(Query("q")))) == []


def test_what_is_not_retrieved_is_refused() -> None:
    """A question before retrieval is told what is missing, an unknown key what is near."""
    with pytest.raises(DataError, match="RerankOperator expected retrieved passages"):
        RerankOperator(model=MODEL).map("q")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="did you mean 'top_k'"):
        RerankOperator(topk=3)  # type: ignore[call-arg]


@pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is not None, reason="torch is installed"
)
def test_a_cross_encoder_without_torch_names_the_extra_and_the_way_without() -> None:
    """The snippet with a cross-encoder stops before its first record, and says what works here."""
    operator = RerankOperator(model="cross-encoder/ms-marco-MiniLM-L-12-v2", top_k=5)
    with pytest.raises(MissingExtraError, match=r"torch.*offline"):
        operator.open(None)


def test_it_travels_and_runs_in_parallel() -> None:
    """A used operator can be copied and pickled, and works in several subtasks."""
    operator = RerankOperator(model=MODEL, top_k=1)
    expected = operator.map(FOUND).passages
    for other in (copy.deepcopy(operator), pickle.loads(pickle.dumps(operator))):
        assert other.map(FOUND).passages == expected
    found = LocalEnvironment().from_collection([FOUND] * 8).map(operator, parallelism=2).collect()
    assert [f.passages for f in found] == [expected] * 8


@pytest.mark.parametrize("rerank", [True, MODEL])
def test_a_hybrid_retriever_reranks_its_candidates(rerank: bool | str) -> None:
    """``rerank=`` is the operator behind the retriever; the steps have both times."""
    retriever = HybridRetriever(model="mock:256", documents=TEXTS, top_k=1, rerank=rerank)
    retriever.open(None)
    found = retriever.map("does iron rust in water")
    assert [p.text for p in found] == [TEXTS[2]]
    assert [step.name for step in found.steps] == ["retrieve", "rerank"]
    assert found.steps[1].detail["candidates_read"] == 4
    assert copy.deepcopy(retriever).map("does iron rust in water").passages == found.passages


def test_a_hybrid_retriever_explains_its_legs_when_asked() -> None:
    """Each leg's candidates come with ranks, scores and times; a plain query carries none."""
    retriever = HybridRetriever(model="mock:256", documents=TEXTS, top_k=1)
    assert "legs" not in retriever.map("iron").steps[-1].detail
    detail = retriever.map({"query": "does iron rust", "explain": True}).steps[-1].detail
    dense, lexical = detail["legs"]
    assert (dense["leg"], lexical["leg"]) == ("dense", "lexical")
    assert len(dense["candidates"]) == dense["found"] == 4
    assert {line["doc_id"] for line in lexical["candidates"]} < {
        line["doc_id"] for line in dense["candidates"]
    }
    assert dense["elapsed_s"] > 0
    assert detail["candidates"][0]["rank"] == 1
