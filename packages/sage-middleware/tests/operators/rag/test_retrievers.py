"""Retrievers: the right passages, the same way of asking everywhere, and errors that are errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sage.common.core.functions import MapFunction
from sage.common.errors import ConfigError, DataError, StorageError
from sage.common.records import Chunk, Document, Passage, Query, Retrieved, Step
from sage.libs.collection import Collection
from sage.libs.embedding import MockTextEmbedder, load_embedder
from sage.libs.vectors.numpy_store import NumpyStore
from sage.middleware.operators import rag
from sage.middleware.operators.rag import (
    BM25Retriever,
    ChromaRetriever,
    ChromaRetrieverOperator,
    DenseRetriever,
    FaissRetriever,
    HybridRetriever,
)
from sage.middleware.operators.rag.fusing import fused
from sage.middleware.rag import operators as older_path

DOCUMENTS = [
    {"text": "Water boils at 100 degrees.", "doc_id": "water", "page": 1},
    {"text": "Iron rusts in water.", "doc_id": "iron", "page": 2},
    {"text": "Gold does not rust.", "doc_id": "gold", "page": 3, "tags": ["metal"]},
    {"text": "Chess is a game.", "source": "chess.md"},
]
MODEL = "mock:256"

Retriever = MapFunction[Any, Retrieved]


def every() -> list[Any]:
    return [
        pytest.param(lambda **o: DenseRetriever(model=MODEL, **o), id="dense"),
        pytest.param(lambda **o: BM25Retriever(**o), id="bm25"),
        pytest.param(lambda **o: HybridRetriever(model=MODEL, **o), id="hybrid"),
    ]


@pytest.mark.parametrize("make", every())
class TestEveryRetriever:
    """What holds for all of them."""

    def test_it_finds_the_passage_and_reads_as_promised(self, make: Any) -> None:
        """A retriever works by itself; passages are read as attributes and as mappings."""
        found = make(documents=DOCUMENTS, top_k=2).map("water boils")
        assert isinstance(found, Retrieved)
        assert found[0]["doc_id"] == "water"
        best = found[0]
        assert (best["text"], best["score"]) == (best.text, best.score)
        assert best.metadata["page"] == 1
        assert len(found) <= 2
        assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)

    def test_it_is_asked_in_text_mapping_or_query(self, make: Any) -> None:
        """All three give the same passages, and keep what came with the question."""
        retriever = make(documents=DOCUMENTS)
        query = Query("does gold rust", metadata={"user": "u"}, steps=(Step("read", 0.1),))
        by_query = retriever.map(query)
        assert by_query.query == query
        assert [s.name for s in by_query.steps] == ["read", "retrieve"]
        assert retriever.map("does gold rust").passages == by_query.passages
        by_mapping = retriever.map({"question": "does gold rust", "user": "u"})
        assert by_mapping.passages == by_query.passages
        assert by_mapping.query.metadata == {"user": "u"}

    def test_a_filter_is_chromas_language(self, make: Any) -> None:
        """Filters narrow what is searched, over metadata, document id and source."""
        retriever = make(documents=DOCUMENTS)
        query = Query("water rust")
        for where, expected in [
            ({"doc_id": {"$in": ["gold", "iron"]}}, {"gold", "iron"}),
            ({"page": {"$gte": 3}}, {"gold"}),
            ({"$or": [{"page": 1}, {"doc_id": "iron"}]}, {"water", "iron"}),
        ]:
            found = retriever.map({**query, "filter": where})
            assert {p.doc_id for p in found} == expected
        with pytest.raises(ConfigError, match=r"did you mean '\$in'"):
            retriever.map({**query, "filter": {"doc_id": {"$inn": ["a"]}}})

    def test_the_step_says_who_searched_and_how_long(self, make: Any) -> None:
        """Times ride along."""
        step = make(documents=DOCUMENTS).map("water").steps[-1]
        assert step.name == "retrieve"
        assert step.elapsed_s > 0
        assert step.detail["retriever"].endswith("Retriever")
        assert step.detail["found"] > 0

    def test_an_empty_question_is_refused(self, make: Any) -> None:
        """Blanks are not a question."""
        with pytest.raises(DataError, match="empty"):
            make(documents=DOCUMENTS).map("  ")

    def test_no_documents_give_no_passages(self, make: Any) -> None:
        """An empty list of documents is searched, and nothing is found."""
        assert list(make(documents=[]).map("water")) == []

    def test_documents_are_checked_when_it_is_made(self, make: Any) -> None:
        """A document without text and a text in place of a list are refused at once."""
        with pytest.raises(DataError, match="text"):
            make(documents=[{"title": "no text"}])
        with pytest.raises(ConfigError, match="list of documents"):
            make(documents="water boils")

    def test_it_looks_in_one_place(self, make: Any) -> None:
        """Documents and a collection at once are a contradiction."""
        with pytest.raises(ConfigError, match="only one of documents and collection"):
            make(documents=DOCUMENTS, collection="docs")

    def test_options_are_checked(self, make: Any) -> None:
        """An unknown option is refused with a suggestion; so is a top_k of 0."""
        with pytest.raises(ConfigError, match="did you mean 'top_k'"):
            make(topk=3)
        with pytest.raises(ConfigError, match="top_k"):
            make(top_k=0)

    def test_copies_open_their_own_index(self, make: Any) -> None:
        """A used retriever can be copied and sent to another process."""
        retriever = make(documents=DOCUMENTS)
        expected = retriever.map("water").passages
        for other in (copy.deepcopy(retriever), pickle.loads(pickle.dumps(retriever))):
            assert other.map("water").passages == expected
            assert other._source.open() is not retriever._source.open()
        retriever.close()
        retriever.open(None)
        assert retriever.map("water").passages == expected

    def test_a_missing_collection_is_named(self, make: Any, tmp_path: Any) -> None:
        """Opening says what is missing and what makes it; it never looks like no hits."""
        retriever = make(home=tmp_path)
        with pytest.raises(DataError, match="default") as refused:
            retriever.open(None)
        assert "sage index" in str(refused.value)
        with pytest.raises(DataError):
            retriever.map("water")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with the collection ``default``: two files, three chunks."""
    embedder = load_embedder(MODEL)
    with Collection.update("default", model=MODEL, store="numpy", home=tmp_path) as writer:
        for source, texts in {
            "water.md": ["Water boils at 100 degrees.", "Ice melts at 0 degrees."],
            "iron.md": ["Iron rusts in water."],
        }.items():
            chunks = [
                Chunk(t, f"{source}#{n}", source, n, n + 1, source, {"line": n + 1})
                for n, t in enumerate(texts)
            ]
            document = Document("".join(texts), source, source)
            writer.add(document, "1", chunks, embedder.embed(texts))
        writer.commit()
    return tmp_path


@pytest.mark.parametrize("make", every())
def test_a_collection_is_searched(make: Any, home: Path) -> None:
    """Passages of a collection come with their place, and filters work on them."""
    retriever = make(home=home, top_k=2)
    retriever.open(None)
    found = retriever.map("water boils")
    assert (found[0].text, found[0].place) == ("Water boils at 100 degrees.", "water.md:1")
    filtered = retriever.map({"query": "water", "filter": {"source": "iron.md"}})
    assert [p.doc_id for p in filtered] == ["iron.md"]
    assert copy.deepcopy(retriever).map("water boils").passages == found.passages
    retriever.close()
    assert retriever.map("water boils").passages == found.passages
    retriever.close()


def test_the_model_is_the_collections_own_unless_another_is_asked_for(home: Path) -> None:
    """A retriever that names no model takes the right one; a wrong one is refused by name."""
    assert DenseRetriever(home=home).map("water boils")[0].doc_id == "water.md"
    with pytest.raises(ConfigError, match="was made with 'mock:256'"):
        DenseRetriever(model="sentence-transformers/all-MiniLM-L6-v2", home=home).open(None)


@pytest.mark.parametrize("make", every())
def test_threads_share_a_retriever(make: Any, home: Path) -> None:
    """Many that ask one retriever for the first time at once get the same, and open it once."""
    retriever = make(home=home, top_k=2)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(retriever.map, ["water boils"] * 16))
    assert all(answer.passages == found[0].passages for answer in found)
    assert found[0][0].doc_id == "water.md"
    retriever.close()


@pytest.mark.parametrize("retriever", [ChromaRetriever, FaissRetriever])
def test_a_retriever_of_one_store_refuses_another(retriever: Any, home: Path) -> None:
    """The store that a retriever's name promises is the one that is searched."""
    with pytest.raises(DataError, match="is kept in 'numpy'"):
        retriever(home=home).open(None)


def test_chroma_collections_are_read(tmp_path: Path) -> None:
    """``ChromaRetriever(collection=, top_k=)`` searches a collection kept in Chroma."""
    pytest.importorskip("chromadb")
    with Collection.update("documents", model=MODEL, store="chroma", home=tmp_path) as writer:
        texts = ["Water boils.", "Iron rusts."]
        chunks = [Chunk(t, t, "a", 0, 1) for t in texts]
        writer.add(Document("x", "a", "a.md"), "1", chunks, load_embedder(MODEL).embed(texts))
        writer.commit()
    retriever = ChromaRetrieverOperator(collection="documents", top_k=1, home=tmp_path)
    assert [p.text for p in retriever.map("iron rusts")] == ["Iron rusts."]
    query = Query("iron", filter={"doc_id": {"$in": ["b"]}})
    assert list(retriever.map(query)) == []
    retriever.close()


class FailingStore(NumpyStore):
    """A store whose disk is gone."""

    def search(self, vectors: Any, top_k: int, where: Mapping[str, Any] | None = None) -> Any:
        raise StorageError("the disk is gone")


def test_a_failing_store_is_an_error_not_an_empty_result() -> None:
    """An exception of the index reaches the caller."""
    embedder = MockTextEmbedder(fixed_dim=8)
    with pytest.raises(StorageError, match="the disk is gone"):
        DenseRetriever(index=FailingStore(dim=8), embedder=embedder).map("water")


def test_a_store_of_the_callers_is_searched() -> None:
    """``index=`` takes any vector store; ids and sources come from its metadata."""
    embedder = MockTextEmbedder(fixed_dim=64)
    store = NumpyStore(dim=64)
    metadatas = [{"doc_id": "w", "source": "w.md", "page": 1}, {"page": 2}]
    texts = ["Water boils.", "Iron rusts."]
    store.upsert(["w#0", "i#0"], embedder.embed(texts), metadatas, texts)
    retriever = DenseRetriever(index=store, embedder=embedder)
    water, iron = retriever.map("water boils")
    assert (water.text, water.doc_id, water.passage_id, water.source) == (
        "Water boils.",
        "w",
        "w#0",
        "w.md",
    )
    assert (iron.doc_id, iron.metadata) == ("i#0", {"page": 2})
    assert [p.text for p in retriever.map({"query": "water", "filter": {"page": 2}})] == [
        "Iron rusts."
    ]


def test_one_passage_is_one_document_whatever_its_length() -> None:
    """Documents are not cut further."""
    text = "Water boils. " * 400
    (passage,) = BM25Retriever(documents=[{"text": text, "doc_id": "a"}]).map("water")
    assert passage.text == text


def test_equal_documents_are_all_found() -> None:
    """Documents with the same id, or the same text, are passages of their own."""
    documents = [{"text": "Water one.", "doc_id": "a"}, {"text": "Water two.", "doc_id": "a"}]
    assert len(DenseRetriever(model=MODEL, documents=documents).map("water")) == 2
    assert len(HybridRetriever(model=MODEL, documents=documents).map("water")) == 2


def test_hybrid_finds_what_either_leg_finds() -> None:
    """A passage that only one leg knows is in the joined ranking; the step has both times."""

    class OneWordEmbedder(MockTextEmbedder):
        """Takes 'aqua' for 'water', as meaning would."""

        def embed(self, texts: Any) -> Any:
            return super().embed([t.replace("aqua", "Water boils at 100 degrees.") for t in texts])

    retriever = HybridRetriever(
        documents=DOCUMENTS, embedder=OneWordEmbedder(fixed_dim=256), top_k=4
    )
    found = retriever.map("aqua chess")
    assert {"water"} <= {p.doc_id for p in found}
    assert "Chess is a game." in [p.text for p in found][:2]
    assert {"dense_s", "lexical_s", "fusion"} <= set(found.steps[-1].detail)
    assert found.steps[-1].detail["fusion"] == "weighted"
    assert HybridRetriever(model=MODEL, documents=DOCUMENTS, fusion="rrf").map("water")
    with pytest.raises(ConfigError, match="fusion"):
        HybridRetriever(documents=DOCUMENTS, fusion="best")  # type: ignore[arg-type]


@pytest.mark.parametrize("fusion", ["weighted", "rrf"])
def test_hybrid_goes_by_words_where_the_embedder_cannot_read(fusion: Any) -> None:
    """A question in a script that the model was not trained on is not answered by its noise."""

    class BlindEmbedder(MockTextEmbedder):
        """Takes each text for the last document, and says that it cannot read."""

        def reads(self, text: str) -> float:
            return 0.0

        def embed(self, texts: Any) -> Any:
            return super().embed([DOCUMENTS[-1]["text"] for _ in texts])

    found = HybridRetriever(documents=DOCUMENTS, embedder=BlindEmbedder(), fusion=fusion)
    retrieved = found.map("chess")
    assert retrieved[0].text == "Chess is a game."
    assert retrieved.steps[-1].detail["dense_weight"] == 0.0


def test_fusion_joins_by_identity() -> None:
    """The same passage from two legs is one; passages without ids are told apart by their text."""
    a, b = Passage("a", doc_id="d", score=3.0), Passage("b", doc_id="d", score=1.0)
    assert [p.text for p in fused([[a, b], [b]], "rrf")] == ["b", "a"]
    weighted = fused([[a, b], [b]], "weighted")
    assert [(p.text, p.score) for p in weighted] == [("a", 0.5), ("b", 0.5)]
    assert fused([[], []], "rrf") == []


def test_the_older_path_has_the_same_objects() -> None:
    """``sage.middleware.rag.operators`` is the same, name by name."""
    assert older_path.__all__ == rag.__all__
    for name in rag.__all__:
        assert getattr(older_path, name) is getattr(rag, name)
    with pytest.raises(AttributeError):
        _ = rag.NoSuchOperator
