"""Keeps vectors and finds the nearest: one protocol for all stores, and one filter language.

Not here: making the vectors (`sage.libs.embedding`); documents, versions and text search
(`sage.libs.collection`).

Layout::

    store.py         the VectorStore protocol, Hit, open_store
    filters.py       the filter language (Chroma's ``where``), for every store
    rows.py          ids, metadata and texts of the stores that keep their own
    columns.py       their metadata by column, for filters
    snapshot.py      saves a store's files so that a crash leaves the old ones
    store_lock.py    one process writes, or several read
    shared_lock.py   one thread writes, or several read
    store_files.py   the three above, for a store that is saved whole
    numpy_store.py   exact, small
    faiss_store.py   FAISS, index chosen by size
    faiss_index.py   that index
    chroma_store.py  Chroma, embedded or a server
    sharded_store.py rows divided over several stores
    sink.py          VectorSink: rows of a stream
    testing.py       conformance suite for any store
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.libs.vectors.chroma_store import ChromaStore
    from sage.libs.vectors.faiss_store import FaissStore
    from sage.libs.vectors.filters import parse_filter
    from sage.libs.vectors.numpy_store import NumpyStore
    from sage.libs.vectors.sharded_store import ShardedStore
    from sage.libs.vectors.sink import VectorSink
    from sage.libs.vectors.store import Hit, VectorStore, default_store_kind, open_store

__all__ = [
    "ChromaStore",
    "FaissStore",
    "Hit",
    "NumpyStore",
    "ShardedStore",
    "VectorSink",
    "VectorStore",
    "default_store_kind",
    "open_store",
    "parse_filter",
]

_HOME = {
    "ChromaStore": "chroma_store",
    "FaissStore": "faiss_store",
    "Hit": "store",
    "NumpyStore": "numpy_store",
    "ShardedStore": "sharded_store",
    "VectorSink": "sink",
    "VectorStore": "store",
    "default_store_kind": "store",
    "open_store": "store",
    "parse_filter": "filters",
}


def __getattr__(name: str) -> Any:
    """Import a re-export on first use, so that one store does not load the libraries of all."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
