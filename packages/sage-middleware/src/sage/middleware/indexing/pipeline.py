"""`build_index`: the stages on a stream, and the commit of what they wrote.

The stream is ``source(files) → load → cut → embed (in batches) → write``. Everything is written to
a staging copy of the collection, which takes the place of the old one in one step at the end: a
run that is stopped, fails or fills the disk leaves the old index answering.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sage.common.errors import DataError, SageError
from sage.middleware.indexing.changes import Changes, find_changes
from sage.middleware.indexing.progress import IndexProgress, ProgressMeter
from sage.middleware.indexing.report import FailedDocument, IndexingStopped, IndexReport
from sage.middleware.indexing.stages import (
    ChangedFiles,
    CutDocument,
    DocumentAssembler,
    Embedded,
    EmbedPieces,
    Loaded,
    StageClock,
    load_file,
)

if TYPE_CHECKING:
    from sage.kernel import DataStream, LocalEnvironment
    from sage.libs.documents.tokens import Tokenizer

__all__ = ["build_index"]

# Enough for the embedder to sort by length and fill its token budget; more only makes progress
# coarse and Ctrl-C slow.
_PIECES_PER_BATCH = 128


def build_index(
    path: str | os.PathLike[str],
    collection: str = "default",
    *,
    model: str | None = None,
    store: str | None = None,
    home: str | os.PathLike[str] | None = None,
    patterns: Iterable[str] | None = None,
    allow_empty: bool = False,
    progress: Callable[[IndexProgress], Any] | None = None,
) -> IndexReport:
    """Bring a collection up to date with a directory, touching only what changed.

    Args:
        path: The directory (or one file).
        collection: Name of the collection; made if it does not exist.
        model: The embedding model; by default the collection's, or the packaged one.
        store: The kind of vector store of a new collection.
        home: SAGE's home directory, instead of ``$SAGE_HOME``.
        patterns: Globs that choose the files; by default every supported kind.
        allow_empty: Take the documents out of the collection if the directory holds none any more.
        progress: Called with an `IndexProgress` as the run goes on.

    Returns:
        What was added, changed, removed, left and failed. Documents that failed do not stop the
        run.

    Raises:
        DataError: if the directory does not exist or holds no documents.
        IndexingStopped: if Ctrl-C stopped the run; what was done by then is in the index.
        StorageError: if the collection cannot be written; the old index is as it was.
    """
    from sage.libs.collection import Collection

    started = time.perf_counter()
    _refuse_missing(path)
    with Collection.update(collection, model=model, store=store, home=home) as writer:
        changes = find_changes(path, writer.known(), patterns=patterns)
        _refuse_empty(changes, path, collection, allow_empty)
        for source in changes.removed:
            writer.remove(source)
        meter = ProgressMeter(len(changes.files), changes.total_bytes, progress)
        assembler = DocumentAssembler(writer, changes.files, meter)
        clock = StageClock()
        env = _stream(writer.model, assembler, changes, meter, clock)
        if changes.files:
            meter.begin()
        stopped = changes.files and not _run(env)
        if not stopped:
            _refuse_lost(assembler)
        if changes.removed or assembler.written:
            clock.timed("commit", lambda _: writer.commit())(None)
    if stopped:
        raise IndexingStopped(len(assembler.written), assembler.pending)
    return IndexReport(
        collection,
        str(changes.root),
        added=tuple(file.source for file in assembler.written if not file.known),
        changed=tuple(file.source for file in assembler.written if file.known),
        removed=changes.removed,
        unchanged=changes.unchanged,
        failed=(*changes.failed, *assembler.failed),
        chunks=assembler.chunks,
        elapsed_s=time.perf_counter() - started,
        stages_s=clock.elapsed_s,
        plan=str(env.explain()) if changes.files else "",
    )


def _stream(
    model: str,
    assembler: DocumentAssembler,
    changes: Changes,
    meter: ProgressMeter,
    clock: StageClock,
) -> LocalEnvironment:
    """Build the pipeline over the changed files; nothing runs yet."""
    from sage.kernel import LocalEnvironment
    from sage.libs.documents import TokenChunker
    from sage.libs.embedding import load_embedder

    # Nothing is loaded while the stream is built: each stage loads what it needs when it starts.
    load = clock.timed("load", load_file)
    cut = clock.timed("cut", CutDocument(lambda: TokenChunker(tokenizer=_tokenizer(model))))
    embed = clock.timed("embed", EmbedPieces(lambda: load_embedder(model), meter))
    write = clock.timed("write", assembler)
    env = LocalEnvironment("index")
    documents: DataStream[Loaded | FailedDocument] = env.from_source(
        ChangedFiles(changes.files), name="changed files"
    ).map(load, name="load")
    embedded: DataStream[Embedded | FailedDocument] = documents.flat_map(
        cut, name="cut"
    ).map_batches(embed, max_size=_PIECES_PER_BATCH, name="embed")
    embedded.for_each(write, name="write")
    return env


def _tokenizer(model: str) -> Tokenizer:
    """Return the tokenizer that the embedder reads with; the mock of the tests counts words."""
    from sage.libs.documents import WordTokenizer
    from sage.libs.embedding.tokenizer import load_tokenizer

    return WordTokenizer() if model.partition(":")[0] == "mock" else load_tokenizer(model)


def _run(env: LocalEnvironment) -> bool:
    """Run the pipeline; return False if Ctrl-C stopped it before its end.

    Raises:
        SageError: if something failed that concerns the whole run, as what it is.
    """
    from sage.kernel.errors import JobFailedError

    try:
        env.execute()
    except KeyboardInterrupt:
        return False
    except JobFailedError as failure:
        # An error of ours (a full disk, missing weights) tells more than the operator it struck.
        if isinstance(failure.__cause__, (SageError, OSError)):
            raise failure.__cause__ from failure
        raise
    return True


def _refuse_missing(path: str | os.PathLike[str]) -> None:
    if not Path(path).expanduser().exists():
        raise DataError(f"no such directory: {str(path)!r}", hint="check the path", path=str(path))


def _refuse_empty(
    changes: Changes, path: str | os.PathLike[str], collection: str, allow_empty: bool
) -> None:
    if changes.found:
        return
    from sage.libs.documents.loaders import SUPPORTED_SUFFIXES

    if changes.removed and allow_empty:
        return
    if changes.removed:
        raise DataError(
            f"{str(path)!r} holds no documents any more; collection {collection!r} keeps the "
            f"{len(changes.removed)} that it has from there",
            hint="to take them out of the index, run again with --allow-empty",
            path=str(path),
        )
    raise DataError(
        f"no documents found in {str(path)!r}",
        hint=f"these kinds of files are read: {' '.join(sorted(SUPPORTED_SUFFIXES))}",
        path=str(path),
    )


def _refuse_lost(assembler: DocumentAssembler) -> None:
    """Make sure that every document came to its end; anything else is a bug, not a small index."""
    if assembler.pending:
        raise RuntimeError(
            f"{assembler.pending} documents were lost on the way; cut short: {assembler.unfinished}"
        )
