"""What is new, changed and gone since the last run, by content and not by date.

A source is the resolved path of a file, or a URL. A run answers for the directories it is given and
for nothing else: documents of a collection that stand elsewhere are not touched, so that several
directories can be indexed into one collection.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sage.common.errors import DataError, SageError
from sage.common.records import Document
from sage.middleware.indexing.report import FailedDocument

if TYPE_CHECKING:
    from sage.libs.documents import LoadFailure

__all__ = ["Changes", "FoundFile", "Source", "find_changes", "sources_of"]

Source = str | os.PathLike[str]
"""A directory, a file or a URL."""

Fetch = Callable[[str], "Document | LoadFailure"]
"""Gives what a URL leads to, or why there is nothing."""

Contents = tuple[str, int, Document | None]
"""Fingerprint, size and, of a URL, the document."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that has to be indexed.

    Attributes:
        source: Its resolved path or URL, the name of the document in the collection.
        fingerprint: Hash of its content, and how it is to be cut.
        size_bytes: Its size.
        known: True if the collection holds an older version of it.
        document: What it holds, if it had to be read (from a URL) to see whether it has changed.
    """

    source: str
    fingerprint: str
    size_bytes: int
    known: bool = False
    document: Document | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What an indexing run has to do.

    Attributes:
        roots: The directories, files and URLs, resolved.
        files: New and changed files, in the order of their paths.
        removed: Sources whose file is gone.
        unchanged: How many files are as the collection knows them.
        failed: Files that could not even be read for their fingerprint.
    """

    roots: tuple[str, ...]
    files: tuple[FoundFile, ...]
    removed: tuple[str, ...]
    unchanged: int
    failed: tuple[FailedDocument, ...] = ()

    @property
    def found(self) -> int:
        """How many documents stand in the directories."""
        return len(self.files) + self.unchanged + len(self.failed)

    @property
    def total_bytes(self) -> int:
        """Size of the files that have to be indexed."""
        return sum(file.size_bytes for file in self.files)


def sources_of(sources: Source | Sequence[Source]) -> tuple[str, ...]:
    """Return what was given as resolved paths and URLs, each once, in order.

    Raises:
        DataError: if a directory or file does not exist, or nothing was given.
    """
    from sage.libs.documents.url_policy import is_url

    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    if not given:
        raise DataError("there is nothing to index", hint="name a directory, a file or a URL")
    found = []
    for source in given:
        text = os.fspath(source)
        if not is_url(text):
            path = Path(text).expanduser()
            if not path.exists():
                raise DataError(
                    f"no such directory or file: {text!r}", hint="check the path", path=text
                )
            text = os.path.realpath(path)
        found.append(text)
    return tuple(dict.fromkeys(found))


def find_changes(
    sources: Source | Sequence[Source],
    known: Mapping[str, str],
    *,
    patterns: Iterable[str] | None = None,
    recipe: str = "",
    fetch: Fetch | None = None,
) -> Changes:
    """Compare directories with what a collection knows of them.

    Args:
        sources: Directories, files or URLs; one, or several.
        known: Fingerprint by source, of everything in the collection.
        patterns: Globs that choose the files; by default every supported kind.
        recipe: How documents are to be cut: one that was cut in another way has changed.
        fetch: Loads a URL; by default in a process of its own.

    Raises:
        DataError: if a directory or file does not exist.
    """
    roots = sources_of(sources)
    given = [patterns] if isinstance(patterns, str) else patterns
    chosen = None if given is None else list(given)
    files: list[FoundFile] = []
    failed: list[FailedDocument] = []
    seen: set[str] = set()
    unchanged = 0
    for source in _found(roots, chosen):
        if source in seen:
            continue
        seen.add(source)
        examined = _examined(source, fetch, known.get(source), recipe)
        if isinstance(examined, FailedDocument):
            failed.append(examined)
        elif examined is None:
            unchanged += 1
        else:
            files.append(examined)
    gone = sorted(s for s in known if s not in seen and any(_is_below(s, root) for root in roots))
    return Changes(roots, tuple(files), tuple(gone), unchanged, tuple(failed))


def _found(roots: Sequence[str], patterns: list[str] | None) -> Iterator[str]:
    """Yield the sources below the roots."""
    from sage.libs.documents.discovery import find_documents
    from sage.libs.documents.url_policy import is_url

    for root in roots:
        if is_url(root):
            yield root
        else:
            yield from map(str, find_documents(root, patterns))


def _contents(source: str, fetch: Fetch | None) -> Contents | LoadFailure:
    from sage.libs.documents import LoaderPool
    from sage.libs.documents.discovery import fingerprint
    from sage.libs.documents.url_policy import is_url

    if not is_url(source):
        return fingerprint(source), os.stat(source).st_size, None
    if fetch is None:
        with LoaderPool(workers=1) as pool:
            return _contents(source, pool.load)
    document = fetch(source)
    if not isinstance(document, Document):
        return document
    text = document.text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).hexdigest(), len(text), document


def _examined(
    source: str, fetch: Fetch | None, before: str | None, recipe: str
) -> FoundFile | FailedDocument | None:
    """Return the file if it has to be indexed, None if it is as the collection knows it."""
    if (shown := os.fsencode(source).decode("utf-8", "backslashreplace")) != source:
        return FailedDocument(shown, "its name is not valid UTF-8; rename it", DataError.code)
    try:
        contents = _contents(source, fetch)
    except SageError as error:
        return FailedDocument(source, error.message, error.code, before is not None)
    except OSError as error:
        reason = error.strerror or str(error)
        return FailedDocument(source, reason, DataError.code, before is not None)
    if not isinstance(contents, tuple):
        return FailedDocument(source, str(contents), contents.code, before is not None)
    content, size, document = contents
    now = f"{content}+{recipe}" if recipe else content
    if before == now:
        return None
    return FoundFile(source, now, size, before is not None, document)


def _is_below(source: str, root: str) -> bool:
    from sage.libs.documents.url_policy import is_url

    if is_url(root):  # a page is no directory: it does not answer for pages below it
        return source == root
    return source == root or source.startswith(root.rstrip(os.sep) + os.sep)
