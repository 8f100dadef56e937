"""Documents and chunks of a generation, in one SQLite file."""

from __future__ import annotations

import sqlite3
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from sage.common.errors import DataError
from sage.common.ids import content_id
from sage.common.records import Chunk, Document, Passage

__all__ = ["Catalogue", "DocumentRows", "Facts", "facts_of", "passage_of"]

Facts = dict[str, str | int | float | bool]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS documents (
    source TEXT PRIMARY KEY,
    doc_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    metadata TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chunks (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,
    text TEXT NOT NULL,
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    metadata TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS chunks_of ON chunks (source);
"""
_COLUMNS: Final = """
    SELECT c.id, c.text, c.start, c.end, c.metadata, d.source, d.doc_id, d.metadata
    FROM chunks c JOIN documents d ON d.source = c.source
"""
_AT_ONCE: Final = 500  # SQLite takes 999 parameters in its oldest builds


class DocumentRows(NamedTuple):
    """A document and its chunks as columns of the tables."""

    document: tuple[str, str, str, str]
    chunks: list[tuple[str, str, str, int, int, str]]


class Catalogue:
    """The table of contents: which documents, in which version, cut into which chunks.

    Args:
        path: The SQLite file.
        read_only: Open it as a file that nobody changes.

    Raises:
        sqlite3.Error: from every method, if the file cannot be read or written.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        options = "?mode=ro&immutable=1" if read_only else "?mode=rwc"
        # Used by one thread at a time, but not always the one that opened it.
        self._db = sqlite3.connect(
            f"file:{urllib.parse.quote(str(path))}{options}", uri=True, check_same_thread=False
        )
        if not read_only:
            # A generation is synced as a whole before it counts; until then nothing needs to be.
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file; changes that were not saved are lost."""
        self._db.close()

    def save(self) -> None:
        """Make the changes so far part of the file."""
        self._db.commit()

    def counts(self) -> tuple[int, int]:
        """Return the number of documents and of chunks."""
        return (
            self._db.execute("SELECT count(*) FROM documents").fetchone()[0],
            self._db.execute("SELECT count(*) FROM chunks").fetchone()[0],
        )

    def known(self) -> dict[str, str]:
        """Return the fingerprint of each document by source."""
        return dict(self._db.execute("SELECT source, fingerprint FROM documents ORDER BY source"))

    def __contains__(self, source: object) -> bool:
        row = self._db.execute("SELECT 1 FROM documents WHERE source = ?", (source,)).fetchone()
        return row is not None

    def remove(self, source: str) -> list[str]:
        """Take a document out and return the ids of its chunks."""
        rows = self._db.execute("SELECT id FROM chunks WHERE source = ?", (source,)).fetchall()
        self._db.execute("DELETE FROM chunks WHERE source = ?", (source,))
        self._db.execute("DELETE FROM documents WHERE source = ?", (source,))
        return [row[0] for row in rows]

    def rows_of(
        self, document: Document, source: str, fingerprint: str, chunks: Mapping[str, Chunk]
    ) -> DocumentRows:
        """Return a document and its chunks as they are stored, having changed nothing yet.

        Raises:
            DataError: if a chunk's id is taken by another document, or metadata cannot be stored.
        """
        for chunk_id in chunks:
            self._refuse_taken(chunk_id, source)
        described = _encoded(_scalars(document.metadata), source)
        return DocumentRows(
            (source, document.doc_id or content_id(source), fingerprint, described),
            [
                (i, source, _clean(c.text), c.start, c.end, _encoded(c.metadata, source))
                for i, c in chunks.items()
            ],
        )

    def add(self, rows: DocumentRows) -> None:
        """Put in a document whose source is not there (any more)."""
        self._db.execute("INSERT INTO documents VALUES (?, ?, ?, ?)", rows.document)
        self._db.executemany(
            "INSERT INTO chunks (id, source, text, start, end, metadata) VALUES (?, ?, ?, ?, ?, ?)",
            rows.chunks,
        )

    def described(self, source: str) -> Facts:
        """Return the metadata of a document; none for one that is not there."""
        query = "SELECT metadata FROM documents WHERE source = ?"
        row = self._db.execute(query, (source,)).fetchone()
        return {} if row is None else msgspec.json.decode(row[0], type=Facts)

    def upsert(self, source: str, doc_id: str, chunk_id: str, chunk: Chunk) -> None:
        """Put one chunk in, beside those that its document has; an older one of its id goes.

        Raises:
            DataError: if its metadata cannot be stored.
        """
        metadata = _encoded(chunk.metadata, source)
        self._db.execute(
            "INSERT OR IGNORE INTO documents VALUES (?, ?, '', '{}')", (source, doc_id)
        )
        self._db.execute(
            "INSERT OR REPLACE INTO chunks (id, source, text, start, end, metadata) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (chunk_id, source, _clean(chunk.text), chunk.start, chunk.end, metadata),
        )

    def _refuse_taken(self, chunk_id: str, source: str) -> None:
        row = self._db.execute("SELECT source FROM chunks WHERE id = ?", (chunk_id,)).fetchone()
        if row is not None and row[0] != source:
            raise DataError(
                f"the chunk id {chunk_id!r} of {source!r} is taken by {row[0]!r}", source=source
            )

    def texts(self) -> tuple[list[str], list[str]]:
        """Return ids and texts of all chunks, in the order they were put in."""
        rows = self._db.execute("SELECT id, text FROM chunks ORDER BY number").fetchall()
        return [row[0] for row in rows], [row[1] for row in rows]

    def passages(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return the passages of these chunks by id, without scores; unknown ids are left out."""
        found: dict[str, Passage] = {}
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            for row in self._db.execute(f"{_COLUMNS} WHERE c.id IN ({marks})", tuple(part)):
                found[row[0]] = _passage(row)
        return found

    def facts(self) -> Iterator[tuple[str, Facts]]:
        """Yield id and filterable facts of each chunk, in the order they were put in."""
        for row in self._db.execute(f"{_COLUMNS} ORDER BY c.number"):
            passage = _passage(row)
            yield row[0], facts_of(passage)


def facts_of(passage: Passage) -> Facts:
    """Return what filters can ask of a chunk: its place, and the scalars of its metadata."""
    return {
        **_scalars(passage.metadata),
        "doc_id": passage.doc_id,
        "source": passage.source,
        "start": passage.start or 0,
        "end": passage.end or 0,
    }


def passage_of(document: Document, source: str, chunk_id: str, chunk: Chunk) -> Passage:
    """Return the passage that a chunk will be found as."""
    return Passage(
        chunk.text,
        doc_id=document.doc_id or content_id(source),
        passage_id=chunk_id,
        source=source,
        start=chunk.start,
        end=chunk.end,
        metadata={**_scalars(document.metadata), **chunk.metadata},
    )


def _passage(row: Sequence[Any]) -> Passage:
    chunk_id, text, start, end, metadata, source, doc_id, document_metadata = row
    return Passage(
        text,
        doc_id=doc_id,
        passage_id=chunk_id,
        source=source,
        start=start,
        end=end,
        metadata={**msgspec.json.decode(document_metadata), **msgspec.json.decode(metadata)},
    )


def _scalars(metadata: Mapping[str, Any]) -> Facts:
    pairs: Iterable[tuple[Any, Any]] = metadata.items()
    return {str(key): v for key, v in pairs if isinstance(v, (str, int, float, bool))}


def _encoded(metadata: Mapping[str, Any], source: str) -> str:
    try:
        return msgspec.json.encode(metadata).decode("utf-8")
    except (TypeError, ValueError) as error:
        raise DataError(f"cannot store the metadata of {source!r}: {error}", source=source) from (
            error
        )


def _clean(text: str) -> str:
    """Replace half surrogate pairs, which SQLite cannot store, one character for one."""
    return text.encode("utf-8", "replace").decode("utf-8")
