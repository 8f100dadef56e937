"""Turns a directory of documents into a collection, as a streaming pipeline on the kernel.

It decides *what* has to be indexed and puts the stages on a stream; how a file is loaded, cut,
embedded or stored is in ``sage.libs``.

Layout:
    changes    what is new, changed and gone since the last run
    loading    loads documents ahead, in processes of their own
    stages     the functions of the pipeline: cut, embed, write
    memory     how much is embedded at once
    pipeline   `build_index`, which puts them on a stream and commits the result
    report     what a run did
    progress   how far it is
    watch      `watch_index`, which runs it again whenever something changes
"""

from sage.middleware.indexing.changes import Changes, FoundFile, find_changes
from sage.middleware.indexing.pipeline import build_index
from sage.middleware.indexing.progress import IndexProgress
from sage.middleware.indexing.report import FailedDocument, IndexingStopped, IndexReport
from sage.middleware.indexing.watch import watch_index

__all__ = [
    "Changes",
    "FailedDocument",
    "FoundFile",
    "IndexProgress",
    "IndexReport",
    "IndexingStopped",
    "build_index",
    "find_changes",
    "watch_index",
]
