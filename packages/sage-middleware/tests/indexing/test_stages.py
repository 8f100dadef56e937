"""The stages of indexing, one by one."""

from __future__ import annotations

import numpy as np
import pytest

from sage.common.errors import DataError, LimitError
from sage.common.records import Chunk, Document
from sage.libs.embedding import MockTextEmbedder
from sage.middleware.indexing.changes import FoundFile
from sage.middleware.indexing.loading import Loaded
from sage.middleware.indexing.memory import BatchSize
from sage.middleware.indexing.progress import ProgressMeter
from sage.middleware.indexing.report import FailedDocument
from sage.middleware.indexing.stages import (
    CutDocument,
    DocumentAssembler,
    Embedded,
    EmbedPieces,
    Piece,
    StageClock,
)

METER = ProgressMeter(0, 0)
PLENTY = 1 << 60
FAILURE = FailedDocument("/docs/bad.pdf", "not a PDF", "data-error")


class FakeWriter:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.documents: dict[str, tuple[str, list[str], np.ndarray]] = {}

    def add(self, document, fingerprint, chunks, vectors) -> None:
        self.documents[document.source] = (fingerprint, [c.text for c in chunks], vectors)


class FakeMemory:
    """Remembers vectors as long as it lives."""

    def __init__(self) -> None:
        self.vectors: dict[str, np.ndarray] = {}

    def recall(self, texts):
        return [self.vectors.get(text) for text in texts]

    def remember(self, texts, vectors) -> None:
        self.vectors.update(zip(texts, vectors, strict=True))


def embedding(embedder, *, meter=METER, memory=None, sizes=None):
    return EmbedPieces(
        lambda: embedder, memory or FakeMemory(), sizes or BatchSize(8, limit_bytes=PLENTY), meter
    )


class FakeChunker:
    """Cuts at blanks; explodes at the word 'explode'."""

    def chunk(self, document: Document) -> list[Chunk]:
        if "explode" in document.text:
            raise RecursionError("too deep")
        return [Chunk(word, source=document.source) for word in document.text.split()]


def pieces_of(source: str, text: str, size_bytes: int = 100) -> list[Piece]:
    file = FoundFile(source, f"hash of {text}", size_bytes)
    words = text.split()
    document = Document(text, source=source)
    return [Piece(file, document, Chunk(w), i, len(words)) for i, w in enumerate(words)]


def embedded(piece: Piece) -> Embedded:
    return Embedded(piece, np.full(2, piece.number, dtype=np.float32))


def test_a_document_is_written_once_it_is_whole_and_in_order():
    """Pieces may arrive mixed and reversed; the writer sees whole documents."""
    writer = FakeWriter()
    assemble = DocumentAssembler(writer, [], METER)
    a, b = pieces_of("a", "one two three"), pieces_of("b", "four five")
    for piece in (a[2], b[0], a[0]):
        assemble(embedded(piece))
    assert writer.documents == {}
    assert assemble.unfinished == ["a", "b"]
    assemble(embedded(a[1]))
    fingerprint, texts, vectors = writer.documents["a"]
    assert (fingerprint, texts) == ("hash of one two three", ["one", "two", "three"])
    assert vectors.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert assemble.unfinished == ["b"]
    assert assemble.chunks == 3


def test_failures_are_counted_by_the_sink():
    """A failure that comes down the stream is not lost."""
    assemble = DocumentAssembler(FakeWriter(), [], METER)
    assemble(FAILURE)
    assert assemble.failed == [FAILURE]


def test_progress_follows_the_bytes_of_the_chunks():
    """A large file advances the bar chunk by chunk, and everything ends at the whole."""
    seen = []
    meter = ProgressMeter(2, 300, seen.append)
    pieces = pieces_of("a", "one two", size_bytes=200)
    broken = FoundFile(FAILURE.source, "hash", 100)
    assemble = DocumentAssembler(FakeWriter(), [pieces[0].file, broken], meter)
    embed = embedding(MockTextEmbedder(fixed_dim=8), meter=meter)
    for record in (*embed(pieces[:1]), *embed(pieces[1:]), FAILURE):
        assemble(record)
    assert [state.size_bytes for state in seen] == [100, 200, 200, 300]
    assert [state.documents for state in seen] == [0, 0, 1, 2]
    assert [state.chunks for state in seen] == [1, 2, 2, 2]
    assert assemble.pending == 0


def test_a_batch_is_embedded_in_order_and_failures_pass():
    """Each piece gets the vector of its own text."""
    embedder = MockTextEmbedder(fixed_dim=8)
    first, second = pieces_of("a", "alpha beta")
    out = embedding(embedder)([first, FAILURE, second])
    assert out[1] is FAILURE
    expected = embedder.embed(["alpha", "beta"])
    assert isinstance(out[0], Embedded)
    assert isinstance(out[2], Embedded)
    np.testing.assert_array_equal(out[0].vector, expected[0])
    np.testing.assert_array_equal(out[2].vector, expected[1])


def test_weights_are_not_loaded_for_failures_alone():
    """A run in which nothing can be embedded asks for no embedder."""

    def refuse():
        raise AssertionError("the embedder was loaded")

    stage = EmbedPieces(refuse, FakeMemory(), BatchSize(8, limit_bytes=PLENTY), METER)
    assert stage([FAILURE]) == [FAILURE]


class FakeSmallMachine:
    """Embeds so many texts at a time, and runs out of memory with more."""

    def __init__(self, most: int, error: Exception) -> None:
        self.most, self.error = most, error
        self.asked: list[int] = []

    def embed(self, texts):
        self.asked.append(len(texts))
        if len(texts) > self.most:
            raise self.error
        return np.array([[len(text)] for text in texts], dtype=np.float32)


OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {})  # as torch calls its own


@pytest.mark.parametrize(
    "error", [MemoryError(), OutOfMemoryError("CUDA"), RuntimeError("std::bad_alloc")]
)
def test_a_batch_that_memory_is_too_short_for_is_halved(error):
    """It is tried again in smaller parts, which stay small; every piece gets its vector."""
    machine = FakeSmallMachine(2, error)
    sizes = BatchSize(8, limit_bytes=PLENTY)
    stage = embedding(machine, sizes=sizes)
    pieces = pieces_of("a", "a bb ccc dddd e ff ggg hhhh")
    assert [e.vector.tolist() for e in stage(pieces)] == [[1], [2], [3], [4]] * 2
    assert (sizes.size, sizes.halvings) == (2, 2)
    assert machine.asked == [8, 4, 2, 2, 2, 2]
    stage(pieces_of("b", "x y z"))
    assert machine.asked[6:] == [2, 1]


def test_too_little_memory_for_one_chunk_is_an_error_that_says_so():
    """It is told what is missing; any other error is passed on as it is."""
    (piece,) = pieces_of("a", "one")
    with pytest.raises(LimitError, match="a single chunk"):
        embedding(FakeSmallMachine(0, MemoryError()))([piece])
    with pytest.raises(ValueError, match="wrong"):
        embedding(FakeSmallMachine(0, ValueError("wrong")))([piece])


def test_a_process_above_its_limit_embeds_less_at_once():
    """What fits is kept; the batches after it are smaller."""
    sizes = BatchSize(4, limit_bytes=100, used=lambda: 101)
    machine = FakeSmallMachine(9, MemoryError())
    out = embedding(machine, sizes=sizes)(pieces_of("a", "a b c d e f g h"))
    assert len(out) == 8
    assert machine.asked == [4, 2, 1, 1]


def test_what_was_embedded_before_is_not_embedded_again():
    """Vectors that are remembered are taken; the others are computed and remembered."""
    memory, machine = FakeMemory(), FakeSmallMachine(9, MemoryError())
    memory.vectors["bb"] = np.array([7], dtype=np.float32)
    stage = embedding(machine, memory=memory)
    pieces = pieces_of("a", "a bb ccc")
    assert [e.vector.tolist() for e in stage(pieces)] == [[1], [7], [3]]
    assert [e.vector.tolist() for e in stage(pieces)] == [[1], [7], [3]]
    assert machine.asked == [2]


@pytest.fixture
def cut():
    """A chunking stage."""
    return CutDocument(FakeChunker)


def test_a_document_is_cut_into_numbered_pieces(cut):
    """Every piece knows how many there are."""
    file = FoundFile("a", "hash", 10)
    pieces = list(cut(Loaded(file, Document("one two", source="a"))))
    assert [(p.chunk.text, p.number, p.total) for p in pieces] == [("one", 0, 2), ("two", 1, 2)]


@pytest.mark.parametrize(("text", "reason"), [("", "no text"), ("explode", "too deep")])
def test_a_document_that_cannot_be_cut_is_a_failure(cut, text, reason):
    """Nothing disappears between the stages, and one document does not stop the others."""
    file = FoundFile("a", "hash", 10, known=True)
    (failure,) = cut(Loaded(file, Document(text, source="a")))
    assert isinstance(failure, FailedDocument)
    assert reason in failure.reason
    assert failure.kept


def test_the_clock_counts_failing_calls_too():
    """Time is time, however a call ends."""
    clock = StageClock()
    assert clock.timed("halve", lambda x: x / 2)(4) == 2
    with pytest.raises(ZeroDivisionError):
        clock.timed("divide", lambda x: 1 / x)(0)
    assert set(clock.elapsed_s) == {"halve", "divide"}
    assert clock.elapsed_s["divide"] > 0


def test_a_document_that_the_collection_refuses_is_a_failure():
    """What the writer cannot take concerns this document only."""

    class Refusing(FakeWriter):
        def add(self, document, fingerprint, chunks, vectors) -> None:
            raise DataError("cannot store the metadata")

    (piece,) = pieces_of("a", "one")
    assemble = DocumentAssembler(Refusing(), [piece.file], METER)
    assemble(embedded(piece))
    assert [failure.source for failure in assemble.failed] == ["a"]
    assert assemble.pending == 0
