"""A collection: documents cut into chunks, with their vectors and words, kept in one directory.

`Collection` reads and searches, `Collection.update` writes. Every update makes a new *generation*
beside the old one and switches to it by one atomic rename, so that a full disk, a crash or a second
writer never leaves half an index: until the switch, the old generation answers.

Not here: loading and cutting documents, embedding (whoever updates does that).

Layout::

    layout.py     directories, generations, the switch, the writer's lock
    catalogue.py  documents and chunks, in SQLite
    writer.py     CollectionWriter: one update
    journal.py    what an update has embedded, for the next one if it is killed
    reader.py     Collection: stats and searching
    sink.py       CollectionSink: the chunks of a stream
    testing.py    fills and asks collections in tests
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.libs.collection.reader import Collection, CollectionStats
    from sage.libs.collection.sink import CollectionSink
    from sage.libs.collection.writer import CollectionWriter

__all__ = ["Collection", "CollectionSink", "CollectionStats", "CollectionWriter"]

_HOME = {
    "Collection": "reader",
    "CollectionSink": "sink",
    "CollectionStats": "reader",
    "CollectionWriter": "writer",
}


def __getattr__(name: str) -> Any:
    """Import a re-export on first use: a collection brings numpy and SQLite."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
