"""Indexing on streams: embedding in batches, and chunks that arrive in Chroma once."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sage.common.errors import ConfigError, DataError, UnreachableError
from sage.common.records import Chunk, Document, EmbeddedChunk, Passage
from sage.kernel import LocalEnvironment
from sage.kernel.errors import JobFailedError
from sage.libs.collection import Collection
from sage.libs.embedding import MockTextEmbedder
from sage.libs.generation.testing import FakeOpenAIServer
from sage.libs.io.sources import ChunkedFileSource
from sage.middleware.rag.operators import (
    ChromaRetriever,
    ChromaUpsertOperator,
    EmbeddingOperator,
    VLLMEmbeddingOperator,
)

MODEL = "mock:64"


class CountingEmbedder(MockTextEmbedder):
    """Writes down how many texts each call had; all copies write to one list."""

    def __init__(self, calls: list[int], max_tokens: int | None = None) -> None:
        super().__init__(fixed_dim=64)
        self.calls = calls
        self.max_tokens = max_tokens

    def __deepcopy__(self, memo: object) -> CountingEmbedder:
        return self

    def embed(self, texts: Sequence[str]) -> Any:
        self.calls.append(len(texts))
        return super().embed(texts)


def test_whatever_has_text_is_embedded_with_its_place() -> None:
    """A chunk, document, passage, text and mapping keep what is known of them."""
    operator = EmbeddingOperator(model=MODEL)
    records = [
        Chunk("Water boils.", "a#0", "a", 4, 16, "a.md", {"line": 2}),
        Document("Water boils.", "a", "a.md", {"title": "T"}),
        Passage("Water boils.", "a", source="a.md", metadata={"line": 2}),
        "Water boils.",
        {"text": "Water boils.", "doc_id": "a", "id": "a#0", "line": 2},
    ]
    embedded = [operator.map(record) for record in records]
    (vector,) = MockTextEmbedder(fixed_dim=64).embed(["Water boils."])
    assert all((e.vector == vector).all() and e.model == MODEL for e in embedded)
    assert all(e.doc_id and e.chunk_id for e in embedded)
    assert embedded[0] == EmbeddedChunk(**{**records[0], "vector": vector, "model": MODEL})
    assert (embedded[4].chunk_id, embedded[4].metadata) == ("a#0", {"line": 2})


def test_records_without_text_are_refused() -> None:
    """Blanks and records that hold no text are told, not embedded as nothing."""
    for record in ("  ", Document("", "a"), {"body": "x"}, 3):
        with pytest.raises(DataError, match="text"):
            EmbeddingOperator(model=MODEL).map(record)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["instance", "class"])
def test_a_stream_is_embedded_in_batches(given: str) -> None:
    """``map`` with any parallelism fills batches, and a bad record spoils none."""
    calls: list[int] = []
    options = {"embedder": CountingEmbedder(calls), "max_batch": 50, "max_wait_ms": 60_000.0}
    env = LocalEnvironment()
    texts = env.from_collection([f"text {n}" if n % 10 else "" for n in range(200)])
    policy = {"parallelism": 2, "on_error": "dead_letter"}
    if given == "class":
        stream = texts.map(EmbeddingOperator, options, **policy)
    else:
        stream = texts.map(EmbeddingOperator(**options), **policy)
    embedded = stream.collect()
    assert sorted(e.text for e in embedded) == sorted(f"text {n}" for n in range(200) if n % 10)
    assert sum(calls) == 180
    assert len(calls) <= 6


def test_a_text_that_the_model_does_not_read_whole_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Truncation is said once and counted, so that nobody loses text without knowing."""
    env = LocalEnvironment()
    long = Document("word " * 30, "d", "long.txt")
    embedder = CountingEmbedder([], max_tokens=20)
    with caplog.at_level(logging.WARNING):
        env.from_collection([long, long, "short"]).map(
            EmbeddingOperator(embedder=embedder), name="embed"
        ).for_each(lambda record: None)
        result = env.execute()
    assert result.metrics["embed"].custom == {"truncated": 2}
    assert caplog.text.count("'long.txt' has 30 words") == 1


def test_operators_travel() -> None:
    """A used operator can be copied and sent to another process."""
    operator = EmbeddingOperator(model=MODEL)
    expected = operator.map("Water boils.")
    for other in (copy.deepcopy(operator), pickle.loads(pickle.dumps(operator))):
        assert (other.map("Water boils.").vector == expected.vector).all()
    with FakeOpenAIServer() as server:
        vllm = VLLMEmbeddingOperator(model="fake", base_url=server.base_url)
        assert pickle.loads(pickle.dumps(vllm)).map("a").model == "vllm:fake"


def test_options_are_checked() -> None:
    """An unknown key gets a suggestion, a wrong backend and address are refused at once."""
    with pytest.raises(ConfigError, match="did you mean 'model'"):
        EmbeddingOperator(modell="a")  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="backend"):
        EmbeddingOperator(backend="onxn").open(None)
    with pytest.raises(ConfigError, match="http"):
        VLLMEmbeddingOperator(model="m", base_url="localhost:8000")


def test_without_a_server_it_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who pastes the snippet is left with 'connection refused' alone."""
    for name in ("VLLM_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    operator = VLLMEmbeddingOperator(model="acme/embedder", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(UnreachableError) as refused:
        operator.open(None)
    for told in ("base_url", "VLLM_BASE_URL", "EmbeddingOperator(model='acme/embedder')"):
        assert told in str(refused.value)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Two short documents."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "water.md").write_text("# Water\n\nWater boils at 100 degrees.\n", encoding="utf-8")
    (folder / "iron.md").write_text("# Iron\n\nIron rusts in water.\n", encoding="utf-8")
    return folder


def test_the_distributed_indexing_snippet_runs(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Load, embed by eight subtasks on a server, upsert; again, and the index is the same."""
    pytest.importorskip("chromadb")
    monkeypatch.setenv("SAGE_HOME", str(tmp_path / "home"))
    with FakeOpenAIServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        for _ in range(2):
            env = LocalEnvironment()
            (
                env.from_source(ChunkedFileSource(str(docs)))
                .map(
                    VLLMEmbeddingOperator(model="sentence-transformers/all-MiniLM-L6-v2"),
                    parallelism=8,
                )
                .to_sink(ChromaUpsertOperator(collection="distributed_docs"), parallelism=2)
            )
            env.execute()
        with Collection.open("distributed_docs") as collection:
            stats = collection.stats()
        assert (stats.store, stats.chunks, stats.documents) == ("chroma", 2, 2)
        assert stats.model == "vllm:sentence-transformers/all-MiniLM-L6-v2"
        retriever = ChromaRetriever(collection="distributed_docs", top_k=2)
        found = retriever.map("Iron rusts in water.")
        retriever.close()
        assert {Path(p.source).name for p in found} == {"water.md", "iron.md"}


def test_what_the_sink_guarantees_is_in_the_plan(tmp_path: Path) -> None:
    """With checkpoints a record is in the collection once, and ``explain`` says so."""
    config = {"fault_tolerance": {"checkpoint_dir": str(tmp_path)}}
    env = LocalEnvironment("index", config)
    env.from_collection(["a"]).map(EmbeddingOperator(model=MODEL)).sink(
        ChromaUpsertOperator(collection="a", home=tmp_path)
    )
    assert "effectively once (idempotent)" in str(env.explain())


def test_a_failing_model_fails_the_job_and_writes_nothing(tmp_path: Path) -> None:
    """An embedder's error is the job's, and no half of a batch is in the collection."""
    pytest.importorskip("chromadb")

    class Failing(MockTextEmbedder):
        def embed(self, texts: Sequence[str]) -> Any:
            raise RuntimeError("out of memory")

    env = LocalEnvironment()
    env.from_collection(["a"]).map(EmbeddingOperator(embedder=Failing())).sink(
        ChromaUpsertOperator(collection="a", home=tmp_path)
    )
    with pytest.raises(JobFailedError, match="out of memory"):
        env.execute()
    assert Collection.names(tmp_path) == []


def test_vectors_of_another_model_are_replaced() -> None:
    """What was embedded once can be embedded again, with ids or without."""
    operator = EmbeddingOperator(model="mock:8")
    old = EmbeddedChunk("Water boils.", vector=[1.0], model="old")
    new = operator.map(old)
    assert (new.model, len(new.vector)) == ("mock:8", 8)
    assert new.chunk_id == operator.map("Water boils.").chunk_id
