"""A store on Chroma: embedded, or a Chroma server that many processes share."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from sage.common.config import configurable
from sage.common.errors import ConfigError, MissingExtraError, Problem, StorageError
from sage.libs.vectors.filters import parse_filter, to_chroma
from sage.libs.vectors.store import Hit, Metadata, check_facts, checked_queries, checked_rows
from sage.libs.vectors.store_lock import StoreLock

__all__ = ["ChromaStore"]

# Chroma's own 16, 100 and 100 lose the way among hundreds of equal vectors (boilerplate).
_HNSW: Final = {
    "space": "cosine",
    "max_neighbors": 32,
    "ef_construction": 200,
    "ef_search": 200,
}


@configurable
class ChromaStore:
    """Keeps the rows in Chroma, searched by cosine; filters run in Chroma.

    Needs the extra ``isage-libs[chroma]``. Embedded, opening takes about a second, most of it the
    import; several processes may read a database or one may write it, from its first change until
    it closes the store (even a reader keeps what Chroma caches in the files). With ``host``, a
    server (``chroma run --path DIR --port 8000``) keeps the rows, for any number of processes.

    Args:
        dim: Length of the vectors.
        path: Directory of the embedded database, or None for a temporary one that `close` removes.
        model: The model that makes the vectors; remembered, and compared when it is opened again.
        collection: Name of the collection in Chroma.
        host: Name or address of a Chroma server, in place of ``path``.
        port: Its port.
        ssl: Whether to speak HTTPS with it.
        headers: To be sent with each request, such as a token.
        timeout_s: How long to wait for an answer of the server.

    Raises:
        StorageError: if the database is written by another process, or the server does not answer.
    """

    def __init__(
        self,
        *,
        dim: Annotated[int, Meta(ge=1)],
        path: str | os.PathLike[str] | None = None,
        model: str | None = None,
        collection: str = "vectors",
        host: str | None = None,
        port: Annotated[int, Meta(ge=1, le=65535)] = 8000,
        ssl: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout_s: Annotated[float, Meta(gt=0)] = 60.0,
    ) -> None:
        if host is not None and path is not None:
            message = "a server has its own directory: give host or path"
            raise ConfigError("ChromaStore", [Problem("$.path", message)])
        self.dim, self.model = dim, model
        self._error = _chroma_errors()
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lock: StoreLock | None = None
        self._sessions: list[Any] = []
        if host is not None:
            self._place = f"{'https' if ssl else 'http'}://{host}:{port}"
            with self._failures("open"):
                self._client = _server(host, port, ssl, headers)
            # Chroma neither closes its two connections nor limits how long they wait, and says
            # nothing of them in public.
            clients = (self._client, self._client._admin_client)
            self._sessions = [client._server._session for client in clients]
            for session in self._sessions:
                session.timeout = timeout_s
        else:
            if path is None:
                self._temporary = tempfile.TemporaryDirectory()
            directory = Path(self._temporary.name if self._temporary is not None else path or "")
            self._place = str(directory)
            self._client = self._embedded(directory)
        with self._failures("open"):
            self._rows: Any = self._collection(collection)
            self._batch: int = self._client.get_max_batch_size()

    @property
    def index_kind(self) -> str:
        """``"hnsw"``: Chroma has no other."""
        return "hnsw"

    def upsert(
        self,
        ids: Sequence[str],
        vectors: npt.ArrayLike,
        metadatas: Sequence[Metadata] | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        """Put rows in, see `VectorStore.upsert`; more than Chroma takes at once go in parts."""
        matrix, rows, lines = checked_rows(self.dim, ids, vectors, metadatas, texts)
        if not len(ids):
            return
        self._claim()
        with self._failures("write"):
            for start in range(0, len(ids), self._batch):
                part = slice(start, start + self._batch)
                self._put(list(ids[part]), matrix[part], rows[part], lines[part])

    def delete(self, ids: Sequence[str]) -> None:
        """Take rows out, see `VectorStore.delete`."""
        if not len(ids):
            return
        self._claim()
        with self._failures("write"):
            once = list(dict.fromkeys(ids))
            for start in range(0, len(once), self._batch):
                part = once[start : start + self._batch]
                if known := self._rows.get(ids=part, include=[])["ids"]:
                    self._rows.delete(ids=known)

    def search(
        self, vectors: npt.ArrayLike, top_k: int, where: Mapping[str, Any] | None = None
    ) -> list[list[Hit]]:
        """Return the nearest rows, see `VectorStore.search`."""
        queries = checked_queries(self.dim, vectors, top_k)
        condition = parse_filter(where)
        if not len(queries) or not self.count():
            return [[] for _ in queries]
        with self._failures("read"):
            found = self._rows.query(
                query_embeddings=queries,
                n_results=top_k,
                where=None if condition is None else to_chroma(condition),
                include=["distances", "metadatas", "documents"],
            )
        columns = (found["ids"], found["distances"], found["metadatas"], found["documents"])
        return [
            [
                Hit(row, 1 - float(np.float32(distance)), metadata or {}, text or "")
                for row, distance, metadata, text in zip(*query, strict=True)
            ]
            for query in zip(*columns, strict=True)
        ]

    def count(self) -> int:
        """Return the number of rows."""
        with self._failures("read"):
            return int(self._rows.count())

    def flush(self) -> None:
        """Nothing is left to write: each call has written its rows."""

    def close(self) -> None:
        """Let go of the database; everything is written already."""
        self._client.close()
        for session in self._sessions:
            session.close()
        if self._lock is not None:
            self._lock.release()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _embedded(self, directory: Path) -> Any:
        import chromadb
        from chromadb.config import Settings

        with self._failures("open"):
            directory.mkdir(parents=True, exist_ok=True)
        # The stores of this process share one Chroma.
        self._lock = StoreLock(directory, together=True)
        self._lock.share()
        settings = Settings(anonymized_telemetry=False)
        with self._failures("open"):
            return chromadb.PersistentClient(str(directory), settings=settings)

    def _collection(self, name: str) -> Any:
        """Return the collection, made if it is not there and checked if it is."""
        facts = {"dim": self.dim, "model": self.model}
        rows = self._client.get_or_create_collection(
            name,
            configuration={"hnsw": _HNSW},
            embedding_function=None,
            metadata={key: value for key, value in facts.items() if value is not None},
        )
        made_for = rows.metadata or {}
        try:
            check_facts(self._place, made_for, facts)
        except StorageError:
            self.close()
            raise
        if self.model is not None and "model" not in made_for:
            rows.modify(metadata={**made_for, "model": self.model})
        self.model = self.model or made_for.get("model")
        return rows

    def _claim(self) -> None:
        if self._lock is not None:
            self._lock.own()

    def _put(
        self,
        ids: list[str],
        vectors: npt.NDArray[np.float32],
        metadatas: list[dict[str, Any]],
        texts: list[str],
    ) -> None:
        # Chroma merges metadata into those of the row, and leaves a text that is not given; a None
        # takes a key away. So one call replaces the row, and no search or crash can see it missing.
        known = self._rows.get(ids=ids, include=["metadatas"])
        old = dict(zip(known["ids"], known["metadatas"] or (), strict=True))
        merged = [
            {**dict.fromkeys(old.get(row) or ()), **metadata}
            for row, metadata in zip(ids, metadatas, strict=True)
        ]
        self._rows.upsert(
            ids=ids,
            embeddings=vectors,
            metadatas=[metadata or None for metadata in merged],
            documents=texts if old or any(texts) else None,
        )

    @contextlib.contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        """Turn Chroma's errors, and those of files and connections, into a `StorageError`."""
        try:
            yield
        except self._error as error:
            hint = "see that it runs: chroma run --path DIR --host HOST --port PORT"
            raise StorageError(
                f"cannot {what} the Chroma store {self._place!r}: {error}",
                hint=hint if self._place.startswith(("http://", "https://")) else None,
                path=self._place,
            ) from error


def _chroma_errors() -> tuple[type[Exception], ...]:
    """Return what Chroma raises when files or a server fail it."""
    try:
        import chromadb
        import httpx
    except ModuleNotFoundError as error:
        raise MissingExtraError("chromadb", extra="isage-libs[chroma]") from error
    return chromadb.errors.ChromaError, httpx.HTTPError, OSError


def _server(host: str, port: int, ssl: bool, headers: Mapping[str, str] | None) -> Any:
    import chromadb
    from chromadb.config import Settings

    try:
        return chromadb.HttpClient(
            host=host,
            port=port,
            ssl=ssl,
            headers=dict(headers or {}),
            settings=Settings(anonymized_telemetry=False),
        )
    except ValueError as error:  # what Chroma says when nobody answers
        raise ConnectionError(str(error)) from error
