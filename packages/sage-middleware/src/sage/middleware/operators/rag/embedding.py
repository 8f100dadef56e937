"""Embedders on a stream: chunks in, the same chunks with their vectors out.

Called by itself an operator embeds one text. On a stream ``.map(operator)`` embeds batches, because
a model takes little longer for thirty texts than for one: a text that cannot be embedded fails
alone, before the batches are filled. All subtasks of a process share the model's one session.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sage.common.config import Annotated, Meta, configurable
from sage.common.core.functions import CompositeFunction, MapFunction
from sage.common.errors import DataError, UnreachableError
from sage.common.ids import content_id
from sage.common.records import Chunk, Document, EmbeddedChunk, Passage
from sage.libs.embedding.embedder import DEFAULT_MODEL, Embedder, load_embedder

if TYPE_CHECKING:
    from sage.kernel import DataStream
    from sage.libs.embedding.openai import OpenAIEmbedder

__all__ = ["Embeddable", "EmbeddingOperator", "VLLMEmbeddingOperator", "as_chunk"]

Embeddable = Chunk | Document | Passage | Mapping[str, Any] | str
_MaxBatch = Annotated[int, Meta(ge=1)]
_MaxWait = Annotated[float, Meta(ge=0)]


class EmbedFunction(CompositeFunction[Embeddable, EmbeddedChunk]):
    """What the embedding operators share; they differ in the embedder."""

    _max_batch: int
    _max_wait_ms: float
    _warned = False

    @abstractmethod
    def _load(self) -> Embedder:
        """Return the embedder; called once for each instance."""

    @cached_property
    def _embedder(self) -> Embedder:
        return self._load()

    def open(self, context: Any) -> None:
        """Load the model, so that missing weights or a dead server stop the job at its start."""
        _ = self._embedder.dim

    def map(self, record: Embeddable) -> EmbeddedChunk:
        """Return the record as a chunk with its vector.

        Raises:
            DataError: if it has no text.
        """
        return self.embed([as_chunk(record)])[0]

    def embed(self, chunks: Sequence[Chunk]) -> list[EmbeddedChunk]:
        """Return chunks with their vectors, in the same order; the embedder batches by length."""
        vectors = self._embedder.embed([chunk.text for chunk in chunks])
        self._tell_truncated(chunks)
        model = self._embedder.model
        return [
            EmbeddedChunk(**{**chunk, "vector": vector, "model": model})
            for chunk, vector in zip(chunks, vectors, strict=True)
        ]

    def expand(self, stream: DataStream[Any], **options: Any) -> DataStream[EmbeddedChunk]:
        """Put the operator on a stream: each record as a chunk, then the chunks in batches."""
        name = options.pop("name")
        each = {key: options[key] for key in ("parallelism", "on_error") if key in options}
        return stream.map(as_chunk, name=f"{name}: chunk", **each).map_batches(
            _EmbedBatch(self),
            max_size=self._max_batch,
            max_wait_ms=self._max_wait_ms,
            name=name,
            **options,
        )

    def _tell_truncated(self, chunks: Sequence[Chunk]) -> None:
        """Say so when a text certainly has more tokens than the model reads."""
        limit = getattr(self._embedder, "max_tokens", None)
        if limit is None:
            return
        # A word is a token or more; texts that only their tokens make too long are not noticed.
        long = [c for c in chunks if len(c.text) > limit and len(c.text.split()) > limit]
        if not long:
            return
        if self.context is not None:
            self.context.metrics.counter("truncated").inc(len(long))
        if not self._warned:
            self._warned = True
            self.logger.warning(
                "the text of %r has %d words; %s reads %d tokens, and the rest is not in the "
                "vector: cut documents into chunks before they are embedded",
                long[0].source or long[0].doc_id,
                len(long[0].text.split()),
                self._embedder.model,
                limit,
            )


class _EmbedBatch(MapFunction[list[Chunk], list[EmbeddedChunk]]):
    """The operator as ``map_batches`` calls it."""

    def __init__(self, operator: EmbedFunction) -> None:
        self._operator = operator

    def open(self, context: Any) -> None:
        self._operator.attach(context)
        self._operator.open(context)

    def close(self) -> None:
        self._operator.close()

    def map(self, record: list[Chunk]) -> list[EmbeddedChunk]:
        return self._operator.embed(record)


@configurable
class EmbeddingOperator(EmbedFunction):
    """Gives each chunk the vector of its text, with a model on this machine.

    Takes chunks, and documents, texts and mappings with ``text`` as one chunk each. What a model
    cannot read whole is truncated: cut documents first, `ChunkedFileSource` does.

    Args:
        model: A model id or a directory with weights; by default all-MiniLM-L6-v2.
        backend: What computes the vectors; ``auto`` takes what is fastest on this machine.
        max_batch: Most chunks in a batch on a stream; the embedder divides it by its own budget.
        max_wait_ms: Longest wait for a batch to fill.
        embedder: An embedder of your own, in place of ``model``.

    Raises:
        MissingWeightsError: at first use (``open`` in a pipeline), if the model is not there.
        ConfigError: if an option is wrong.

    Example:
        >>> operator = EmbeddingOperator(model="mock:8")
        >>> embedded = operator.map({"text": "Water boils.", "doc_id": "a", "page": 3})
        >>> embedded.vector.shape, embedded.model, embedded["doc_id"], embedded.metadata
        ((8,), 'mock:8', 'a', {'page': 3})
    """

    def __init__(
        self,
        *,
        model: str = DEFAULT_MODEL,
        backend: str = "auto",
        max_batch: _MaxBatch = 128,
        max_wait_ms: _MaxWait = 20.0,
        embedder: Embedder | None = None,
    ) -> None:
        self.model = model
        self.backend = backend
        self._max_batch = max_batch
        self._max_wait_ms = max_wait_ms
        self._given = embedder

    def _load(self) -> Embedder:
        return self._given or load_embedder(self.model, backend=self.backend)


@configurable
class VLLMEmbeddingOperator(EmbedFunction):
    """Gives each chunk the vector of its text, with a model that a vLLM server runs.

    Any server that speaks the OpenAI embeddings protocol will do. The server is asked once before
    the first record. Without a server use `EmbeddingOperator`, which runs the model here.

    Args:
        model: The model's name, as the server knows it.
        base_url: Where the API begins; default ``$VLLM_BASE_URL``, else ``$OPENAI_BASE_URL``, else
            ``http://localhost:8000/v1``, where vLLM listens.
        api_key: Default ``$VLLM_API_KEY``; mostly none is needed.
        max_batch: Most chunks in a batch on a stream.
        max_wait_ms: Longest wait for a batch to fill.

    Raises:
        UnreachableError: from ``open``, or the first use, if no server answers.
        EndpointError: if it answers with an error.

    Example:
        >>> from sage.libs.generation.testing import FakeOpenAIServer
        >>> with FakeOpenAIServer() as server:
        ...     operator = VLLMEmbeddingOperator(model="fake", base_url=server.base_url)
        ...     operator.map("Water boils.").model
        'vllm:fake'
    """

    def __init__(
        self,
        *,
        model: Annotated[str, Meta(min_length=1)] = DEFAULT_MODEL,
        base_url: str | None = None,
        api_key: str | None = None,
        max_batch: _MaxBatch = 128,
        max_wait_ms: _MaxWait = 20.0,
    ) -> None:
        self.model = model
        self._max_batch = max_batch
        self._max_wait_ms = max_wait_ms
        self._server = _server(model, base_url, api_key)

    def _load(self) -> Embedder:
        return self._server

    def open(self, context: Any) -> None:
        """Ask the server for the length of its vectors.

        Raises:
            UnreachableError: if no server answers; it says where to name one, and what runs here.
        """
        with _server_named(self.model):
            super().open(context)

    def embed(self, chunks: Sequence[Chunk]) -> list[EmbeddedChunk]:
        """Return chunks with their vectors, in the same order."""
        with _server_named(self.model):
            return super().embed(chunks)


def _server(model: str, base_url: str | None, api_key: str | None) -> OpenAIEmbedder:
    from sage.libs.embedding.openai import OpenAIEmbedder

    # As the embedders on this machine do, the server cuts off what its model cannot read.
    truncating = {"truncate_prompt_tokens": -1}
    return OpenAIEmbedder(
        model=model, server="vllm", base_url=base_url, api_key=api_key, extra_body=truncating
    )


@contextmanager
def _server_named(model: str) -> Iterator[None]:
    """Tell whoever has no server where to name one, and what works without."""
    try:
        yield
    except UnreachableError as error:
        error.hint = (
            f"start a server (vllm serve {model}), name it by base_url= or $VLLM_BASE_URL, "
            f"or run the model here: EmbeddingOperator(model={model!r})"
        )
        raise


def as_chunk(record: Embeddable) -> Chunk:
    """Return a record as a chunk with ids; equal ones have equal ids.

    Raises:
        DataError: if it has no text.

    Example:
        >>> as_chunk({"text": "Water boils.", "id": "a#1", "page": 3}).chunk_id
        'a#1'
    """
    chunk = _coerced(record)
    if not chunk.text.strip():
        raise DataError(
            f"there is no text to embed in {chunk.source or chunk.doc_id or 'the record'!r}"
        )
    doc_id = chunk.doc_id or chunk.source or content_id(chunk.text)
    chunk_id = chunk.chunk_id or content_id(doc_id, chunk.text)
    if (doc_id, chunk_id) == (chunk.doc_id, chunk.chunk_id):
        return chunk
    return replace(chunk, doc_id=doc_id, chunk_id=chunk_id)


def _coerced(record: object) -> Chunk:
    if isinstance(record, Chunk):
        return record
    if isinstance(record, str):
        return Chunk(record, end=len(record))
    if isinstance(record, Document):
        text = record.text
        return Chunk(text, "", record.doc_id, 0, len(text), record.source, record.metadata)
    if isinstance(record, Passage):
        end = len(record.text) if record.end is None else record.end
        place = (record.passage_id, record.doc_id, record.start or 0, end, record.source)
        return Chunk(record.text, *place, record.metadata)
    if isinstance(record, Mapping) and isinstance(record.get("text"), str):
        own = {"text", "chunk_id", "doc_id", "start", "end", "source"}
        given = {name: value for name, value in record.items() if name in own}
        extra = {n: v for n, v in record.items() if n not in own and n not in ("id", "metadata")}
        given["metadata"] = {**record.get("metadata", {}), **extra}
        given.setdefault("chunk_id", str(record.get("id", "")))
        given.setdefault("end", len(given["text"]))
        return Chunk(**given)
    raise DataError(
        f"expected a chunk, a document, a text or a mapping with 'text' to embed, got "
        f"{type(record).__name__}: {record!r:.100}",
        hint="a question needs no operator: a retriever embeds it",
    )
