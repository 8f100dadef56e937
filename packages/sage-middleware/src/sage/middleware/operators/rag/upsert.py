"""The end of an indexing pipeline: embedded chunks into a collection that Chroma keeps."""

from __future__ import annotations

import os
from typing import Annotated

from sage.common.config import Meta, configurable
from sage.libs.collection.sink import CollectionSink

__all__ = ["ChromaUpsertOperator"]


@configurable
class ChromaUpsertOperator(CollectionSink):
    """Puts embedded chunks into a collection kept in Chroma, where `ChromaRetriever` finds them.

    It is `CollectionSink` with Chroma as the store: a chunk replaces the one of the same id, rows
    go in at each checkpoint and at the end, subtasks and other processes wait for one another.

    Args:
        collection: Its name; it is made if it does not exist.
        model: The model of vectors in records that do not name it.
        home: SAGE's home directory, instead of ``$SAGE_HOME``.
        lock_timeout_s: Longest wait for another subtask's or process's update of the collection.

    Raises:
        ConfigError: from ``open``, if the collection is kept in another store.
        MissingExtraError: from ``open``, if Chroma is not installed.

    Example::

        stream.map(EmbeddingOperator()).sink(ChromaUpsertOperator(collection="docs"))
    """

    def __init__(
        self,
        collection: str = "default",
        *,
        model: str | None = None,
        home: str | os.PathLike[str] | None = None,
        lock_timeout_s: Annotated[float, Meta(ge=0)] = 600.0,
    ) -> None:
        super().__init__(
            collection, store="chroma", model=model, home=home, lock_timeout_s=lock_timeout_s
        )
