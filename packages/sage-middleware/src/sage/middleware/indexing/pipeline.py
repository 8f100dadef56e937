"""`build_index`: the stages on a stream, and the commit of what they wrote.

The stream is ``load → cut | embed (in batches) | write``, in three threads, so that documents are
loaded, cut and written while others are embedded, which is what takes the time. Everything is
written to a staging copy of the collection, which takes the place of the old one in one step at the
end: a run that is stopped, fails or fills the disk leaves the old index answering, and what it had
embedded is not embedded again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sage.common.errors import DataError, SageError
from sage.middleware.indexing.changes import Changes, Source, find_changes, sources_of
from sage.middleware.indexing.loading import Loaded, LoadedDocuments
from sage.middleware.indexing.memory import BatchSize
from sage.middleware.indexing.progress import IndexProgress, ProgressMeter
from sage.middleware.indexing.report import FailedDocument, IndexingStopped, IndexReport
from sage.middleware.indexing.stages import (
    CutDocument,
    DocumentAssembler,
    Embedded,
    EmbedPieces,
    StageClock,
)

if TYPE_CHECKING:
    from sage.kernel import DataStream, LocalEnvironment
    from sage.libs.collection import CollectionWriter
    from sage.libs.documents import Chunker, LoaderPool, Tokenizer, UrlPolicy
    from sage.libs.embedding import Embedder

__all__ = ["build_index"]

# Enough for the embedder to sort by length and fill its token budget; more only makes progress
# coarse and Ctrl-C slow.
_PIECES_PER_BATCH = 256
# What waits in front of the embedder is what Ctrl-C has to finish: one more batch keeps it busy.
_CHANNELS = {"batch_size": 128, "channel_batches": 2}


def build_index(
    path: Source | Sequence[Source],
    collection: str = "default",
    *,
    model: str | None = None,
    store: str | None = None,
    chunker: str | None = None,
    chunk_tokens: int | None = None,
    home: str | os.PathLike[str] | None = None,
    patterns: Iterable[str] | None = None,
    allow_empty: bool = False,
    urls: UrlPolicy | None = None,
    memory_limit_bytes: int | None = None,
    progress: Callable[[IndexProgress], Any] | None = None,
) -> IndexReport:
    """Bring a collection up to date with directories, touching only what changed.

    Args:
        path: A directory, a file or a URL; or several of them.
        collection: Name of the collection; made if it does not exist.
        model: The embedding model; by default the collection's, or the packaged one.
        store: The kind of vector store of a new collection.
        chunker: Name of the chunker; by default the collection's, or the one for the kind of
            document. With another one than before, all documents are cut and embedded again.
        chunk_tokens: Most tokens in a chunk; by default the collection's, or 200.
        home: SAGE's home directory, instead of ``$SAGE_HOME``.
        patterns: Globs that choose the files; by default every supported kind.
        allow_empty: Take the documents out of the collection if the directory holds none any more.
        urls: What may be fetched; by default public addresses only.
        memory_limit_bytes: Resident memory from which fewer chunks are embedded at once; by default
            four fifths of what there is.
        progress: Called with an `IndexProgress` as the run goes on, from the run's threads.

    Returns:
        What was added, changed, removed, left and failed. Documents that failed do not stop the
        run.

    Raises:
        DataError: if the directory does not exist or holds no documents.
        IndexingStopped: if Ctrl-C stopped the run; what was done by then is in the index.
        StorageError: if the collection cannot be written; the old index is as it was.
    """
    from sage.libs.collection import Collection
    from sage.libs.documents import LoaderPool

    started = time.perf_counter()
    sources = sources_of(path)
    with (
        Collection.update(
            collection,
            model=model,
            store=store,
            chunker=chunker,
            chunk_tokens=chunk_tokens,
            home=home,
        ) as writer,
        LoaderPool(urls=urls) as pool,
    ):
        changes = find_changes(
            sources, writer.known(), patterns=patterns, recipe=_recipe(writer), fetch=pool.load
        )
        _refuse_empty(changes, collection, allow_empty)
        run = _Run(writer, changes, memory_limit_bytes, progress)
        whole = run.execute(pool)
    if not whole:
        raise IndexingStopped(len(run.assembler.written), run.assembler.pending)
    return run.report(collection, time.perf_counter() - started)


class _Run:
    """One run over the changes that were found: the stages, and what they count."""

    def __init__(
        self,
        writer: CollectionWriter,
        changes: Changes,
        memory_limit_bytes: int | None,
        progress: Callable[[IndexProgress], Any] | None,
    ) -> None:
        self.writer = writer
        self.changes = changes
        self.meter = ProgressMeter(len(changes.files), changes.total_bytes, progress)
        self.assembler = DocumentAssembler(writer, changes.files, self.meter)
        self.clock = StageClock()
        self.sizes = BatchSize(_PIECES_PER_BATCH, limit_bytes=memory_limit_bytes)
        embedder = partial(_embedder, writer.model)
        self.embed = EmbedPieces(embedder, writer, self.sizes, self.meter)
        self.plan = ""

    def execute(self, pool: LoaderPool) -> bool:
        """Do what has to be done and commit it; return False if Ctrl-C stopped it before its end.

        Nothing is loaded while the stream is built: each stage loads what it needs when it starts.
        """
        for source in self.changes.removed:
            self.writer.remove(source)
        whole = True
        if self.changes.files:
            env = self._stream(pool)
            self.plan = str(env.explain())
            self.meter.begin()
            whole = _ran(env)
        if whole:
            _refuse_lost(self.assembler)
        if self.changes.removed or self.assembler.written:
            self.clock.timed("commit", lambda _: self.writer.commit())(None)
        return whole

    def _stream(self, pool: LoaderPool) -> LocalEnvironment:
        """Build the pipeline over the changed files."""
        from sage.kernel import LocalEnvironment

        clock = self.clock
        clock.count("load", 0)
        cut = clock.timed("cut", CutDocument(partial(_chunker, self.writer)))
        env = LocalEnvironment("index", config=_CHANNELS)
        documents: DataStream[Loaded | FailedDocument] = env.from_source(
            LoadedDocuments,
            self.changes.files,
            pool.load_all,
            partial(clock.count, "load"),
            name="load",
        )
        # Operators of other resources are threads of their own.
        embedded: DataStream[Embedded | FailedDocument] = documents.flat_map(
            cut, name="cut"
        ).map_batches(
            clock.timed("embed", self.embed),
            max_size=_PIECES_PER_BATCH,
            name="embed",
            resources={"num_cpus": 1},
        )
        write = clock.timed("write", self.assembler)
        embedded.for_each(write, name="write", resources={"num_cpus": 0})
        return env

    def report(self, collection: str, elapsed_s: float) -> IndexReport:
        """Return what was done."""
        written, changes = self.assembler.written, self.changes
        return IndexReport(
            collection,
            changes.roots,
            added=tuple(file.source for file in written if not file.known),
            changed=tuple(file.source for file in written if file.known),
            removed=changes.removed,
            unchanged=changes.unchanged,
            failed=(*changes.failed, *self.assembler.failed),
            chunks=self.assembler.chunks,
            recalled=self.embed.recalled,
            elapsed_s=elapsed_s,
            stages_s=self.clock.elapsed_s,
            plan=self.plan,
            batch_size=self.sizes.size,
            batch_halvings=self.sizes.halvings,
            warnings=self._warnings(),
        )

    def _warnings(self) -> tuple[str, ...]:
        read, cut = self.embed.max_tokens, self.writer.chunk_tokens
        if read is None or cut <= read:
            return ()
        return (
            f"a chunk may have {cut} tokens, and {self.writer.model!r} reads {read}: what stands "
            f"behind them is found by its words alone; --chunk-tokens {read} or less avoids that",
        )


def _embedder(model: str) -> Embedder:
    from sage.libs.embedding import load_embedder

    return load_embedder(model)


def _chunker(writer: CollectionWriter) -> Chunker:
    from sage.libs.documents import open_chunker

    return open_chunker(
        writer.chunker, chunk_tokens=writer.chunk_tokens, tokenizer=_tokenizer(writer.model)
    )


def _recipe(writer: CollectionWriter) -> str:
    """Return how documents are cut, as part of their fingerprint; empty for the default."""
    from sage.libs.documents.chunker import CHUNK_TOKENS, DEFAULT_CHUNKER

    recipe = (writer.chunker, writer.chunk_tokens)
    return "" if recipe == (DEFAULT_CHUNKER, CHUNK_TOKENS) else f"{recipe[0]}:{recipe[1]}"


def _tokenizer(model: str) -> Tokenizer:
    """Return the tokenizer that the embedder reads with; the mock of the tests counts words."""
    from sage.libs.documents import WordTokenizer
    from sage.libs.embedding.tokenizer import load_tokenizer

    return WordTokenizer() if model.partition(":")[0] == "mock" else load_tokenizer(model)


def _ran(env: LocalEnvironment) -> bool:
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


def _refuse_empty(changes: Changes, collection: str, allow_empty: bool) -> None:
    if changes.found or (changes.removed and allow_empty):
        return
    from sage.libs.documents import SUPPORTED_SUFFIXES

    shown = " ".join(repr(root) for root in changes.roots)
    if changes.removed:
        raise DataError(
            f"{shown} holds no documents any more; collection {collection!r} keeps the "
            f"{len(changes.removed)} that it has from there",
            hint="to take them out of the index, run again with --allow-empty",
            path=shown,
        )
    raise DataError(
        f"no documents found in {shown}",
        hint=f"these kinds of files are read: {' '.join(sorted(SUPPORTED_SUFFIXES))}",
        path=shown,
    )


def _refuse_lost(assembler: DocumentAssembler) -> None:
    """Make sure that every document came to its end; anything else is a bug, not a small index."""
    if assembler.pending:
        raise RuntimeError(
            f"{assembler.pending} documents were lost on the way; cut short: {assembler.unfinished}"
        )
