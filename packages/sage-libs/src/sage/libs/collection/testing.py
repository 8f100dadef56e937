"""Fills and asks collections in tests, without a model: hashed words as vectors.

For our own tests and those of whatever stands on collections.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sage.common.records import Chunk, Document
from sage.libs.collection.reader import Collection
from sage.libs.collection.writer import CollectionWriter
from sage.libs.embedding.embedder import load_embedder

__all__ = ["MODEL", "ask", "chunked", "put"]

MODEL: Final = "mock:32"


def chunked(source: str, texts: Sequence[str], title: str = "T") -> tuple[Document, list[Chunk]]:
    """Return a document of these lines, each of which is a chunk ``source#line``."""
    document = Document(
        "\n".join(texts), doc_id=f"id-{source}", source=source, metadata={"title": title}
    )
    chunks, start = [], 0
    for line, text in enumerate(texts, start=1):
        end = start + len(text)
        facts = {"line": line, "heading": ["A", "B"]}
        chunks.append(Chunk(text, f"{source}#{line}", document.doc_id, start, end, source, facts))
        start = end + 1
    return document, chunks


def put(writer: CollectionWriter, source: str, *texts: str, version: str = "1") -> None:
    """Add a document of these lines, with the vectors of `MODEL`."""
    document, chunks = chunked(source, texts)
    vectors = load_embedder(MODEL).embed([chunk.text for chunk in chunks])
    writer.add(document, version, chunks, vectors)


def ask(collection: Collection, text: str, top_k: int = 5, **where: Any) -> list[str]:
    """Return the ids of the passages nearest to a text."""
    (vector,) = load_embedder(MODEL).embed([text])
    return [p.passage_id for p in collection.dense(vector, top_k, where or None)]
